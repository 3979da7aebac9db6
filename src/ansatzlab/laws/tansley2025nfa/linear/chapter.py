"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.tansley2025nfa.linear.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.linear.design import DESIGNS, plan
from ansatzlab.laws.tansley2025nfa.linear.figures import figures
from ansatzlab.laws.tansley2025nfa.linear.planted import planted

CHAPTER = Chapter(
    key="linear",
    title="Linear networks: balanced and unbalanced starts, with and without weight decay",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
