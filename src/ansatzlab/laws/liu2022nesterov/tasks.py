"""The runs of the law: descents at one condition number, measurements at several widths."""

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean

import numpy as np
import torch

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import DivergedError, InputError
from ansatzlab.laws.liu2022nesterov.descent import WINDOW
from ansatzlab.laws.liu2022nesterov.jacobian_gram import extremes, jacobian_gram, limit_gram
from ansatzlab.laws.liu2022nesterov.network import LinearNetwork, build, deep_linear
from ansatzlab.laws.liu2022nesterov.problem import Problem, log_spaced, principal
from ansatzlab.laws.liu2022nesterov.system import Descent, follow
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.spec import DataSpec
from ansatzlab.training.schedule import log_spaced_steps

SYNTHETIC = "log_spaced"
"""The name of the synthetic data."""

REACHED = 1e-6
"""A network is trained when its residual is this share of the first one."""

SNAPSHOTS = 40
TO_TEN_DIGITS = ("gd", "nesterov", "lessard")
"""What is descended to the end of the window in which the contraction is fitted."""


def descend_and_compare(
    *,
    seed: int,
    depth: int,
    width: int,
    optimizer: str,
    condition: float = 1.0,
    kind: str = "deep_linear",
    tuned_to: str = "gram",
    data: str = SYNTHETIC,
    digest: str = "",
    directions: int = 1,
) -> Iterator[Row]:
    """Descend on one network and look at it at steps that are spaced logarithmically.

    Args:
        seed: Of the synthetic data and the weights.
        depth: L.
        width: m.
        optimizer: A name of `ansatzlab.laws.liu2022nesterov.presets.PRESETS`.
        condition: κ of the synthetic data.
        kind: Deep linear network or ResNet.
        tuned_to: ``gram``, H_0 itself, or ``limit``, that of a deep linear network of infinite width.
        data: The data set.
        digest: Of a file, its content's hash.
        directions: How many principal directions are kept of a data set that is not the synthetic one.

    Yields:
        Rows with ``residual``, ``twin_residual`` and ``deviation`` relative to the start; the last one has what the
        whole descent showed, see `_summary`.

    Raises:
        InputError: If a setting is not valid, or the data's file changed.
        DivergedError: If the descent diverges.
    """
    if data == SYNTHETIC:
        whole = log_spaced(seed=seed, condition=condition)
    else:
        whole = principal(DataSpec(name=data, digest=digest).load(), directions)
    problem = Problem.of(whole)
    network = build(problem, kind, depth=depth, width=width, seed=weight_seed(seed))
    if tuned_to not in ("gram", "limit") or (tuned_to == "limit" and kind != "deep_linear"):
        raise InputError(
            f"descend_and_compare: got tuned_to={tuned_to!r} for {kind}; wanted 'gram', or 'limit' for deep_linear."
        )
    ends = extremes(torch.linalg.eigvalsh(limit_gram(problem, depth))) if tuned_to == "limit" else None
    until = WINDOW[0] if optimizer in TO_TEN_DIGITS else REACHED
    found = follow(network, optimizer, tuned_to=ends, until=until)
    rows = list(_snapshots(found))
    rows[-1] |= _summary(found, network) | _left(found, network, whole)
    yield from rows


def measure_distance(*, seed: int, depth: int, widths: Sequence[int], draws: int, condition: float) -> Iterator[Row]:
    """Measure how far H_0 of deep linear networks is from its limit of infinite width.

    Args:
        seed: Of the data and the weights.
        depth: L.
        widths: m, one snapshot each.
        draws: Networks that are averaged over.
        condition: κ of the data.

    Yields:
        ``width`` and the means of ``distance``, ``‖H_0 − H_∞‖/‖H_∞‖`` in spectral norms, and ``distance_frobenius``.
    """
    limit = limit_gram(problem := Problem.of(log_spaced(seed=seed, condition=condition)), depth)

    def look(network: LinearNetwork) -> Row:
        off = jacobian_gram(network) - limit
        spectral = [float(torch.linalg.matrix_norm(H, ord=2)) for H in (off, limit)]
        return {"distance": spectral[0] / spectral[1], "distance_frobenius": float(off.norm() / limit.norm())}

    yield from _means(problem, depth, widths, draws, seed, look)


def follow_twin(*, seed: int, depth: int, widths: Sequence[int], draws: int, condition: float) -> Iterator[Row]:
    """Follow Nesterov's descent for ``6 √κ`` steps beside its linearised twin.

    Args:
        seed: Of the data and the weights.
        depth: L.
        widths: m, one snapshot each.
        draws: Networks that are averaged over.
        condition: κ of the data.

    Yields:
        ``width`` and the means of ``deviation``, the largest on the way, ``moved``, the largest ``‖W_l − W_l(0)‖`` at
        the end, and ``weight_norm``, the largest ``‖W_l(0)‖``.
    """

    def look(network: LinearNetwork) -> Row:
        found = follow(network, "nesterov", steps=round(6 * math.sqrt(condition)), until=0.0)
        return {
            "deviation": float(found.deviations.max()),
            "moved": found.moved[-1],
            "weight_norm": max(float(W.norm()) for W in network.weights),
        }

    yield from _means(Problem.of(log_spaced(seed=seed, condition=condition)), depth, widths, draws, seed, look)


def count_trained(
    *, seed: int, depth: int, widths: Sequence[int], draws: int, condition: float, optimizer: str, steps: int
) -> Iterator[Row]:
    """Count how many deep linear networks a descent trains in so many steps.

    Args:
        seed: Of the data and the weights.
        depth: L.
        widths: m, one snapshot each.
        draws: How many networks.
        condition: κ of the data.
        optimizer: The method.
        steps: The steps.

    Yields:
        ``width`` and the shares of the networks that are ``trained`` and that ``diverged``, a network without a finite
        condition number among these.
    """

    def look(network: LinearNetwork) -> Row:
        try:
            found = follow(network, optimizer, steps=steps, until=REACHED)
        except (DivergedError, InputError):  # a narrow network's H_0 may have no finite condition number
            return {"trained": 0.0, "diverged": 1.0}
        return {"trained": float(found.steps_to(REACHED) is not None), "diverged": 0.0}

    yield from _means(Problem.of(log_spaced(seed=seed, condition=condition)), depth, widths, draws, seed, look)


def weight_seed(seed: int, draw: int = 0) -> int:
    """Return the seed of a network's weights, which are to be independent of the data of the same seed."""
    return int(np.random.SeedSequence([seed, draw]).generate_state(1)[0])


def _means(
    problem: Problem,
    depth: int,
    widths: Sequence[int],
    draws: int,
    seed: int,
    look: Callable[[LinearNetwork], Row],
) -> Iterator[Row]:
    """Look at several networks of each width and yield the means."""
    for place, width in enumerate(widths):
        networks = (
            deep_linear(problem, depth=depth, width=width, seed=weight_seed(seed, draw)) for draw in range(draws)
        )
        seen = [look(network) for network in networks]
        means = {name: fmean(float(str(each[name])) for each in seen) for name in seen[0]}
        yield {"snapshot": place, "width": float(width), **means}


def _snapshots(found: Descent) -> Iterator[Row]:
    moved = dict(zip(found.looked_at, found.moved, strict=True))
    first = found.sizes[0]
    for index, step in enumerate(log_spaced_steps(max(len(found.sizes) - 1, 1), SNAPSHOTS)):
        yield {
            "snapshot": index,
            "step": step,
            "loss": float(found.sizes[step] ** 2 + found.floor**2) / 2,
            "residual": float(found.sizes[step] / first),
            "twin_residual": float(found.twin[step] / first) if step < len(found.twin) else None,
            "deviation": float(found.deviations[step]),
            "moved_by_now": moved.get(step),
        }


def _summary(found: Descent, network: LinearNetwork) -> Row:
    """Say what a descent showed as a whole.

    ``condition`` is κ(H_0), ``data_condition`` and ``rank`` are those of X; ``contraction`` and ``twin_contraction``
    are fitted, ``tuned_contraction`` is what the tuning promises with H_0, ``end_contraction`` with the last H;
    ``steps_to_reach`` counts the steps to `REACHED`; ``largest_deviation`` is over the first ``6 √κ`` steps, ``moved``
    over layers and time, ``spectral_norm`` over layers at the end.
    """
    early = found.deviations[: round(6 * math.sqrt(network.problem.condition)) + 1]
    reached = found.steps_to(REACHED)
    values = {
        "condition": found.ends.condition,
        "data_condition": network.problem.condition,
        "contraction": found.contraction,
        "twin_contraction": found.twin_contraction,
        "tuned_contraction": found.tuning.contraction,
        "end_contraction": found.end_contraction,
        "steps_to_reach": math.nan if reached is None else float(reached),
        "largest_deviation": float(early.max()),
        "moved": max(found.moved),
        "weight_norm": max(float(W.norm()) for W in network.weights),
        "spectral_norm": max(float(torch.linalg.matrix_norm(W, ord=2)) for W in found.weights),
        "momentum": found.tuning.momentum,
    }
    known: Row = {name: value for name, value in values.items() if not math.isnan(value)}
    return {"learning_rate": found.tuning.learning_rate, "rank": float(len(network.problem.inputs)), **known}


def _left(found: Descent, network: LinearNetwork, whole: Dataset) -> Row:
    """Say what is left at the end on all examples, and how exact the closed form of a ResNet's H_0 is.

    ``left`` is ``‖U − Y‖`` and ``floor`` its least value by least squares, both relative to ``‖Y‖``.
    """
    size = float(whole.targets.norm())
    least = torch.linalg.lstsq(whole.inputs, whole.targets, driver="gelsd").solution
    off = network.outputs(found.weights, whole.inputs) - whole.targets
    row: Row = {"left": float(off.norm()) / size, "floor": float((whole.inputs @ least - whole.targets).norm()) / size}
    if network.skips:
        row["gram_error"] = _gram_error(network)
    return row


def _gram_error(network: LinearNetwork) -> float:
    """Return how far a ResNet's H_0 is from ``L (A X)ᵀ(A X) ⊗ B Bᵀ``, relative to it."""
    assert network.entry is not None, "a ResNet has fixed maps"
    assert network.leaving is not None, "a ResNet has fixed maps"
    entered = network.problem.inputs @ network.entry.mT
    expected = network.depth * torch.kron(entered @ entered.mT, network.leaving @ network.leaving.mT)
    return float((jacobian_gram(network) - expected).norm() / expected.norm())
