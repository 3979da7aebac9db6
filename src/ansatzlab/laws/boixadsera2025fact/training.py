"""Train a network and compare, as training goes on, its weights with everything that is said of them."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import torch
from torch import Tensor, nn

from ansatzlab.data.dataset import Dataset
from ansatzlab.errors import InputError
from ansatzlab.laws.comparison import EXPONENTS, column
from ansatzlab.laws.runs import Row
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.linalg.subspace import compare, whole
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.loss_sums import Loss, LossSums, sum_losses
from ansatzlab.measurement.rivals import Rival, fact, layer_rivals
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.verdict import Criteria, structural_null
from ansatzlab.models.init import initialize
from ansatzlab.models.mlp import MLP
from ansatzlab.sweeps.spec import DataSpec
from ansatzlab.training.dynamics import named_dynamics
from ansatzlab.training.loop import Snapshot, train
from ansatzlab.training.objective import objective_for

STATISTICS = ("cosine", "pearson", "residual", "mismatch")

SCORES = (
    ("nfa", Convention(0.5)),
    ("nfa", Convention(1.0)),
    ("nfa", Convention(1.0, "pearson")),
    ("c-nfc", Convention(1.0, init_removed=True)),
    ("c-nfc", Convention(1.0, "pearson", init_removed=True)),
    ("c-nfc-centered", Convention(1.0, centered=True, init_removed=True)),
)
"""The scores of the ansatz that are held against a null."""


def half_squares(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return half the squared error of every example."""
    return (outputs - batch[1]).square().sum(1) / 2


def cross_entropies(outputs: Tensor, batch: tuple[Tensor, Tensor]) -> Tensor:
    """Return the cross-entropy of every example."""
    return nn.functional.cross_entropy(outputs, batch[1], reduction="none")


EXAMPLE_LOSSES: dict[str, Loss] = {"square": half_squares, "cross_entropy": cross_entropies}
"""The losses of `ansatzlab.training.objective.LOSSES`, one number per example."""


def train_and_compare(
    *,
    seed: int,
    data: str = "digits",
    digest: str = "",
    size: int | None = None,
    hidden: Sequence[int] = (64, 64),
    activation: str = "relu",
    scheme: str = "he",
    scale: float = 1.0,
    loss: str = "square",
    snapshots: int = 12,
    draws: int = 10,
    **dynamics: object,
) -> Iterator[Row]:
    """Train a multilayer perceptron without biases and compare it with the ansatz and its rivals at every snapshot.

    Conventions:
        Trained and measured on the same examples, all of them. ``…_null`` and ``…_null_sd`` are the mean and the
        standard deviation of a score when the gradients at the layer's outputs are turned by a random rotation and the
        weights stay.

    Args:
        seed: Of the initial weights, the batches and the subsample.
        data: The data set.
        digest: Of a file, its content's hash.
        size: How many of its examples; None, or more than there are, for all.
        hidden: The hidden widths.
        activation: The activation.
        scheme: The initialisation.
        scale: Its scale.
        loss: ``square`` or ``cross_entropy``.
        snapshots: How many moments are looked at.
        draws: Rotations of the nulls.
        dynamics: ``optimizer``, a name of `ansatzlab.training.dynamics.OPTIMIZERS`, and the fields of
            `ansatzlab.training.dynamics.Optimizer`.

    Yields:
        One row for each snapshot and layer: the columns of `column` for every rival, and of the layer
        ``certificate`` (``‖Wᵀ(λW + g)‖/(λ‖WᵀW‖)``) and ``stationarity`` (``‖λW + g‖/(λ‖W‖)``), g from the objective
        that is trained on, ``explicit`` (``‖WᵀW − F‖/‖WᵀW‖`` from the full matrices), ``weight_norm``, ``accuracy``.

    Raises:
        InputError: If a setting is not valid, or the data's file changed.
        DivergedError: If the training stops being finite.
    """
    source = DataSpec(name=data, digest=digest)
    dataset = source.load()
    if size is not None and size < len(dataset.inputs):
        dataset = source.model_copy(update={"seed": seed, "size": size}).load()
    if loss not in EXAMPLE_LOSSES:
        raise InputError(f"train_and_compare: got loss={loss!r}; wanted one of {', '.join(EXAMPLE_LOSSES)}.")
    model = MLP([dataset.inputs.shape[1], *hidden, dataset.targets.shape[1]], activation=activation, bias=False)
    initialize(model, scheme, seed=seed, scale=scale)
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in dynamics.items()}
    optimizer = named_dynamics(str(settings.pop("optimizer", "adam")), **settings)
    watcher = _Watcher(model, dataset, loss, optimizer.weight_decay, draws)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    for snapshot in train(model, objective_for(model, dataset, loss), optimizer, snapshots=snapshots, seed=seed):
        yield from watcher.rows(snapshot, start)


@dataclass(frozen=True)
class _Watcher:
    """A network in training, the data and the loss."""

    model: MLP
    data: Dataset
    loss: str
    weight_decay: float
    draws: int

    def rows(self, snapshot: Snapshot, start: dict[str, Tensor]) -> Iterator[Row]:
        batches = [(self.data.inputs, self.data.targets)]
        measured = measure(self.model, batches, initial=start, check="never")
        sums = sum_losses(self.model, batches, EXAMPLE_LOSSES[self.loss], layers=list(measured))
        parameters = [parameter.detach() for parameter in self.model.parameters()]
        _, gradients = objective_for(self.model, self.data, self.loss)(parameters)
        accuracy = self._accuracy()
        for index, (name, layer) in enumerate(measured.items()):
            yield {
                "snapshot": snapshot.index,
                "step": snapshot.step,
                "flow_time": snapshot.flow_time,
                "loss": snapshot.loss,
                "depth": len(parameters),
                "layer": name,
                "layer_index": index + 1,
                "accuracy": accuracy,
                **_slopes(parameters[index], gradients[index], self.weight_decay),
                **_initial_gram(layer),
                **left_structure(layer),
                **self._compared(layer, sums[name]),
                **self._scored(layer),
                **self._fact_nulls(layer, sums[name]),
            }

    def _compared(self, layer: LayerMeasurement, sums: LossSums) -> Row:
        found: Row = {"explicit": _explicit(sums, self.weight_decay)}
        for entry in layer_rivals(layer, sums, weight_decay=self.weight_decay, exponents=EXPONENTS):
            found |= _columns(entry)
        return found

    def _scored(self, layer: LayerMeasurement) -> Row:
        """Read the scores of the ansatz, and what they are when the output gradients are turned at random."""
        found: Row = {}
        for rival, convention in SCORES:
            if convention.init_removed and (layer.initial is None or torch.equal(layer.blocks, layer.initial)):
                continue
            alignment = layer.read(convention)
            if math.isnan(alignment.value):  # the last layer's gradients, centred, are zero
                continue
            null = structural_null(layer, alignment, Criteria(draws=self.draws))
            name = column(rival, convention.comparator, convention.exponent)
            found |= {name: alignment.value, f"{name}_null": null.mean, f"{name}_null_sd": null.sd}
        return found

    def _fact_nulls(self, layer: LayerMeasurement, sums: LossSums) -> Row:
        """Say what FACT's scores are when the loss gradients at the layer's outputs are turned at random."""
        if not self.weight_decay:
            return {}
        scores: dict[str, list[float]] = {}
        generator = torch.Generator().manual_seed(0)
        for turn in haar_orthogonal(sums.weight.shape[1], generator, count=self.draws):
            for entry in fact(layer.name, replace(sums, gradient=turn @ sums.gradient), self.weight_decay):
                scores.setdefault(column(entry.rival, "cosine"), []).append(entry.cosine)
        found: Row = {}
        for name, values in scores.items():
            found |= {f"{name}_null": fmean(values), f"{name}_null_sd": stdev(values)}
        return found

    def _accuracy(self) -> float | None:
        """Return the share of examples whose largest output is where the largest target is; None of one output."""
        if self.data.targets.shape[1] == 1:
            return None
        with torch.no_grad():
            right = self.model(self.data.inputs).argmax(1) == self.data.targets.argmax(1)
        return float(right.double().mean())


def _columns(entry: Rival) -> Row:
    """Return the statistics that a rival has; the best exponent is a statistic too."""
    named = None if math.isnan(entry.exponent) or entry.rival == "nfa-best" else entry.exponent
    found = {statistic: getattr(entry, statistic) for statistic in STATISTICS}
    if entry.rival == "nfa-best":
        found["exponent"] = entry.exponent
    return {column(entry.rival, name, named): value for name, value in found.items() if not math.isnan(value)}


def _initial_gram(layer: LayerMeasurement) -> Row:
    """Compare what was learnt with where it began: ``(W − W₀)ᵀ(W − W₀)`` with ``W₀ᵀW₀``, by their cosine."""
    if layer.initial is None or torch.equal(layer.blocks, layer.initial):
        return {}
    moved, begun = (blocks.mT @ blocks for blocks in (layer.blocks - layer.initial, layer.initial))
    return {column("initial-gram", "cosine"): compare(moved, begun, whole(*moved.shape[:2])).cosine}


def left_structure(layer: LayerMeasurement) -> Row:
    """Compare the left singular structure of what was learnt with K: ``cos((W − W₀)(W − W₀)ᵀ, K)``.

    Its null, a Haar-random rotation of K, is known in closed form.
    """
    if layer.initial is None or torch.equal(layer.blocks, layer.initial):
        return {}
    moved = layer.blocks - layer.initial
    outer, K = moved @ moved.mT, layer.sums.mean_gram()
    size = outer.shape[-1]
    shares = [float(A.diagonal(dim1=-2, dim2=-1).sum() / A.norm()) / size**0.5 for A in (outer, K)]
    spread = math.prod(math.sqrt(max(1 - share**2, 0.0)) for share in shares)
    name = column("left", "cosine")
    return {
        name: compare(outer, K, whole(*outer.shape[:2])).cosine,
        f"{name}_null": math.prod(shares),
        f"{name}_null_sd": spread * math.sqrt(2 / ((size - 1) * (size + 2))) if size > 1 else 0.0,
    }


def _slopes(W: Tensor, gradient: Tensor, weight_decay: float) -> Row:
    found: Row = {"weight_norm": float(W.norm())}
    if weight_decay and W.any():
        slope = gradient / weight_decay + W
        found["certificate"] = float((W.mT @ slope).norm() / (W.mT @ W).norm())
        found["stationarity"] = float(slope.norm() / W.norm())
    return found


def _explicit(sums: LossSums, weight_decay: float) -> float | None:
    """Return ``‖WᵀW − F‖/‖WᵀW‖`` as a difference of the two matrices, formed from their definitions."""
    W = sums.weight[0]
    if not weight_decay or not W.any():
        return None
    M, F = W.mT @ W, -(W.mT @ sums.gradient[0]) / weight_decay
    return float((M - F).norm() / M.norm())
