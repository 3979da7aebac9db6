"""What is not as the merging results ask, in words."""

from collections.abc import Sequence

from ansatzlab.laws.kuzborskij2025lowrank.likeness import Overlap
from ansatzlab.laws.kuzborskij2025lowrank.merging import MergedState
from ansatzlab.laws.kuzborskij2025lowrank.network import Network

NEARLY_ORTHOGONAL = 0.01
"""Above this coherence the inputs of two tasks are not called orthogonal."""

ALIKE = 3.0
"""Directions of two independent starts overlap by more than this many times ``1/√width`` once in 370 times."""

SAME_START = 0.5
"""Above this cosine off the inputs two first layers are taken to have had one start."""


def task_warnings(task: str, own: float, other: float) -> list[str]:
    """Warn where a network has not learnt its task, or the other one knows it better.

    Args:
        task: The task's name.
        own: The accuracy of the network that was trained on it.
        other: The accuracy of the other one.

    Returns:
        The warnings.
    """
    found = []
    if own < 1:
        found.append(
            f"on task {task} its own network is right on {own:.1%} only: it has not learnt its task, or are these data "
            "(--data-a, --data-b) not what it was trained on?"
        )
    if other > own:
        found.append(
            f"on task {task} the other network is right more often than its own, {other:.1%} against {own:.1%}: are "
            "the networks or the data exchanged?"
        )
    return found


def input_warnings(alike: float) -> list[str]:
    """Warn of inputs of a coherence at which nothing is promised."""
    if alike <= NEARLY_ORTHOGONAL:
        return []
    return [
        f"the inputs of the two tasks are not orthogonal: coherence {alike:.2g}, wanted {NEARLY_ORTHOGONAL:g} or less; "
        "nothing is promised, and the outputs move about in proportion to it."
    ]


def network_warnings(network: Network, state: MergedState) -> list[str]:
    """Warn of networks that the merging results are not about."""
    depth, kept = len(network.weights), [name for name in network.weights if name in state.kept]
    found = []
    if not network.activation:
        found.append("the networks are not chains of matrices with ReLU or nothing between them; no bound is known.")
    elif network.activation != "identity" and (depth != 2 or kept != [list(network.weights)[-1]]):
        found.append(
            f"a {network.activation} network of {depth} layers of which {depth - len(kept)} were added: the merging "
            "results are about one hidden ReLU layer with a shared, fixed readout, and deep linear networks; elsewhere "
            "cross terms remain that orthogonal inputs do not remove."
        )
    return found


def start_warnings(network: Network, state: MergedState, overlaps: Sequence[Overlap], start: float) -> list[str]:
    """Warn of networks that seem to have had one start, where every layer was added."""
    if any(name in state.kept for name in network.weights):
        return []
    told = [
        f"hidden directions of {each.layer} overlap by {each.value:.2f} (independent ones: {each.expected:.2f})"
        for each in overlaps
        if each.value > ALIKE * each.expected
    ]
    if abs(start) > SAME_START:
        told.append(f"what the first layers keep of their starts has a cosine of {start:.2f} (independent ones: 0)")
    if not told:
        return []
    return [f"{' and '.join(told)}: were both started from the same seed? Then their outputs move more."]
