"""A linear network on a user's data, descended upon by a tuned method and followed by its linearised twin."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ansatzlab.errors import InputError
from ansatzlab.laws.liu2022nesterov.descent import LOST, contraction, descend, linearised, steps_to
from ansatzlab.laws.liu2022nesterov.jacobian_gram import Extremes, extremes, jacobian_gram
from ansatzlab.laws.liu2022nesterov.network import LinearNetwork, Matrix
from ansatzlab.laws.liu2022nesterov.presets import Tuning, spectral_radius, tune
from ansatzlab.training.schedule import log_spaced_steps

MOST_STEPS = 200_000
"""A twin is followed for no more steps than these."""

LOOKS = 40
"""How often the weights are compared with the first ones."""


@dataclass(frozen=True, eq=False)
class Descent:
    """A descent from start to end.

    Attributes:
        tuning: The recursion and its numbers.
        ends: The ends of the non-zero spectrum of H_0.
        sizes: ``‖U_t − Y‖``, without the floor, at every step from the start on.
        twin: The same of the linearised twin, at as many steps as it takes.
        deviations: ``‖ξ_t − ξ_t^linear‖/‖ξ_0‖`` at every step of the descent.
        looked_at: The steps at which the weights were compared with the first ones, spaced logarithmically.
        moved: The largest ``‖W_l(t) − W_l(0)‖`` over layers at these steps.
        weights: The weights at the end.
        end_contraction: What the same recursion contracts by, once it is linear, with the H at these weights.
        floor: What is left of the residual at the global minimum.
    """

    tuning: Tuning
    ends: Extremes
    sizes: np.ndarray
    twin: np.ndarray
    deviations: np.ndarray
    looked_at: tuple[int, ...]
    moved: tuple[float, ...]
    weights: tuple[Matrix, ...]
    end_contraction: float
    floor: float

    @property
    def contraction(self) -> float:
        """By what the residual shrank in a step, fitted; nan if it was too fast or did not get there."""
        return contraction(self.sizes)

    @property
    def twin_contraction(self) -> float:
        """The same of the linearised twin."""
        return contraction(self.twin)

    def steps_to(self, share: float) -> int | None:
        """Return the first step at which the residual, the floor left out, is a share of the first; None if never."""
        return steps_to(self.sizes, share)


def follow(
    network: LinearNetwork,
    method: str | Tuning = "nesterov",
    *,
    tuned_to: Extremes | None = None,
    steps: int | None = None,
    until: float = 1e-11,
) -> Descent:
    """Train a linear network by a method that is tuned to its Jacobian, beside its linearised twin.

    Args:
        network: The network, from `ansatzlab.laws.liu2022nesterov.network`: `deep_linear`, `resnet` or `from_model`.
        method: A name of `ansatzlab.laws.liu2022nesterov.presets.PRESETS`; or a tuning, for numbers of one's own.
        tuned_to: The ends of the spectrum that a method of that name is tuned to; None for those of H_0.
        steps: The most steps; None for twice what the twin takes.
        until: Stop once the residual is this share of the first one.

    Returns:
        The descent.

    Raises:
        UnknownNameError: If there is no such method.
        InputError: If H_0 has no finite condition number, the tuning would diverge with it, the first residual is zero
            or not finite, or the steps are negative.
        DivergedError: If the descent diverges all the same.

    Cost:
        A step costs ``6 r`` times the number of weights, with Nesterov's ``8 r``; H_0 once, ``(r c)³``.

    Example:
        >>> from ansatzlab.data.registry import load
        >>> from ansatzlab.laws.liu2022nesterov.network import deep_linear
        >>> from ansatzlab.laws.liu2022nesterov.problem import Problem
        >>> network = deep_linear(Problem.of(load("linnerud")), depth=3, width=64, seed=0)
        >>> plain, fast = (follow(network, method).steps_to(1e-6) for method in ("gd", "nesterov"))
        >>> fast < plain
        True
    """
    if steps is not None and steps < 0:
        raise InputError(f"follow: got steps={steps}; wanted 0 or more; change it.")
    eigenvalues, basis = torch.linalg.eigh(jacobian_gram(network))
    ends = extremes(eigenvalues)
    tuning = method if isinstance(method, Tuning) else tune(method, tuned_to or ends)
    tuning.refuse_unstable(ends.largest)
    start = network.residual(network.weights).reshape(-1) @ basis
    first = float(start.norm())
    if not 0 < first < math.inf:
        raise InputError(
            f"follow: the first residual is {first:g}; wanted a positive finite one to descend on; check the weights."
        )
    twin = _twin(eigenvalues, start, tuning, until, MOST_STEPS if steps is None else steps)
    most = 2 * len(twin) if steps is None else steps
    looks = set(log_spaced_steps(max(most, 1), LOOKS))
    sizes, deviations, looked_at, moved = [], [], [], []
    for moment, foretold in zip(
        descend(network, tuning, steps=most, until=until), linearised(eigenvalues, start, tuning), strict=False
    ):
        sizes.append(float(moment.residual.norm()))
        deviations.append(float((moment.residual.reshape(-1) @ basis - foretold).norm()) / first)
        if moment.step in looks:
            looked_at.append(moment.step)
            moved.append(_moved(moment.weights, network.weights))
        last = moment
    if last.step not in looks:
        looked_at.append(last.step)
        moved.append(_moved(last.weights, network.weights))
    return Descent(
        tuning=tuning,
        ends=ends,
        sizes=np.array(sizes),
        twin=twin,
        deviations=np.array(deviations),
        looked_at=tuple(looked_at),
        moved=tuple(moved),
        weights=tuple(last.weights),
        end_contraction=_contraction_at(network, tuning, last.weights),
        floor=network.problem.floor,
    )


def _twin(eigenvalues: torch.Tensor, start: torch.Tensor, tuning: Tuning, until: float, most: int) -> np.ndarray:
    """Return the sizes of the twin's residual until it is small enough, diverges, or has taken too many steps."""

    def sizes() -> Iterator[float]:
        first = float(start.norm())
        for step, residual in enumerate(linearised(eigenvalues, start, tuning)):
            size = float(residual.norm())
            yield size
            if step == most or not until * first < size <= LOST * first:
                return

    return np.fromiter(sizes(), dtype=float)


def _contraction_at(network: LinearNetwork, tuning: Tuning, weights: Sequence[Matrix]) -> float:
    eigenvalues = torch.linalg.eigvalsh(jacobian_gram(network, weights)).tolist()
    return max(spectral_radius(tuning.rule, tuning.learning_rate, tuning.momentum, each) for each in eigenvalues)


def _moved(weights: Sequence[Matrix], start: Sequence[Matrix]) -> float:
    return max(float((W - W_0).norm()) for W, W_0 in zip(weights, start, strict=True))
