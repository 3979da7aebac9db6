"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.tansley2025nfa.nonlinear.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.nonlinear.design import DESIGNS, plan
from ansatzlab.laws.tansley2025nfa.nonlinear.figures import figures
from ansatzlab.laws.tansley2025nfa.nonlinear.planted import planted

CHAPTER = Chapter(
    key="nonlinear",
    title="Nonlinear networks: what a score is worth beside its nulls",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
