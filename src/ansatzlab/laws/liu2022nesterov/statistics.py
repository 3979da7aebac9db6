"""What each claim reads out of the table of runs; pure functions, one statistic each."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pyarrow as pa

from ansatzlab.laws.law import Sample
from ansatzlab.laws.liu2022nesterov.design import GRAM, RATES, REACH, REAL, RESNET, TWIN
from ansatzlab.laws.liu2022nesterov.presets import PRESETS
from ansatzlab.laws.liu2022nesterov.problem import LEAST
from ansatzlab.laws.runs import Run, runs_of

Reader = Callable[[pa.Table], list[Sample]]

FEWEST = 3
"""A slope needs so many condition numbers."""

NUMEROUS = 16.0
"""From this κ of the data on the methods' counts of steps are compared."""

SMALLEST = 1e-16
"""What a quotient is bounded by from below."""


@dataclass(frozen=True)
class Family:
    """The descents of one network shape and seed, at several condition numbers and by several methods.

    Attributes:
        condition: What distinguishes it from others: data, kind, depth, width, tuning.
        seed: The seed.
        runs: The runs by method, in the order of the condition numbers.
    """

    condition: str
    seed: int
    runs: dict[str, list[Run]]

    def failure(self, methods: Sequence[str]) -> str:
        """Say why a run of these methods did not finish; empty if all did."""
        return next((run.failure for method in methods for run in self.runs.get(method, []) if run.failure), "")

    def points(self, method: str, *columns: str) -> np.ndarray:
        """Return columns of a method's last rows (runs, columns)."""
        rows = [[last(run, name) for name in columns] for run in self.runs.get(method, [])]
        return np.array(rows).reshape(len(rows), len(columns))


def last(run: Run, name: str) -> float:
    """Return a column of a run's last row; nan where it has none."""
    return float(run.column(name)[-1]) if run.layers else math.nan


def families(table: pa.Table, *experiments: str) -> list[Family]:
    """Return the families of some experiments, in their order and by depth."""

    def place(run: Run) -> tuple[int, int, float, int]:
        options = run.spec["options"]
        method = list(PRESETS).index(options["optimizer"])
        return run.depth, method, options.get("condition", 0.0), options.get("directions", 0)

    found: dict[tuple[str, int], dict[str, list[Run]]] = {}
    for run in (run for name in experiments for run in sorted(runs_of(table, name), key=place)):
        found.setdefault((described(run), run.seed), {}).setdefault(run.spec["options"]["optimizer"], []).append(run)
    return [Family(condition, seed, runs) for (condition, seed), runs in found.items()]


def described(run: Run) -> str:
    """Say on what a run was: the data if they are real, the network, what it was tuned to."""
    options = run.spec["options"]
    data = f"{run.data}: " if options.get("data") else ""
    kind = "ResNet" if options.get("kind") == "resnet" else "deep linear"
    tuned = ", tuned to the limit" if options.get("tuned_to") == "limit" else ""
    return f"{data}{kind}, L = {run.depth}, m = {options['width']}{tuned}"


def slope(method: str, *experiments: str, column: str = "contraction") -> Reader:
    """Return the reader of the log–log slope of ``1 − ρ`` against κ(H_0), over the condition numbers."""

    def statistic(family: Family) -> float | str:
        points = family.points(method, "condition", column)
        points = points[points[:, 0] >= LEAST]
        if len(points) < FEWEST:
            return f"not identifiable: fewer than {FEWEST} condition numbers of at least {LEAST:g}"
        if np.isnan(points).any():
            return "a contraction could not be fitted"
        return float(np.polyfit(np.log(points[:, 0]), np.log(1 - points[:, 1]), 1)[0])

    return _of_families(experiments, (method,), statistic)


def end_ratio(*experiments: str) -> Reader:
    """Return the reader of ``1 − ρ`` over that of the recursion with the last H, the one furthest from 1 over κ."""

    def statistic(family: Family) -> float:
        points = family.points("nesterov", "contraction", "end_contraction")
        return float(max((1 - points[:, 0]) / (1 - points[:, 1]), key=lambda ratio: abs(ratio - 1)))

    return _of_families(experiments, ("nesterov",), statistic)


def lead(*methods: str) -> Reader:
    """Return the reader of by how many steps each method is ahead of the next, the least over κ ≥ 16.

    What is not reached in twice the steps of the linearised twin counts as never reached.
    """

    def statistic(family: Family) -> float | str:
        counts = [np.nan_to_num(_counts(family, method), nan=math.inf) for method in methods]
        leads = [slower - faster for faster, slower in pairwise(counts)]
        return float(np.min(leads)) if counts[0].size else "no condition number of at least 16"

    return _of_families((RATES,), methods, statistic)


def growth(slower: str, faster: str) -> Reader:
    """Return the reader of the growth of the quotient of two counts of steps when κ grows fourfold, furthest from 2."""

    def statistic(family: Family) -> float | str:
        quotients, conditions = (
            _counts(family, slower) / _counts(family, faster),
            _numerous(family, slower, "condition"),
        )
        if len(quotients) < 2:
            return "not identifiable: fewer than two condition numbers of at least 16"
        exponents = np.diff(np.log(quotients)) / np.diff(np.log(conditions))
        return float(max(4**exponents, key=lambda grown: abs(grown - 2)))

    return _of_families((RATES,), (slower, faster), statistic)


def moved() -> Reader:
    """Return the reader of how far a layer's weights went, the largest over κ."""
    return _of_families((RATES,), ("nesterov",), lambda family: float(family.points("nesterov", "moved").max()))


def gram_error() -> Reader:
    """Return the reader of the relative error of the closed form of a ResNet's H_0, the largest over κ."""
    return _of_families((RESNET,), ("nesterov",), lambda family: float(family.points("nesterov", "gram_error").max()))


def above_floor() -> Reader:
    """Return the reader of how far above the least residual the data's residual ends, the largest over descents.

    ``‖U − Y‖/‖Y(I − P_X)‖ − 1``, or ``‖U − Y‖/‖Y‖`` where the floor is rounding.
    """

    def statistic(family: Family) -> float:
        ends = np.concatenate([family.points(method, "left", "floor") for method in family.runs])
        left, floor = ends.T
        return float(np.where(floor > 1e-12, np.abs(left / np.maximum(floor, SMALLEST) - 1), left).max())

    return _of_families((REAL,), ("nesterov",), statistic)


def shrinkage(table: pa.Table) -> list[Sample]:
    """Read ``√m ‖W_l‖₂`` of the layer that is largest at the end, in the deepest ResNets over the shallowest ones."""
    by_seed: dict[int, list[tuple[int, float, str]]] = {}
    for family in families(table, RESNET):
        first = family.runs["nesterov"][0]
        norm = math.sqrt(first.spec["options"]["width"]) * float(family.points("nesterov", "spectral_norm").max())
        by_seed.setdefault(family.seed, []).append((first.depth, norm, family.failure(("nesterov",))))
    samples = []
    for seed, found in by_seed.items():
        failure = next((reason for _, _, reason in found if reason), "")
        shallow, deep = min(found), max(found)
        if not failure and shallow[0] == deep[0]:
            failure = "not identifiable: one depth"
        value = math.nan if failure else deep[1] / shallow[1]
        samples.append(Sample(f"ResNet, L = {deep[0]} over L = {shallow[0]}", seed, value, failure))
    return samples


def constant(table: pa.Table) -> list[Sample]:
    """Read ``C = ‖H_0 − H_∞‖/‖H_∞‖ · √(m/L)``, spectral norms, one condition per width."""
    return [
        Sample(f"L = {run.depth}, m = {width:g}", run.seed, float(distance * math.sqrt(width / run.depth)))
        for run in runs_of(table, GRAM)
        if not run.failure
        for width, distance in zip(run.column("width"), run.column("distance"), strict=True)
    ]


def fall(experiment: str, name: str) -> Reader:
    """Return the reader of by what factor a column falls from the narrowest networks to the widest."""
    return _of_widths(experiment, lambda run: float(run.column(name)[0] / max(run.column(name)[-1], SMALLEST)))


def widest(experiment: str, name: str) -> Reader:
    """Return the reader of a column at the largest width."""
    return _of_widths(experiment, lambda run: last(run, name))


def exponent(name: str) -> Reader:
    """Return the reader of the exponent with which a column grows in the width, from the narrowest to the widest."""

    def statistic(run: Run) -> float:
        values, widths = run.column(name), run.column("width")
        return float(np.log(values[-1] / values[0]) / np.log(widths[-1] / widths[0]))

    return _of_widths(TWIN, statistic)


def gained(table: pa.Table) -> list[Sample]:
    """Read how much larger a share of the widest networks is trained than of the narrowest, by method."""
    return _of_widths(REACH, lambda run: last(run, "trained") - float(run.column("trained")[0]))(table)


def _counts(family: Family, method: str) -> np.ndarray:
    return _numerous(family, method, "steps_to_reach")


def _numerous(family: Family, method: str, column: str) -> np.ndarray:
    points = family.points(method, "data_condition", column)
    kept: np.ndarray = points[points[:, 0] >= NUMEROUS * (1 - 1e-9), 1]
    return kept


def _of_families(
    experiments: Sequence[str], methods: Sequence[str], statistic: Callable[[Family], float | str]
) -> Reader:
    """Return the reader of a statistic of every family that has the methods, nan with a reason where it has none."""

    def samples(table: pa.Table) -> list[Sample]:
        found = []
        for family in families(table, *experiments):
            if not all(method in family.runs for method in methods):
                continue
            if missing := family.failure(methods):
                found.append(Sample(family.condition, family.seed, math.nan, missing))
                continue
            value = statistic(family)
            if isinstance(value, str):
                found.append(Sample(family.condition, family.seed, math.nan, value))
            else:
                found.append(Sample(family.condition, family.seed, value, "not reached" if math.isnan(value) else ""))
        return found

    return samples


def _of_widths(experiment: str, statistic: Callable[[Run], float]) -> Reader:
    """Return the reader of a statistic of every measurement at several widths."""

    def samples(table: pa.Table) -> list[Sample]:
        return [
            Sample(
                f"L = {run.depth}" + (f", {run.spec['options']['optimizer']}" if experiment == REACH else ""),
                run.seed,
                math.nan if run.failure else statistic(run),
                run.failure,
            )
            for run in runs_of(table, experiment)
        ]

    return samples
