"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.tansley2025nfa.noise.claims import CLAIMS
from ansatzlab.laws.tansley2025nfa.noise.design import DESIGNS, plan
from ansatzlab.laws.tansley2025nfa.noise.figures import figures
from ansatzlab.laws.tansley2025nfa.noise.planted import planted

CHAPTER = Chapter(
    key="noise",
    title="The noise floor: where stochastic descent leaves the balance of a linear network",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
