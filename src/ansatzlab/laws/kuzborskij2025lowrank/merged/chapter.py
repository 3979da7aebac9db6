"""The chapter."""

from ansatzlab.laws.kuzborskij2025lowrank.merged.claims import CLAIMS
from ansatzlab.laws.kuzborskij2025lowrank.merged.design import DESIGNS, plan
from ansatzlab.laws.kuzborskij2025lowrank.merged.figures import figures
from ansatzlab.laws.kuzborskij2025lowrank.merged.planted import planted
from ansatzlab.laws.law import Chapter

CHAPTER = Chapter(
    key="merging",
    title="Merging two networks by the sum of their weights",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
