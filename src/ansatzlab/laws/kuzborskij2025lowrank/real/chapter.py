"""The chapter."""

from ansatzlab.laws.kuzborskij2025lowrank.real.claims import CLAIMS
from ansatzlab.laws.kuzborskij2025lowrank.real.design import DESIGNS, plan
from ansatzlab.laws.kuzborskij2025lowrank.real.figures import figures
from ansatzlab.laws.kuzborskij2025lowrank.real.planted import planted
from ansatzlab.laws.law import Chapter

CHAPTER = Chapter(
    key="real",
    title="Two tasks of real data: stationary points, and merging with and without orthogonal inputs",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
