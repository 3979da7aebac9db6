"""What is claimed of FACT, and how it is read from a table of runs."""

import math

import numpy as np

from ansatzlab.laws.boixadsera2025fact.design import COUPLED, DECOUPLED
from ansatzlab.laws.comparison import EXPONENTS, at, beyond, column, described, largest, least
from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import each_run
from ansatzlab.laws.runs import Run

COMPARATORS = ("cosine", "pearson")
IDENTITY = "identity"
KINKED = ("relu", "leaky_relu")
"""Activations with a kink, at which a minimum need not be a stationary point."""


def correlation(run: Run) -> float:
    """Return the lowest FACT score at the end, cosine or Pearson, over hidden layers."""
    return least(run, lambda layer: min(at(run, column("fact", name), layer) for name in COMPARATORS))


def lead(run: Run) -> float:
    """Return by how much FACT scores above the best ansatz at the end, in the hidden layer where it is least."""

    def lead_of(layer: int) -> float:
        return min(
            at(run, column("fact", name), layer)
            - max(
                at(run, ansatz, layer) for ansatz in (*(column("nfa", name, e) for e in EXPONENTS), f"nfa-best_{name}")
            )
            for name in COMPARATORS
        )

    return least(run, lead_of)


def disagreement(run: Run) -> float:
    """Return how far ``‖M − F‖`` is, over training and all layers, from the norm of the penalised gradient's image."""
    worst = 0.0
    for layer in range(1, run.depth + 1):
        certificate = run.column("certificate", layer)
        for name in ("explicit", "fact_mismatch"):
            worst = max(worst, float(np.max(np.abs(run.column(name, layer) - certificate) / (1 + certificate))))
    return worst


def fall(run: Run) -> float:
    """Return the decades by which the mismatch fell, from the start to the end, in the layer where it fell least."""
    return min(
        math.log10(run.column("certificate", layer)[0] / max(run.column("certificate", layer)[-1], 1e-16))
        for layer in range(1, run.depth + 1)
    )


def mismatch(run: Run) -> float:
    """Return the smallest mismatch of a hidden layer at the end."""
    return least(run, lambda layer: at(run, "fact_mismatch", layer))


def highest(run: Run) -> float:
    """Return the highest FACT score at the end, cosine or Pearson, over hidden layers."""
    return largest(run, lambda layer: max(at(run, column("fact", name), layer) for name in COMPARATORS))


def at_start(run: Run) -> float:
    """Return the highest FACT score before training."""
    return largest(run, lambda layer: at(run, "fact_cosine", layer, 0))


def beyond_null(run: Run) -> float:
    """Return by how many standard deviations FACT scores above its null, in the hidden layer where it is least."""
    return least(run, lambda layer: beyond(run, "fact_cosine", layer))


def positive_null(run: Run) -> float:
    """Return the null of the positive form, in the hidden layer where it is lowest."""
    return least(run, lambda layer: at(run, "fact-psd_cosine_null", layer))


def is_nonlinear(run: Run) -> bool:
    """Whether a network has an activation."""
    return bool(run.options["activation"] != IDENTITY)


def is_kinked(run: Run) -> bool:
    """Whether its activation has kinks, where a minimum need not be stationary."""
    return run.options["activation"] in KINKED


def is_smooth(run: Run) -> bool:
    """Whether it has none."""
    return not is_kinked(run)


CLAIMS = (
    Claim(
        key="F.correlation",
        statement="With coupled decay, at the end of training, WᵀW correlates with FACT in every hidden layer.",
        statistic="least cosine and Pearson correlation of WᵀW and F, over hidden layers, end of training",
        threshold=Threshold(low=0.95),
        samples=each_run(COUPLED, correlation, described),
    ),
    Claim(
        key="F.above-nfa",
        statement="There it correlates better than the ansatz does, with ½, 1 or the best exponent. (In a linear "
        "network both are exact.)",
        statistic="least lead of FACT's score over the best of the ansatz, over hidden layers and both comparators",
        threshold=Threshold(low=0.0),
        samples=each_run(COUPLED, lead, described, is_nonlinear),
    ),
    Claim(
        key="F.certificate",
        statement="What FACT misses is the penalised gradient seen through W: ‖M − F‖ = ‖Wᵀ(λW + ∂loss/∂W)‖/λ, at any "
        "moment of any training.",
        statistic="max over time and layers of the difference of the two, over ‖M‖ + the right one",
        threshold=Threshold(high=1e-10),
        samples=each_run((COUPLED, DECOUPLED), disagreement, described),
        role="tautology",
    ),
    Claim(
        key="F.converges",
        statement="So it vanishes as the penalised loss becomes stationary, where that loss is smooth.",
        statistic="decades by which ‖M − F‖/‖M‖ fell, the layer where it fell least",
        threshold=Threshold(low=4.0),
        samples=each_run(COUPLED, fall, described, is_smooth),
    ),
    Claim(
        key="F.kinks",
        statement="The same with ReLU, whose kinks may hold the weights where the loss has no gradient.",
        statistic="decades by which ‖M − F‖/‖M‖ fell, the layer where it fell least",
        threshold=Threshold(low=4.0),
        samples=each_run(COUPLED, fall, described, is_kinked),
        role="control",
    ),
    Claim(
        key="F.decoupled",
        statement="With decoupled decay (AdamW) FACT does not hold.",
        statistic="least ‖M − F‖/‖M‖ over hidden layers, end of training",
        threshold=Threshold(low=0.1),
        samples=each_run(DECOUPLED, mismatch, described),
    ),
    Claim(
        key="F.decoupled-correlation",
        statement="Nor does WᵀW correlate with it there as it does with coupled decay.",
        statistic="largest cosine or Pearson correlation of WᵀW and F, over hidden layers, end of training",
        threshold=Threshold(high=0.95),
        samples=each_run(DECOUPLED, highest, described),
    ),
    Claim(
        key="F.beyond-null",
        statement="With coupled decay its score is beyond what it is when the loss gradients are turned at random.",
        statistic="least (score − null)/sd of the null, over hidden layers, end of training",
        threshold=Threshold(low=3.0),
        samples=each_run(COUPLED, beyond_null, described),
    ),
    Claim(
        key="F.start",
        statement="Before training the score is not high, unlike that of the ansatz.",
        statistic="largest cosine of WᵀW and F, over hidden layers, at the start",
        threshold=Threshold(high=0.5),
        samples=each_run((COUPLED, DECOUPLED), at_start, described),
        role="control",
    ),
    Claim(
        key="F.positive-null",
        statement="The positive form (F Fᵀ)^½ scores high for any loss gradients: its null belongs beside it.",
        statistic="least null of its cosine, over hidden layers, end of training",
        threshold=Threshold(low=0.5),
        samples=each_run((COUPLED, DECOUPLED), positive_null, described),
        role="control",
    ),
)
