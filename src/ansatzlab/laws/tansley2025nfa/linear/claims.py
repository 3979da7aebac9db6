"""What is claimed of linear networks."""

from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.reading import by_depth, each_family, each_run
from ansatzlab.laws.tansley2025nfa.linear import statistics
from ansatzlab.laws.tansley2025nfa.linear.design import (
    BALANCED_DESCENT,
    BALANCED_FLOW,
    COLLAPSE,
    DECAY,
    NO_DECAY,
    STOCHASTIC,
)

CLAIMS = (
    Claim(
        key="A.error",
        statement="From a balanced start under gradient flow, W₁ᵀW₁ equals AGOP^{1/L} at every moment of training.",
        statistic="max over time of ‖W₁ᵀW₁ − AGOP^{1/L}‖ / ‖W₁ᵀW₁‖",
        threshold=Threshold(high=statistics.ALLOWED_ERROR),
        samples=each_run(BALANCED_FLOW, statistics.largest_error),
    ),
    Claim(
        key="A.exponent",
        statement="The exponent that fits best along that flow is 1/L.",
        statistic="max over time of |α* − 1/L|",
        threshold=Threshold(high=1e-3),
        samples=each_run(BALANCED_FLOW, statistics.exponent_error),
    ),
    Claim(
        key="A.not-half",
        statement="The exponent ½ does not fit from depth 3 on.",
        statistic="log₁₀ of the scale-free residual at α = ½ over that at 1/L, end of training",
        threshold=Threshold(low=6.0),
        samples=each_run(BALANCED_FLOW, statistics.wrong_decades(0.5), keep=statistics.at_least(3)),
    ),
    Claim(
        key="A.not-one",
        statement="The exponent 1 does not fit from depth 2 on.",
        statistic="log₁₀ of the scale-free residual at α = 1 over that at 1/L, end of training",
        threshold=Threshold(low=6.0),
        samples=each_run(BALANCED_FLOW, statistics.wrong_decades(1.0)),
    ),
    Claim(
        key="A.half-size",
        statement="How far off ½ is from depth 4 on; the size depends on the spread of the data's spectrum.",
        statistic="scale-free residual at α = ½, end of training",
        threshold=Threshold(low=0.1),
        samples=each_run(BALANCED_FLOW, statistics.wrong_residual(0.5), keep=statistics.at_least(4)),
        role="control",
    ),
    Claim(
        key="A.one-size",
        statement="How far off 1 is from depth 2 on; the size depends on the spread of the data's spectrum.",
        statistic="scale-free residual at α = 1, end of training",
        threshold=Threshold(low=0.1),
        samples=each_run(BALANCED_FLOW, statistics.wrong_residual(1.0)),
        role="control",
    ),
    Claim(
        key="A′.layers",
        statement="In hidden layer l the exponent is 1/(L − l + 1).",
        statistic="max over time of |α* − 1/(L − l + 1)|",
        threshold=Threshold(high=1e-3),
        samples=statistics.hidden_exponents,
    ),
    Claim(
        key="A′.last",
        statement="In the last layer AGOP = WᵀW whatever the weights: a tautology, shown and not counted.",
        statistic="max over time of the residual at α = 1, last layer",
        threshold=Threshold(high=statistics.ALLOWED_ERROR),
        samples=each_run(BALANCED_FLOW, statistics.last_layer_residual),
        role="tautology",
    ),
    Claim(
        key="A″.drift",
        statement="Gradient descent from a balanced start drifts off balance in proportion to the step size η.",
        statistic="log–log slope of max over time of ‖D₁‖ against η",
        threshold=Threshold(0.9, 1.1),
        samples=each_family(BALANCED_DESCENT, statistics.drift_slope, by_depth),
    ),
    Claim(
        key="B.imbalance",
        statement="From an unbalanced start with decay λ, every imbalance D_l falls as e^{−2λt}.",
        statistic="decay rate of ‖D_l‖ / 2λ, the pair of layers furthest from 1",
        threshold=Threshold(0.999, 1.001),
        samples=each_run(DECAY, statistics.imbalance_rate),
    ),
    Claim(
        key="B.rate",
        statement="The ansatz with 1/L follows at the same rate, where no eigenvalue of the AGOP is still on its way "
        "to zero.",
        statistic="decay rate of ‖W₁ᵀW₁ − AGOP^{1/L}‖ / ‖W₁ᵀW₁‖, over 2λ",
        threshold=Threshold(0.98, 1.02),
        samples=each_run(DECAY, statistics.ansatz_rate),
    ),
    Claim(
        key="B.decades",
        statement="The error of the ansatz falls by at least five decades.",
        statistic="log₁₀ of initial over final ‖W₁ᵀW₁ − AGOP^{1/L}‖ / ‖W₁ᵀW₁‖",
        threshold=Threshold(low=5.0),
        samples=each_run(DECAY, statistics.ansatz_decades),
    ),
    Claim(
        key="B′.conserved",
        statement="Without decay the imbalance of the start stays for ever.",
        statistic="max over time and pairs of | ‖D_l(t)‖/‖D_l(0)‖ − 1 |",
        threshold=Threshold(high=1e-8),
        samples=each_run(NO_DECAY, statistics.conservation),
    ),
    Claim(
        key="B′.violated",
        statement="So the ansatz with 1/L does not hold there, and this is detected.",
        statistic="scale-free residual at α = 1/L, end of training",
        threshold=Threshold(low=0.1),
        samples=each_run(NO_DECAY, statistics.violation),
    ),
    Claim(
        key="B″.collapse",
        statement="Too much decay sends all weights to zero, and this collapse is detected.",
        statistic="largest final over initial ‖W_l‖ of all layers",
        threshold=Threshold(high=statistics.COLLAPSED),
        samples=each_run(COLLAPSE, statistics.remaining_weight),
    ),
    Claim(
        key="D.discrete",
        statement="Every step of stochastic gradient descent obeys D ← (1−ηλ)² D + η²(g_{l+1}ᵀg_{l+1} − g_l g_lᵀ).",
        statistic="max over 300 steps and pairs of ‖D_l − predicted‖ / ‖W_l W_lᵀ‖",
        threshold=Threshold(high=1e-12),
        samples=each_run(STOCHASTIC, statistics.discrete_law),
    ),
)
