"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.tansley2025nfa.counterexamples.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.counterexamples.design import DESIGNS, plan
from ansatzlab.laws.tansley2025nfa.counterexamples.figures import figures
from ansatzlab.laws.tansley2025nfa.counterexamples.planted import planted

CHAPTER = Chapter(
    key="counterexamples",
    title="Nonlinear networks that fit their data and disobey the law",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
