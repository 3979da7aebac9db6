"""The chapter."""

from ansatzlab.laws.kuzborskij2025lowrank.stationary.claims import CLAIMS
from ansatzlab.laws.kuzborskij2025lowrank.stationary.design import DESIGNS, plan
from ansatzlab.laws.kuzborskij2025lowrank.stationary.figures import figures
from ansatzlab.laws.kuzborskij2025lowrank.stationary.planted import planted
from ansatzlab.laws.law import Chapter

CHAPTER = Chapter(
    key="stationary",
    title="Stationary points: alignment, equal norms, low rank, and how fast balance is reached",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
