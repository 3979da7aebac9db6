"""What is claimed of the noise floor."""

from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.tansley2025nfa.noise import statistics
from ansatzlab.laws.tansley2025nfa.noise.design import INTERPOLATING, LABELS

CLAIMS = (
    Claim(
        key="N.predicted",
        statement="Stochastic descent with decay λ does not balance a network: its mean imbalance stands at "
        "η/(2λ − ηλ²) times the mean of g_{l+1}ᵀg_{l+1} − g_l g_lᵀ.",
        statistic="largest ‖E[D] − predicted‖ / ‖E[D]‖ over rates and decays",
        threshold=Threshold(high=0.05),
        samples=statistics.predicted,
        role="tautology",
    ),
    Claim(
        key="N.foretold",
        statement="The floor can be foretold without training by noise: the mean is that of single examples' gradients "
        "at the full-batch minimum, over the batch size, to first order in η.",
        statistic="measured over foretold ‖E[D]‖ at the smallest rate",
        threshold=Threshold(0.9, 1.1),
        samples=statistics.foretold,
    ),
    Claim(
        key="N.halving",
        statement="Halving the learning rate at a fixed decay halves the floor.",
        statistic="‖E[D]‖ at η/2 over ‖E[D]‖ at η, the ratio furthest from ½",
        threshold=Threshold(0.425, 0.575),
        samples=statistics.halving,
    ),
    Claim(
        key="N.rate",
        statement="The floor is proportional to the learning rate, on noisy and on interpolated data.",
        statistic="log–log slope of ‖E[D]‖ against η at fixed λ",
        threshold=Threshold(0.85, 1.15),
        samples=statistics.slope("rate", LABELS, INTERPOLATING),
    ),
    Claim(
        key="N.decay-labels",
        statement="With label noise and λ far below the singular values that are kept, the floor falls as 1/λ: the "
        "noise at the end does not depend on λ.",
        statistic="log–log slope of ‖E[D]‖ against λ at fixed η, label noise",
        threshold=Threshold(-1.15, -0.85),
        samples=statistics.slope("decay", LABELS),
    ),
    Claim(
        key="N.decay-interpolating",
        statement="On data that the network could interpolate the floor grows with λ: only the decay keeps the "
        "gradients of single examples from zero.",
        statistic="log–log slope of ‖E[D]‖ against λ at fixed η, no label noise",
        threshold=Threshold(0.85, 1.15),
        samples=statistics.slope("decay", INTERPOLATING),
    ),
)
