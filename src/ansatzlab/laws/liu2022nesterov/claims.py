"""What is claimed of Nesterov's descent on deep linear networks; thresholds were set beforehand."""

from ansatzlab.laws.law import Claim, Threshold
from ansatzlab.laws.liu2022nesterov import statistics
from ansatzlab.laws.liu2022nesterov.design import GRAM, LIMIT, NARROW, RATES, REACH, REAL, RESNET, TWIN
from ansatzlab.laws.reading import each_family, each_run

PLAIN, ACCELERATED = Threshold(-1.05, -0.95), Threshold(-0.62, -0.45)
SLOPE = "log–log slope of 1 − ρ against κ(H₀), ρ fitted on residuals from 1e-4 to 1e-9 of the first"

CLAIMS = (
    Claim(
        key="M.gd-slope",
        statement="Gradient descent with η = 1/λ_max contracts by 1 − Θ(1/κ) a step, κ that of H₀.",
        statistic=f"{SLOPE}, gradient descent",
        threshold=PLAIN,
        samples=statistics.slope("gd", RATES, LIMIT, RESNET),
    ),
    Claim(
        key="M.gd-constant",
        statement="(1 − ρ) κ of gradient descent is 0.89 to 0.90, as it was first measured.",
        statistic="(1 − ρ) κ, κ of the data, gradient descent tuned to the limit, the one furthest from 0.895 over κ",
        threshold=Threshold(0.845, 0.945),
        samples=statistics.scaled_rate("gd", LIMIT, about=0.895),
        role="control",
    ),
    Claim(
        key="M.nesterov-slope",
        statement="Nesterov's descent with η = 1/λ_max and β = (√κ − 1)/(√κ + 1) contracts by 1 − Θ(1/√κ).",
        statistic=f"{SLOPE}, Nesterov's",
        threshold=ACCELERATED,
        samples=statistics.slope("nesterov", RATES, LIMIT, RESNET),
    ),
    Claim(
        key="M.narrow",
        statement="The same of networks too narrow for a tuning at the double root, which needs λ_min to stand still.",
        statistic=f"{SLOPE}, Nesterov's",
        threshold=ACCELERATED,
        samples=statistics.slope("nesterov", NARROW),
        role="control",
    ),
    Claim(
        key="M.end-rate",
        statement="What the rate loses is lost by H, which moves: the contraction is that of the recursion with the H "
        "at the end.",
        statistic="1 − ρ over 1 − ρ of the recursion with the last H, Nesterov's, the one furthest from 1 over κ",
        threshold=Threshold(0.85, 1.15),
        samples=statistics.end_ratio(RATES, LIMIT, RESNET, NARROW),
        role="control",
    ),
    Claim(
        key="M.twin-slope",
        statement="The linearised twin, fitted in the same way: what of the distance from −½ is the double root's.",
        statistic=f"{SLOPE}, the twin of Nesterov's",
        threshold=ACCELERATED,
        samples=statistics.slope("nesterov", RATES, RESNET, column="twin_contraction"),
        role="control",
    ),
    Claim(
        key="M.order",
        statement="Nesterov's descent needs fewer steps to 1e-6 than heavy ball with η = 1/λ_max, that fewer than "
        "gradient descent.",
        statistic="least lead in steps of each over the next, over κ ≥ 16",
        threshold=Threshold(low=1),
        samples=statistics.lead("nesterov", "heavy_ball", "gd"),
    ),
    Claim(
        key="M.polyak",
        statement="It needs fewer than heavy ball with Polyak's own η too, which is the best on a quadratic.",
        statistic="least lead in steps of Nesterov's descent, over κ ≥ 16",
        threshold=Threshold(low=1),
        samples=statistics.lead("nesterov", "polyak"),
        role="control",
    ),
    Claim(
        key="M.speedup",
        statement="Steps of gradient descent over steps of Nesterov's to 1e-6 double as κ grows fourfold.",
        statistic="growth of the quotient for a fourfold κ(H₀), the one furthest from 2, over κ ≥ 16",
        threshold=Threshold(1.5, 2.5),
        samples=statistics.growth("gd", "nesterov"),
    ),
    Claim(
        key="M.gram-limit",
        statement="H₀ of a deep linear network lies C √(L/m) from (L/c) XᵀX ⊗ I in the mean.",
        statistic="C = ‖H₀ − H_∞‖/‖H_∞‖ · √(m/L), spectral norms, mean over networks",
        threshold=Threshold(1.2, 2.6),
        samples=statistics.constant,
    ),
    Claim(
        key="M.gram-shrinks",
        statement="Sixteen times the width at least halves that distance.",
        statistic="distance of the narrowest networks over that of the widest",
        threshold=Threshold(low=2),
        samples=statistics.fall(GRAM, "distance"),
    ),
    Claim(
        key="M.twin",
        statement="Over the first 6 √κ steps the residual of a wide network is that of its linearised twin.",
        statistic="largest ‖ξ_t − ξ_t^linear‖/‖ξ_0‖, mean over networks, the widest, κ = 16",
        threshold=Threshold(high=0.02),
        samples=statistics.widest(TWIN, "deviation"),
    ),
    Claim(
        key="M.twin-shrinks",
        statement="Four times the width at least halves that deviation.",
        statistic="deviation of the narrowest networks over that of the widest",
        threshold=Threshold(low=2),
        samples=statistics.fall(TWIN, "deviation"),
    ),
    Claim(
        key="M.lazy",
        statement="No layer goes further than O(1), while the norm of the inner ones is m.",
        statistic="largest ‖W_l − W_l(0)‖ over layers and κ, Nesterov's descent",
        threshold=Threshold(high=3),
        samples=statistics.largest(RATES, "moved"),
    ),
    Claim(
        key="M.lazy-growth",
        statement="How far layers go in 6 √κ steps does not grow with the width.",
        statistic="exponent in m of the largest ‖W_l − W_l(0)‖ after 6 √κ steps, κ = 16, mean over networks",
        threshold=Threshold(-0.25, 0.25),
        samples=statistics.exponent("moved"),
    ),
    Claim(
        key="M.resnet-gram",
        statement="At zero hidden layers a ResNet's H₀ is L (A X)ᵀ(A X) ⊗ B Bᵀ, so that A and B enter κ.",
        statistic="‖H₀ − closed form‖/‖closed form‖, the largest over κ",
        threshold=Threshold(high=1e-12),
        samples=statistics.largest(RESNET, "gram_error"),
        role="tautology",
    ),
    Claim(
        key="M.resnet-norm",
        statement="The deeper a ResNet, the less each of its layers moves.",
        statistic="√m ‖W_l‖₂ at the end, the largest of the deepest ResNets over the smallest of the shallowest",
        threshold=Threshold(high=1),
        samples=each_family(RESNET, statistics.shrinkage, statistics.by_kind, statistics.by_any("nesterov")),
    ),
    Claim(
        key="M.width",
        statement="Width is needed: of narrow networks fewer are trained to 1e-6 in the same steps.",
        statistic="share of the widest networks that is trained, minus that of the narrowest",
        threshold=Threshold(low=0.125),
        samples=each_run(REACH, statistics.gained, statistics.by_depth_and_method),
    ),
    Claim(
        key="M.data-gd",
        statement="On real data, reduced to their first principal directions, gradient descent has the same slope.",
        statistic=f"{SLOPE}, gradient descent",
        threshold=PLAIN,
        samples=statistics.slope("gd", REAL),
    ),
    Claim(
        key="M.data-nesterov",
        statement="And Nesterov's descent too.",
        statistic=f"{SLOPE}, Nesterov's",
        threshold=ACCELERATED,
        samples=statistics.slope("nesterov", REAL),
    ),
    Claim(
        key="M.data-floor",
        statement="Targets that no linear map fits leave the residual at ‖Y(I − P_X)‖, and the rates are towards it.",
        statistic="|‖U − Y‖/‖Y(I − P_X)‖ − 1| on all examples at the end, the largest over descents",
        threshold=Threshold(high=1e-9),
        samples=each_family(REAL, statistics.above_floor, statistics.described),
        role="tautology",
    ),
)
