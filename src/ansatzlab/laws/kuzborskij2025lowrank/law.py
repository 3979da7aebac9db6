"""The law: kuzborskij2025lowrank."""

from ansatzlab.laws.kuzborskij2025lowrank.merged.chapter import CHAPTER as MERGING
from ansatzlab.laws.kuzborskij2025lowrank.real.chapter import CHAPTER as REAL
from ansatzlab.laws.kuzborskij2025lowrank.stationary.chapter import CHAPTER as STATIONARY
from ansatzlab.laws.law import Law

LAW = Law(
    key="kuzborskij2025lowrank",
    title="Low-rank bias, weight decay, and model merging in neural networks",
    authors="Ilja Kuzborskij, Yasin Abbasi-Yadkori",
    source="arXiv 2502.17340 (2025); AISTATS 2026, PMLR 300:460-468",
    url="https://arxiv.org/abs/2502.17340",
    summary="At a stationary point of logistic loss with the penalty λ‖θ‖² the weights are parallel to the negative "
    "gradient, all layers have one norm and ranks are low; so networks trained on tasks with orthogonal inputs can be "
    "merged by the sum of their weights.",
    chapters=(STATIONARY, MERGING, REAL),
)
