"""The law: tansley2025nfa."""

from ansatzlab.laws.law import Law
from ansatzlab.laws.tansley2025nfa.counterexamples.chapter import CHAPTER as COUNTEREXAMPLES
from ansatzlab.laws.tansley2025nfa.grid.chapter import CHAPTER as GRID
from ansatzlab.laws.tansley2025nfa.linear.chapter import CHAPTER as LINEAR
from ansatzlab.laws.tansley2025nfa.noise.chapter import CHAPTER as NOISE
from ansatzlab.laws.tansley2025nfa.nonlinear.chapter import CHAPTER as NONLINEAR

LAW = Law(
    key="tansley2025nfa",
    title="On the Neural Feature Ansatz for Deep Neural Networks",
    authors="Edward Tansley, Estelle Massart, Coralia Cartis",
    source="arXiv 2510.15563 (2025)",
    url="https://arxiv.org/abs/2510.15563",
    summary="In a deep linear network of depth L the first layer's Gram matrix W₁ᵀW₁ is proportional to the AGOP to "
    "the power 1/L: throughout training from a balanced start, asymptotically from any start with weight decay.",
    chapters=(LINEAR, GRID, NOISE, NONLINEAR, COUNTEREXAMPLES),
)
