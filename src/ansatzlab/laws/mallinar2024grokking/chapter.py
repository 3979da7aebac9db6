"""The chapter."""

from ansatzlab.laws.law import Chapter
from ansatzlab.laws.mallinar2024grokking.claims import CLAIMS
from ansatzlab.laws.mallinar2024grokking.design import DESIGNS, plan
from ansatzlab.laws.mallinar2024grokking.figures import figures
from ansatzlab.laws.mallinar2024grokking.planted import planted

CHAPTER = Chapter(
    key="grokking",
    title="Modular arithmetic: published correlations beside the untrained network and the null",
    claims=CLAIMS,
    designs=DESIGNS,
    plan=plan,
    figures=figures,
    planted=planted,
)
