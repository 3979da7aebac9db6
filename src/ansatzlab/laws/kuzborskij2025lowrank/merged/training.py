"""Train two networks on two tasks, merge them at every snapshot, and report what that does."""

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Generator, Tensor

from ansatzlab.laws.kuzborskij2025lowrank.descent import Descent, Moment, descend, forward, gaussian_chain
from ansatzlab.laws.kuzborskij2025lowrank.merge_report import MergeReport, merge_report
from ansatzlab.laws.kuzborskij2025lowrank.merged.theory import foretold_bounds, rank_one_deviation
from ansatzlab.laws.kuzborskij2025lowrank.network import chain_module
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, class_task, mixed_pair, on_disjoint_features
from ansatzlab.laws.runs import Row
from ansatzlab.sweeps.spec import DataSpec, Frozen

MIXED = "mixed_signs"
"""The synthetic data: two linear teachers on inputs that are orthogonal but for a share."""

Kind = Literal["readout_shared", "all_layers", "linear"]

ACCOUNT = ("own_loss", "merged_loss", "own_accuracy", "merged_accuracy", "deviation", "relative_deviation", "bound")
"""The fields of an account that become columns, one for each task."""


class Recipe(Frozen):
    """What is trained, and how.

    Attributes:
        kind: One hidden ReLU layer with a shared readout that is not trained; the same with readouts of their own that
            are trained; or a deep linear network.
        data: ``mixed_signs``, or a data set with one-hot classes.
        digest: Of a file, its content's hash.
        classes: Of a data set, the two classes of either task.
        disjoint: Whether each task of a data set gets its own half of the inputs.
        mixing: ε of the synthetic data.
        examples: Number of examples of each task.
        inputs: Half the number of inputs of the synthetic data.
        radius: The norm of every input of a data set.
        depth: K.
        width: Of the hidden layers.
        scale: Factor on the initial hidden layers, N(0, 1/inputs).
        twins: Whether both networks start from the same weights.
        weight_decay: 2λ, as torch has it.
        learning_rate: η.
        steps: Steps, each on all examples.
        snapshots: How often the two are merged, evenly in time, the start left out.
    """

    kind: Kind
    data: str = MIXED
    digest: str = ""
    classes: tuple[tuple[int, int], tuple[int, int]] | None = None
    disjoint: bool = False
    mixing: Annotated[float, Field(ge=0, le=1)] = 0.0
    examples: PositiveInt
    inputs: PositiveInt = 1
    radius: PositiveFloat = 1.0
    depth: Annotated[int, Field(ge=2)] = 2
    width: PositiveInt
    scale: PositiveFloat = 1.0
    twins: bool = False
    weight_decay: NonNegativeFloat
    learning_rate: PositiveFloat
    steps: PositiveInt
    snapshots: PositiveInt = 8

    def tasks(self, seed: int) -> tuple[Task, Task]:
        """Return the two tasks."""
        if self.classes is None:
            return mixed_pair(seed, self.examples, self.inputs, self.mixing)
        dataset = DataSpec(name=self.data, digest=self.digest).load()
        one, other = (
            class_task(dataset, pair, examples=self.examples, radius=self.radius, seed=seed) for pair in self.classes
        )
        return on_disjoint_features(one, other) if self.disjoint else (one, other)

    def start(self, inputs: int, seed: int) -> list[Tensor]:
        """Return the initial matrices of both networks, stacked."""
        widths = [inputs, *[self.width] * (self.depth - 1), 1]
        scales = [self.scale] * (self.depth - 1) + [1.0]
        seeds = [1000 + 2 * seed, 1000 + 2 * seed + (not self.twins)]
        weights = [torch.stack(pair) for pair in zip(*(gaussian_chain(widths, s, scales) for s in seeds), strict=True)]
        if self.kind == "readout_shared":
            generator = Generator().manual_seed(2000 + seed)
            signs = torch.randint(0, 2, (1, self.width), generator=generator).double() * 2 - 1
            weights[-1] = (signs / math.sqrt(self.width)).expand(2, 1, -1).clone()
        return weights

    @property
    def activation(self) -> str:
        """The activation's name."""
        return "identity" if self.kind == "linear" else "relu"


def train_and_merge(*, seed: int, **options: object) -> Iterator[Row]:
    """Train two networks side by side and merge them at every snapshot.

    Args:
        seed: Of the data and of the initial weights.
        options: The fields of `Recipe`.

    Yields:
        For every snapshot and hidden layer ``overlap`` and ``strength_ratio``; for all layers alike ``coherence``,
        ``bound_share`` and ``relative_deviation`` (the larger of both tasks'), the fields `ACCOUNT` with ``_a`` and
        ``_b``, and with them ``lost``, ``certified`` and ``least_margin``; with a shared readout ``foretold_share``,
        the largest deviation over what was foretold, and ``span_error``; of linear networks ``foretold_error``, by how
        much the relative deviation differs from what their leading singular vectors foretell, the larger of both.

    Raises:
        InputError: If an option is not valid.
        DivergedError: If the training stops being finite.
    """
    recipe = Recipe.parse(options, "train_and_merge")
    pair = recipe.tasks(seed)
    weights = recipe.start(pair[0].inputs.shape[1], seed)
    start = [weight.clone() for weight in weights]
    examples = (torch.stack([task.inputs for task in pair]), torch.stack([task.labels for task in pair]))
    moments = sorted({round(recipe.steps * place / recipe.snapshots) for place in range(1, recipe.snapshots + 1)})
    descent = Descent(recipe.weight_decay / 2, recipe.learning_rate, recipe.steps)
    frozen = (recipe.depth - 1,) if recipe.kind == "readout_shared" else ()
    descents = descend(weights, examples, recipe.activation, descent, moments, frozen=frozen)
    for index, moment in enumerate(descents):
        so_far = Descent(descent.decay, descent.learning_rate, moment.step)
        yield from _rows(index, moment, recipe, pair, start, so_far)


def _rows(
    index: int, moment: Moment, recipe: Recipe, pair: tuple[Task, Task], start: list[Tensor], descent: Descent
) -> Iterator[Row]:
    frozen = (recipe.depth - 1,) if recipe.kind == "readout_shared" else ()
    a, b = (chain_module([weight[place] for weight in moment.weights], recipe.activation, frozen) for place in (0, 1))
    report = merge_report(a, b, *pair)
    shared: Row = _columns(report)
    if recipe.kind == "linear":
        shared["foretold_error"] = _foretold_error(moment, report)
    if recipe.kind == "readout_shared":
        shared["foretold_share"] = _foretold_share(moment, start, pair, descent)
        shared["span_error"] = _span_error(moment.weights[0], start[0], pair, descent)
    overlaps = report.overlaps or (None,)
    for place, overlap in enumerate(overlaps):
        yield {
            "snapshot": index,
            "step": moment.step,
            "flow_time": moment.step * descent.learning_rate,
            "loss": max(account.own_loss for account in report.accounts),
            "layer": f"layers.{place}",
            "layer_index": place + 1,
            **({} if overlap is None else {"overlap": overlap.value, "strength_ratio": overlap.strength_ratio}),
            **shared,
        }


def _columns(report: MergeReport) -> Row:
    found: Row = {
        "coherence": report.coherence,
        "bound_share": max(account.bound_share for account in report.accounts),
        "relative_deviation": max(account.relative_deviation for account in report.accounts),
    }
    for letter, account in zip("ab", report.accounts, strict=True):
        found |= {f"{name}_{letter}": getattr(account, name) for name in (*ACCOUNT, "least_margin")}
        found |= {f"{name}_{letter}": getattr(account, name) / account.examples for name in ("lost", "certified")}
    return found


def _foretold_error(moment: Moment, report: MergeReport) -> float:
    a, b = ([weight[place] for weight in moment.weights] for place in (0, 1))
    foretold = (rank_one_deviation(a, b), rank_one_deviation(b, a))
    return max(abs(account.relative_deviation - each) for account, each in zip(report.accounts, foretold, strict=True))


def _foretold_share(moment: Moment, start: list[Tensor], pair: tuple[Task, Task], descent: Descent) -> float:
    """Return the largest deviation over what was foretold from the other network's start, over both tasks."""
    W, readout = moment.weights[0], moment.weights[1][0]
    shares = []
    for place, task in enumerate(pair):
        own, merged = (forward([each, readout], task.inputs, "relu")[-1][:, 0] for each in (W[place], W.sum(0)))
        other = 1 - place
        bounds = foretold_bounds(readout, start[0][other], pair[other].inputs, task.inputs, descent)
        shares.append(float(((merged - own).abs() / bounds).max()))
    return max(shares)


def _span_error(weights: Tensor, start: Tensor, pair: tuple[Task, Task], descent: Descent) -> float:
    """Return how far what training leaves of the weights off their inputs is from ``(1 − 2ηλ)^t``, relative to that."""
    errors = []
    for place, task in enumerate(pair):
        _, sizes, rows = torch.linalg.svd(task.inputs, full_matrices=True)
        off = rows[int((sizes > 1e-9 * sizes[0]).sum()) :]
        if not len(off):
            return math.nan
        wanted = descent.kept**descent.steps * (start[place] @ off.mT)
        errors.append(float((weights[place] @ off.mT - wanted).norm() / wanted.norm()))
    return max(errors)
