"""What each claim reads out of the table of runs; pure functions, one statistic each."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from ansatzlab.laws.law import Reader, Sample
from ansatzlab.laws.liu2022nesterov.design import GRAM, RATES, TWIN
from ansatzlab.laws.liu2022nesterov.problem import LEAST
from ansatzlab.laws.reading import NO_VALUE, Absent, Choice, Value, by_depth, each_family, each_run
from ansatzlab.laws.runs import Run, RunTable

NESTEROV = "nesterov"
MISSING = "rows or runs are missing"
FEWEST = 3
"""A slope needs so many condition numbers."""

NUMEROUS = 16.0
"""From this κ of the data on the methods' counts of steps are compared."""

SMALLEST = 1e-16
"""What a quotient is bounded by from below."""


Family = Sequence[Run]
"""The descents of one network shape and seed, at several condition numbers and by several methods."""


def points(family: Family, method: str, *columns: str) -> np.ndarray:
    """Return columns at the end of a method's descents, by ascending κ (descents, columns)."""
    rows = [[run.last(name, None) for name in columns] for run in family if method_of(run) == method]
    return np.array(rows).reshape(len(rows), len(columns))


def method_of(run: Run) -> str:
    """Return what a descent is by."""
    return str(run.options["optimizer"])


def by_any(*methods: str) -> Choice:
    """Return the choice of the descents by some methods."""
    return lambda run: method_of(run) in methods


def described(run: Run) -> str:
    """Say on what a run was: the data if they are real, the network, what it was tuned to."""
    options = run.options
    data = f"{run.data}: " if options.get("data") else ""
    kind = "ResNet" if options.get("kind") == "resnet" else "deep linear"
    tuned = ", tuned to the limit" if options.get("tuned_to") == "limit" else ""
    return f"{data}{kind}, L = {run.depth}, m = {options['width']}{tuned}"


def slope(method: str, *experiments: str, column: str = "contraction") -> Reader:
    """Return the reader of the log–log slope of ``1 − ρ`` against κ(H_0), over the condition numbers."""

    def statistic(family: Family) -> Value:
        found = points(family, method, "condition", column)
        if np.isnan(found[:, 0]).any():
            return Absent("a condition number is missing")
        found = found[found[:, 0] >= LEAST]
        if len(found) < FEWEST:
            return Absent(f"fewer than {FEWEST} condition numbers of at least {LEAST:g}", applies=False)
        if np.isnan(found).any():
            return Absent("a contraction could not be fitted")
        return float(np.polyfit(np.log(found[:, 0]), np.log(1 - found[:, 1]), 1)[0])

    return _of_families(experiments, (method,), statistic)


def scaled_rate(method: str, experiment: str, about: float) -> Reader:
    """Return the reader of ``(1 − ρ) κ``, κ that of the data, the one furthest from a value over κ."""

    def statistic(family: Family) -> Value:
        found = points(family, method, "data_condition", "contraction")
        if np.isnan(found).any():
            return Absent("a contraction could not be fitted")
        return float(max(found[:, 0] * (1 - found[:, 1]), key=lambda value: abs(value - about)))

    return _of_families((experiment,), (method,), statistic)


def end_ratio(*experiments: str) -> Reader:
    """Return the reader of ``1 − ρ`` over that of the recursion with the last H, the one furthest from 1 over κ."""

    def statistic(family: Family) -> float:
        found = points(family, NESTEROV, "contraction", "end_contraction")
        return float(max((1 - found[:, 0]) / (1 - found[:, 1]), key=lambda ratio: abs(ratio - 1)))

    return _of_families(experiments, (NESTEROV,), statistic)


def lead(*methods: str) -> Reader:
    """Return the reader of by how many steps each method is ahead of the next, the least over κ ≥ 16.

    What is not reached in twice the steps of the linearised twin counts as never reached.
    """

    def statistic(family: Family) -> Value:
        counts = [np.nan_to_num(_counts(family, method), nan=math.inf) for method in methods]
        if len({each.size for each in counts}) > 1:
            return Absent(MISSING)
        if not counts[0].size:
            return Absent("no condition number of at least 16", applies=False)
        return float(np.min([slower - faster for faster, slower in pairwise(counts)]))

    return _of_families((RATES,), methods, statistic)


def growth(slower: str, faster: str) -> Reader:
    """Return the reader of the growth of the quotient of two counts of steps when κ grows fourfold, furthest from 2."""

    def statistic(family: Family) -> Value:
        counts, conditions = _counts(family, slower), _numerous(family, slower, "condition")
        if counts.size != _counts(family, faster).size:
            return Absent(MISSING)
        quotients = counts / _counts(family, faster)
        if len(quotients) < 2:
            return Absent("fewer than two condition numbers of at least 16", applies=False)
        if np.isnan(quotients).any():
            return Absent("not reached")
        exponents = np.diff(np.log(quotients)) / np.diff(np.log(conditions))
        return float(max(4**exponents, key=lambda grown: abs(grown - 2)))

    return _of_families((RATES,), (slower, faster), statistic)


def largest(experiment: str, column: str) -> Reader:
    """Return the reader of a column at the end of Nesterov's descents, the largest over κ."""
    return _of_families((experiment,), (NESTEROV,), lambda family: float(points(family, NESTEROV, column).max()))


def above_floor(family: Family) -> float:
    """Return how far above the least residual the data's residual ends, the largest over descents.

    ``‖U − Y‖/‖Y(I − P_X)‖ − 1``, or ``‖U − Y‖/‖Y‖`` where the floor is rounding.
    """
    left, floor = np.array([[run.last(name, None) for name in ("left", "floor")] for run in family]).T
    return float(np.where(floor > 1e-12, np.abs(left / np.maximum(floor, SMALLEST) - 1), left).max())


def shrinkage(family: Family) -> Value:
    """Return ``√m ‖W_l‖₂`` of the layer that is largest at the end: that of the deepest ResNets over the shallowest."""
    by_shape: dict[tuple[int, int], list[float]] = {}
    for run in family:
        shape = run.depth, int(run.options["width"])
        by_shape.setdefault(shape, []).append(math.sqrt(shape[1]) * run.last("spectral_norm", None))
    norms = {shape: float(np.max(found)) for shape, found in by_shape.items()}  # nan where one is
    shallow, deep = min(norms)[0], max(norms)[0]
    if shallow == deep:
        return Absent("one depth", applies=False)
    ends = [[norm for (depth, _), norm in norms.items() if depth == end] for end in (deep, shallow)]
    return float(np.max(ends[0]) / np.min(ends[1]))


def constant(table: RunTable) -> list[Sample]:
    """Read ``C = ‖H_0 − H_∞‖/‖H_∞‖ · √(m/L)``, spectral norms, one condition per width."""
    samples = []
    for run in table.runs(GRAM):
        distances = dict(zip(run.network("width"), run.network("distance"), strict=True))
        for width in run.options["widths"]:
            value = math.nan if run.failure else float(distances.get(width, math.nan)) * math.sqrt(width / run.depth)
            reason = run.failure or (NO_VALUE if math.isnan(value) else "")
            samples.append(Sample(f"L = {run.depth}, m = {width:g}", run.seed, value, reason))
    return samples


def fall(experiment: str, name: str) -> Reader:
    """Return the reader of by what factor a column falls from the narrowest networks to the widest."""
    return _of_widths(experiment, lambda run: float(run.network(name)[0] / max(run.network(name)[-1], SMALLEST)))


def widest(experiment: str, name: str) -> Reader:
    """Return the reader of a column at the largest width."""
    return _of_widths(experiment, lambda run: run.last(name, None))


def exponent(name: str) -> Reader:
    """Return the reader of the exponent with which a column grows in the width, from the narrowest to the widest."""

    def statistic(run: Run) -> float:
        values, widths = run.network(name), run.network("width")
        return float(np.log(values[-1] / values[0]) / np.log(widths[-1] / widths[0]))

    return _of_widths(TWIN, statistic)


def gained(run: Run) -> float:
    """Return how much larger a share of the widest networks is trained than of the narrowest."""
    shares = run.network("trained")
    return float(shares[-1] - shares[0]) if len(shares) else math.nan


def by_depth_and_method(run: Run) -> str:
    """Say how deep they were and what they were trained by."""
    return f"{by_depth(run)}, {method_of(run)}"


def by_kind(_: Run) -> str:
    """Say that the ResNets of one seed are compared."""
    return "ResNets, deepest over shallowest"


def _of_widths(experiment: str, statistic: Callable[[Run], float]) -> Reader:
    return each_run(experiment, lambda run: statistic(run) if run.whole else Absent(MISSING), by_depth)


def _counts(family: Family, method: str) -> np.ndarray:
    return _numerous(family, method, "steps_to_reach")


def _numerous(family: Family, method: str, column: str) -> np.ndarray:
    found = points(family, method, "data_condition", column)
    kept: np.ndarray = found[found[:, 0] >= NUMEROUS * (1 - 1e-9), 1]
    return kept


def _of_families(experiments: Sequence[str], methods: Sequence[str], statistic: Callable[[Family], Value]) -> Reader:
    return each_family(experiments, statistic, described, by_any(*methods))
