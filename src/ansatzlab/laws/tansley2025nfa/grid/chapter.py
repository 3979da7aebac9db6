"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.tansley2025nfa.grid.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.grid.design import DESIGNS, plan
from ansatzlab.laws.tansley2025nfa.grid.figures import figures
from ansatzlab.laws.tansley2025nfa.grid.planted import planted

CHAPTER = Chapter(
    key="grid",
    title="Linear networks across optimisers, decay rates, initialisations and depths",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
