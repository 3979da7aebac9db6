"""The law: mallinar2024grokking."""

from ansatzlab.laws.law import Law
from ansatzlab.laws.mallinar2024grokking.chapter import CHAPTER

LAW = Law(
    key="mallinar2024grokking",
    title="Emergence in non-neural models: grokking modular arithmetic via average gradient outer product",
    authors="Neil Mallinar, Daniel Beaglehole, Libin Zhu, Adityanarayanan Radhakrishnan, Parthe Pandit, Mikhail Belkin",
    source="arXiv 2407.20199 (2024), ICML 2025",
    url="https://arxiv.org/abs/2407.20199",
    summary="A network with quadratic activation that groks modular arithmetic has a first layer whose Gram matrix WᵀW "
    "correlates with AGOP^{1/2}.",
    chapters=(CHAPTER,),
)
