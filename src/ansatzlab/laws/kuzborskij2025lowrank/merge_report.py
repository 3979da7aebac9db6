"""What two networks lose when they are merged by the sum of their weights."""

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import softplus

from ansatzlab.errors import ModelError
from ansatzlab.laws.kuzborskij2025lowrank.descent import ACTIVATIONS, forward
from ansatzlab.laws.kuzborskij2025lowrank.likeness import Overlap, overlaps_of, start_cosine
from ansatzlab.laws.kuzborskij2025lowrank.merge_warnings import (
    input_warnings,
    network_warnings,
    start_warnings,
    task_warnings,
)
from ansatzlab.laws.kuzborskij2025lowrank.merging import merge, merge_states
from ansatzlab.laws.kuzborskij2025lowrank.network import Network, evaluate, naming, plain, read_network, widened
from ansatzlab.laws.kuzborskij2025lowrank.tasks import Task, coherence


@dataclass(frozen=True)
class TaskAccount:
    """What merging does to one task.

    Attributes:
        task: Its name.
        examples: How many.
        own_loss: Mean of log(1 + e^{−y f(x)}) of the network that was trained on it.
        merged_loss: The same of the merged network.
        own_accuracy: The share of labels that are the sign of the output, of its own network.
        merged_accuracy: Of the merged network.
        other_accuracy: Of the network that was trained on the other task.
        deviation: The largest ``|f_merged(x) − f_own(x)|``.
        relative_deviation: The same over the largest ``|f_own(x)|``.
        bound: The largest of the bounds on the deviation; nan where none is known (see `deviation_bounds`).
        bound_share: The largest deviation over its bound, example by example; at most 1.
        least_margin: The smallest margin ``y f_own(x)``.
        certified: How many examples have a margin larger than their bound: their answer cannot be lost.
        lost: How many right answers became wrong.
        gained: How many wrong answers became right.
    """

    task: str
    examples: int
    own_loss: float
    merged_loss: float
    own_accuracy: float
    merged_accuracy: float
    other_accuracy: float
    deviation: float
    relative_deviation: float
    bound: float
    bound_share: float
    least_margin: float
    certified: int
    lost: int
    gained: int


@dataclass(frozen=True)
class MergeReport:
    """What merging two networks does.

    Attributes:
        coherence: The largest cosine in absolute value of an input of one task with one of the other.
        accounts: What it does to the first network's task, and to the second's.
        overlaps: For each hidden layer, how alike the two networks are; none where weights were kept, since networks
            that share a layer are alike around it.
        start_cosine: The cosine of the two first layers off the inputs of both tasks. Descent leaves nothing there but
            the start, smaller; so it is 1 of one start and about 0 of two. Nan if the inputs leave no direction.
        summed: The names of the weights that were added.
        kept: The names of those that are the same in both and were kept.
        warnings: What is not as the merging results ask, in words.
    """

    coherence: float
    accounts: tuple[TaskAccount, TaskAccount]
    overlaps: tuple[Overlap, ...]
    start_cosine: float
    summed: tuple[str, ...]
    kept: tuple[str, ...]
    warnings: tuple[str, ...]

    def statement(self) -> str:
        """Say in a sentence what was lost."""
        parts = [
            f"{each.lost} of {round(each.own_accuracy * each.examples)} right answers on {each.task}"
            for each in self.accounts
            if each.lost
        ]
        lost = " and ".join(parts) if parts else "no right answer on either task"
        worst = max(self.accounts, key=lambda each: each.deviation)
        return (
            f"Lost: {lost}; outputs move by up to {worst.deviation:.3g} (on {worst.task}, where the smallest margin is "
            f"{worst.least_margin:.3g})."
        )

    def to_dict(self) -> dict[str, object]:
        """Return it as what JSON can hold; a missing number is None."""
        return {"statement": self.statement(), **plain(asdict(self))}


def merge_report(
    a: nn.Module, b: nn.Module, task_a: Task, task_b: Task, *, frozen: Collection[str] = ()
) -> MergeReport:
    """Merge two networks and say what is lost on the task of each.

    Args:
        a: The network that was trained on the first task; it is not changed.
        b: The one that was trained on the second; likewise.
        task_a: The first task.
        task_b: The second.
        frozen: Names of parameters that were not trained, beside those that do not require gradients.

    Returns:
        The report.

    Raises:
        ModelError: If the networks cannot be merged (see `ansatzlab.laws.kuzborskij2025lowrank.merging.merge`), have
            biases, weights or outputs that are not finite or more than one output, or are not homogeneous.
        InputError: If a name in ``frozen`` is not there.

    Precision:
        The sums are those of the networks' own dtype; everything else is computed in at least float32.

    Cost:
        A few forward passes on both tasks, a singular value decomposition of every hidden layer.

    Source:
        The deviation bound is derived for this project (see `deviation_bounds`).

    Example:
        >>> a, b = (nn.Linear(2, 1, bias=False) for _ in range(2))
        >>> a.weight.data, b.weight.data = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
        >>> tasks = [Task(name, x, torch.ones(1)) for name, x in zip("AB", torch.eye(2).split(1))]
        >>> merge_report(a, b, *tasks).statement()
        'Lost: no right answer on either task; outputs move by up to 0 (on A, where the smallest margin is 1).'
    """
    merged = merge(a, b, frozen=frozen)
    state = merge_states(a.state_dict(), b.state_dict())
    (a, task_a), (b, task_b) = _widened(a, task_a), _widened(b, task_b)
    merged, _ = widened(merged, task_a.inputs)
    with naming("network A"):
        one = read_network(a, task_a.inputs)
    with naming("network B"):
        other = read_network(b, task_b.inputs)
    alike = coherence(task_a.inputs, task_b.inputs)
    overlaps = overlaps_of((one, other), state.summed)
    with torch.no_grad():
        accounts = (
            _account({"A": a, "B": b, "merged": merged}, task_a, deviation_bounds(one, other, task_a.inputs)),
            _account({"B": b, "A": a, "merged": merged}, task_b, deviation_bounds(other, one, task_b.inputs)),
        )
    start = start_cosine(one, other, torch.cat([task_a.inputs, task_b.inputs]))
    warnings = (
        *(
            told
            for account in accounts
            for told in task_warnings(account.task, account.own_accuracy, account.other_accuracy)
        ),
        *input_warnings(alike),
        *network_warnings(one, state),
        *start_warnings(one, state, overlaps, start),
    )
    return MergeReport(alike, accounts, overlaps, start, state.summed, state.kept, warnings)


def deviation_bounds(own: Network, other: Network, inputs: Tensor) -> Float[Tensor, " n"]:
    """Bound by how much adding another network's weights moves a network's outputs, example by example.

    Definition:
        ``h_k`` what leaves layer k of the own network; ``δ_0 = 0``, ``δ_k = ‖W_k + W′_k‖ δ_{k−1} + ‖W′_k h_{k−1}‖``,
        with spectral norms, W′ the other's weights, and where they are the same in both 0 for W′ and W for W + W′. Then
        ``|f_merged(x) − f(x)| ≤ δ_K``. With one hidden layer and a shared readout u it is ``‖u‖ ‖W′ x‖``.

    Args:
        own: The network.
        other: The other.
        inputs: The examples.

    Returns:
        The bounds; nan for networks that are not chains of matrices with no activation or ReLU between them.

    Source:
        Derived for this project: an activation of slope at most 1 moves by no more than what goes into it.
    """
    if not own.activation or own.activation != other.activation or ACTIVATIONS[own.activation].degree != 1:
        return torch.full((len(inputs),), math.nan, dtype=inputs.dtype)
    bounds = torch.zeros(len(inputs), dtype=inputs.dtype)
    values = forward(own.matrices, inputs, own.activation)
    for W, V, h in zip(own.matrices, other.matrices, values, strict=False):
        added = torch.zeros_like(V) if torch.equal(W, V) else V
        bounds = torch.linalg.matrix_norm(W + added, 2) * bounds + (h @ added.mT).norm(dim=1)
    return bounds


def _widened(model: nn.Module, task: Task) -> tuple[nn.Module, Task]:
    wide, inputs = widened(model, task.inputs)
    return wide, replace(task, inputs=inputs)


def _account(networks: Mapping[str, nn.Module], task: Task, bounds: Tensor) -> TaskAccount:
    """Return what merging does to a task, given its own network, the other and the merged one by their names."""
    before, others, after = (_outputs(name, model, task) for name, model in networks.items())
    margins, new = task.labels * before, task.labels * after
    moved = (after - before).abs()
    shares = torch.where(moved > 0, moved / bounds, moved)
    scale = float(before.abs().max())
    return TaskAccount(
        task=task.name,
        examples=len(margins),
        own_loss=float(softplus(-margins).mean()),
        merged_loss=float(softplus(-new).mean()),
        own_accuracy=float((margins > 0).double().mean()),
        merged_accuracy=float((new > 0).double().mean()),
        other_accuracy=float((task.labels * others > 0).double().mean()),
        deviation=float(moved.max()),
        relative_deviation=float(moved.max()) / scale if scale else math.nan,
        bound=float(bounds.max()),
        bound_share=math.nan if bool(bounds.isnan().any()) else float(shares.max()),
        least_margin=float(margins.min()),
        certified=int((margins > bounds).sum()),
        lost=int(((margins > 0) & (new <= 0)).sum()),
        gained=int(((margins <= 0) & (new > 0)).sum()),
    )


def _outputs(name: str, model: nn.Module, task: Task) -> Tensor:
    with naming(f"network {name} on task {task.name}"):
        outputs = evaluate(model, task.inputs)
        if not bool(outputs.isfinite().all()):
            raise ModelError(
                "got outputs that are not finite; wanted finite ones; its weights or the inputs are too large."
            )
    return outputs
