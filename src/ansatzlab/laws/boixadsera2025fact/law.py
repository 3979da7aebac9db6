"""The law: boixadsera2025fact."""

from ansatzlab.laws.boixadsera2025fact.claims import CLAIMS
from ansatzlab.laws.boixadsera2025fact.design import DESIGNS, plan
from ansatzlab.laws.boixadsera2025fact.figures import figures
from ansatzlab.laws.boixadsera2025fact.planted import planted
from ansatzlab.laws.law import Chapter, Law

LAW = Law(
    key="boixadsera2025fact",
    title="FACT: a first-principles alternative to the Neural Feature Ansatz for how networks learn representations",
    authors="Enric Boix-Adserà, Neil Mallinar, James B. Simon, Mikhail Belkin",
    source="arXiv 2507.05644 (2025)",
    url="https://arxiv.org/abs/2507.05644",
    summary="Where a loss with the penalty (λ/2)‖θ‖² is stationary, every weight matrix satisfies "
    "WᵀW = −(1/nλ) Σ (∇_h ℓ_i) h_iᵀ, h what goes into it.",
    chapters=(
        Chapter(
            key="convergence",
            title="Coupled and decoupled decay, smooth and kinked networks, to convergence",
            claims=CLAIMS,
            designs=DESIGNS,
            plan=plan,
            figures=figures,
            planted=planted,
        ),
    ),
)
