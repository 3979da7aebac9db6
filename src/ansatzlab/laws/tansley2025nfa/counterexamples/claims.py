"""What is claimed of the counterexamples, and how it is read out of the table."""

import math
from collections.abc import Collection

from ansatzlab.counterexamples.rare_firing import supremum
from ansatzlab.laws.law import Claim, Reader, Threshold
from ansatzlab.laws.reading import Choice, Statistic, at_end, each_run, every
from ansatzlab.laws.runs import Run
from ansatzlab.laws.tansley2025nfa.counterexamples.design import JITTERED, SEARCH, ZOO

BALANCED = ("interference", "cancellation", "rare_firing", "reversed_spectrum")
EXACT = ("plateau", "cancellation", "rare_firing", "reversed_spectrum", "non_homogeneous")
"""The families whose closed form is that of their own data; that of interference is an average over Gaussians."""

STRONG = 50.0
"""From this strength on the rare neuron is to bring every cosine below 0.3."""

RANK = 64
"""The number of neurons in the family of the reversed spectrum."""


def option(run: Run, name: str) -> float:
    """Return a setting of a family's network; nan where it was not changed."""
    return float(run.options.get(name, math.nan))


def label(run: Run) -> str:
    """Say which network a run is about."""
    options = run.options
    if "balanced" in options:
        kind = "balanced" if options["balanced"] else "any"
        return f"{options['data']}, {kind} network"
    told = [f"{name} = {options[name]:g}" for name in ("m", "R") if name in options]
    written = ["written down"] if options.get("descend") is False else []
    return ", ".join([options["family"].replace("_", " "), *told, *written])


def highest(run: Run) -> float:
    """Return the largest cosine over all α > 0: the best from 0.05 to 4, or the limit at α → 0."""
    return max(float(run.column("best_cosine")[-1]), float(run.column("floor")[-1]))


def interference_cosine(exponent: float, m: int) -> float:
    """Return the cosine of an interference network: ``G`` has m − 1 eigenvalues ¼ and one ``(m + 1)/4``.

    Example:
        >>> round(interference_cosine(1.0, 64), 3), round(interference_cosine(0.5, 64), 3)
        (0.244, 0.785)
    """
    top = float(m + 1) ** exponent
    return float((m - 1 + top) / math.sqrt(m * (m - 1 + top**2)))


def drop(run: Run) -> float:
    """Return by how much the best cosine is below that of the plainly trained network."""
    cosines = run.column("best_cosine")
    return float(cosines[0] - cosines[1])


def lost(run: Run) -> float:
    """Return by how much the accuracy on held-out examples is below that of the plainly trained network."""
    accuracies = run.column("held_out_accuracy")
    return float(accuracies[0] - accuracies[1])


def _off_interference(column: str, exponent: float) -> Statistic:
    return lambda run: abs(float(run.column(column)[-1]) - interference_cosine(exponent, int(option(run, "m"))))


def _off_supremum(run: Run) -> float:
    return abs(highest(run) - supremum(option(run, "R"), RANK))


def _of(
    experiment: str,
    statistic: Statistic,
    families: Collection[str] = (),
    only: Choice = every,
) -> Reader:
    """Return the reader of a statistic of some runs of some families (none: all)."""

    def chosen(run: Run) -> bool:
        return (not families or run.options["family"] in families) and only(run)

    return each_run(experiment, statistic, label, chosen)


def _is_strong(run: Run) -> bool:
    return option(run, "R") >= STRONG


def is_trained(run: Run) -> bool:
    """Whether a family's network was trained into and not written down, where it could be either."""
    return run.options.get("descend") is not False


CLAIMS = (
    Claim(
        key="C.fit",
        statement="Every network of the zoo fits its data, the trained ones by gradient descent or flow.",
        statistic="loss Σ w ‖f(x) − y‖² / (2 Σ w)",
        threshold=Threshold(high=1e-6),
        samples=_of(ZOO, at_end("loss")),
    ),
    Claim(
        key="C.fit-every",
        statement="It fits every example, the rare ones too.",
        statistic="largest |f(x) − y| over examples and outputs",
        threshold=Threshold(high=1e-4),
        samples=_of(ZOO, at_end("largest_residual")),
    ),
    Claim(
        key="C.violated",
        statement="The ansatz with the exponent ½ does not hold in its first layer.",
        statistic="scale-free residual at α = ½",
        threshold=Threshold(low=0.1),
        samples=_of(ZOO, at_end("residual_half")),
    ),
    Claim(
        key="C.balanced",
        statement="Imbalance is not the reason: every neuron of these families is balanced.",
        statistic="largest | |incoming|² − |outgoing|² | of a neuron over the largest of the squares",
        threshold=Threshold(high=1e-9),
        samples=_of(ZOO, at_end("imbalance"), BALANCED),
    ),
    Claim(
        key="C.gram",
        statement="The measured AGOP is the closed form.",
        statistic="‖G − closed form‖ / ‖closed form‖",
        threshold=Threshold(high=1e-6),
        samples=_of(ZOO, at_end("gram_error"), EXACT),
    ),
    Claim(
        key="C.interference",
        statement="Over Gaussian inputs it is the arc-cosine kernel's.",
        statistic="‖G − closed form‖ / ‖closed form‖, 100,000 inputs",
        threshold=Threshold(high=0.01),
        samples=_of(ZOO, at_end("gram_error"), ("interference",)),
    ),
    Claim(
        key="C.interference-half",
        statement="The score at ½ is the predicted one.",
        statistic="|cosine at ½ − closed form|",
        threshold=Threshold(high=0.01),
        samples=_of(ZOO, _off_interference("cosine_half", 0.5), ("interference",)),
    ),
    Claim(
        key="C.interference-one",
        statement="The score at 1 is the predicted one.",
        statistic="|cosine at 1 − closed form|",
        threshold=Threshold(high=0.01),
        samples=_of(ZOO, _off_interference("cosine_one", 1.0), ("interference",)),
    ),
    Claim(
        key="C.reversed-loss",
        statement="Gradient descent reaches the strong neuron that fires rarely, at zero loss.",
        statistic="loss, examples weighted by how often they occur",
        threshold=Threshold(high=1e-10),
        samples=_of(ZOO, at_end("loss"), ("reversed_spectrum",), is_trained),
    ),
    Claim(
        key="C.reversed",
        statement="No exponent aligns it.",
        statistic="largest cosine over all α > 0, the limit α → 0 included",
        threshold=Threshold(high=0.3),
        samples=_of(ZOO, highest, ("reversed_spectrum",), _is_strong),
    ),
    Claim(
        key="C.reversed-limit",
        statement="Its best cosine is (R + r − 1)/√(r (R² + r − 1)), which tends to 1/√rank, the least "
        "that matrices of one range can have.",
        statistic="|largest cosine over all α > 0 − closed form|",
        threshold=Threshold(high=1e-6),
        samples=_of(ZOO, _off_supremum, ("reversed_spectrum",)),
    ),
    Claim(
        key="C.plateau",
        statement="Flat at every training input: the strongest neuron is out of every exponent's reach.",
        statistic="largest cosine over all α > 0, the limit α → 0 included",
        threshold=Threshold(high=0.2),
        samples=_of(ZOO, highest, ("plateau",)),
    ),
    Claim(
        key="C.plateau-jitter",
        statement="It is the training inputs that hide it: on jittered inputs some exponent aligns.",
        statistic="best cosine over α from 0.05 to 4, inputs with unit noise",
        threshold=Threshold(low=0.9),
        samples=_of(JITTERED, at_end("best_cosine"), ("plateau",)),
        role="control",
    ),
    Claim(
        key="C.cancellation",
        statement="Neurons that cancel are in the weights and not in the gradients.",
        statistic="largest cosine over all α > 0, the limit α → 0 included",
        threshold=Threshold(high=0.2),
        samples=_of(ZOO, highest, ("cancellation",)),
    ),
    Claim(
        key="C.search-fit",
        statement="A search finds networks that classify the data.",
        statistic="accuracy on the examples it was given",
        threshold=Threshold(low=0.95),
        samples=_of(SEARCH, at_end("accuracy")),
        role="control",
    ),
    Claim(
        key="C.search-drop",
        statement="Their first layer aligns far less than that of a plainly trained network.",
        statistic="best cosine over α from 0.05 to 4, plainly trained minus found",
        threshold=Threshold(low=0.2),
        samples=_of(SEARCH, drop),
    ),
    Claim(
        key="C.search-held-out",
        statement="They classify examples that the search did not see nearly as well as the plainly trained network.",
        statistic="accuracy on held-out examples, plainly trained minus found",
        threshold=Threshold(high=0.05),
        samples=_of(SEARCH, lost),
        role="control",
    ),
    Claim(
        key="C.search-floor",
        statement="What a flat AGOP would score, α → 0, does not hide it either.",
        statistic="largest cosine over all α > 0, the limit α → 0 included",
        threshold=Threshold(high=0.7),
        samples=_of(SEARCH, highest),
        role="control",
    ),
)
