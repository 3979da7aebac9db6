"""The rivals of the ansatz in one table: on the same samples, layer by layer, each with its convention."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn

from ansatzlab.errors import InputError
from ansatzlab.linalg.reduction import reduce_weight
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum
from ansatzlab.linalg.subspace import Square, Subspace, compare, row_space, whole
from ansatzlab.measurement.layer import LayerMeasurement
from ansatzlab.measurement.layers import Selector
from ansatzlab.measurement.loss_sums import Loss, LossSums, sum_losses
from ansatzlab.measurement.outputs import Batch, OutputPicker, as_batches
from ansatzlab.measurement.run import measure

CONVENTIONS: Mapping[str, str] = {
    "nfa": "WᵀW against AGOP^α, gradients of the outputs, not centred",
    "nfa-best": "WᵀW against AGOP^α at the α of the least residual, gradients of the outputs, not centred",
    "c-nfc": "(W−W₀)ᵀ(W−W₀) against ((W−W₀)ᵀK(W−W₀))^α, K of the trained network's outputs, not centred",
    "fact": "WᵀW against F = −Wᵀ(∂loss/∂W)/λ, mean loss, penalty (λ/2)‖W‖²; F as it is, not symmetrised",
    "fact-psd": "WᵀW against (F Fᵀ)^½",
    "fact-backward": "W Wᵀ against −(∂loss/∂W)Wᵀ/λ, as it is",
    "enfa": "WᵀW against (Wᵀ E[b bᵀ] W)^α, b the gradient of an example's loss, not centred",
    "commutator": "‖[WᵀW, AGOP]‖ / (√2 ‖WᵀW‖ ‖AGOP‖): 0 where they share eigenvectors, at any exponent",
    "gram": "WᵀW against E[h hᵀ], h what goes into the layer, not centred",
    "gram-centered": "WᵀW against the covariance of h",
}
"""What is compared with what, for each rival."""


@dataclass(frozen=True)
class Rival:
    """How one rival of the ansatz does in one layer.

    Attributes:
        layer: The layer's name.
        rival: A name of `CONVENTIONS`.
        exponent: α where the rival has one; else nan.
        cosine: Of the two matrices that it compares.
        pearson: The Pearson correlation of their entries.
        residual: The scale-free residual ``min_c ‖A − cB‖/‖A‖``.
        mismatch: How far from exact is what the rival itself states, without a free constant: ``‖A − B‖/‖A‖`` for FACT,
            the commutator's norm for that; nan where only proportionality is stated.
        convention: What is compared with what.
        note: Why a number is missing or says nothing.
    """

    layer: str
    rival: str
    exponent: float
    cosine: float
    pearson: float
    residual: float
    mismatch: float
    convention: str
    note: str = ""


@dataclass(frozen=True)
class RivalTable:
    """All rivals in all layers.

    Attributes:
        entries: One for each layer, rival and exponent.
        weight_decay: λ of the penalty (λ/2)‖θ‖² that FACT is read with.
    """

    entries: tuple[Rival, ...]
    weight_decay: float

    def rows(self) -> list[dict[str, object]]:
        """Return one row per layer, rival and exponent, ready for a table."""
        return [{**asdict(entry), "weight_decay": self.weight_decay} for entry in self.entries]

    def find(self, layer: str, rival: str, exponent: float | None = None) -> Rival:
        """Return one entry; the exponent is needed where a rival has several.

        Raises:
            InputError: If there is none, or more than one.
        """
        found = [
            entry
            for entry in self.entries
            if (entry.layer, entry.rival) == (layer, rival) and exponent in (None, entry.exponent)
        ]
        if len(found) != 1:
            raise InputError(
                f"RivalTable.find: got {layer!r}, {rival!r}, exponent {exponent}, of which there are {len(found)}; "
                "wanted one; name a layer that was measured, a rival of CONVENTIONS and, for nfa and enfa, an exponent."
            )
        return found[0]


def rivals(
    model: nn.Module,
    batches: Iterable[Batch] | Batch,
    *,
    loss: Loss,
    weight_decay: float,
    initial: Mapping[str, Any] | nn.Module | None = None,
    layers: Selector = None,
    exponents: Sequence[float] = (0.5, 1.0),
    output: OutputPicker = None,
) -> RivalTable:
    """Compare every layer's weights with what the ansatz and its rivals say they should be.

    Definition:
        With ``M = WᵀW``, G the AGOP, b the gradient of an example's loss at the layer's output and h what goes in:

        - ``nfa``: M against ``G^α``; ``nfa-best``: at the best α
        - ``c-nfc``: the same at α = 1 with W − W₀ for W in both
        - ``fact``: M against ``F = −(1/nλ) Σ (Wᵀb) hᵀ = −Wᵀ(∂loss/∂W)/λ``; ``fact-psd``: against ``(F Fᵀ)^½``;
          ``fact-backward``: ``W Wᵀ`` against ``−(∂loss/∂W)Wᵀ/λ``
        - ``enfa``: M against ``((1/n) Σ Wᵀb bᵀW)^α``
        - ``commutator``: ``‖MG − GM‖/(√2 ‖M‖ ‖G‖)``, between 0 and 1
        - ``gram``, ``gram-centered``: M against the second moment and the covariance of h

    Conventions:
        The penalty is (λ/2)‖θ‖²: λ is torch's ``weight_decay``. FACT's mismatch is ``‖Wᵀ(λW + ∂loss/∂W)‖/(λ‖M‖)``, so
        that it vanishes with the gradient of the *penalised* loss, and only then is FACT more than a correlation: it
        says nothing of a decoupled decay. The data must be those that the loss was trained on, all of them.

    Args:
        model: The network; it is not changed.
        batches: As for `ansatzlab.measurement.run.measure`; they are held in memory, since they are gone through twice.
        loss: One loss per example, from the outputs and the batch.
        weight_decay: λ; at 0 there is no FACT.
        initial: The network before training, or its state dict, for C-NFC.
        layers: The layers; None for all that can be measured.
        exponents: The α of ``nfa`` and ``enfa``.
        output: Picks the output tensor from what the model returns.

    Returns:
        The table.

    Raises:
        InputError: If λ is negative or not finite, or an argument does not fit.
        ModelError: If the network cannot be measured.

    Precision:
        FACT's mismatch is formed from ``λW + ∂loss/∂W`` and not as a difference of M and F, so that it resolves
        convergence to rounding.

    Cost:
        Two forward and c + 1 backward passes. Only what goes into a layer is summed as an i × i matrix; of a layer of
        more than 4096 inputs it is left out.

    Source:
        radhakrishnan2024nfa, beaglehole2024alignment, boixadsera2025fact (the theorem, its symmetrised and its backward
        form), ziyin2025crh; commutator: derived in docs/rivals.md.

    Example:
        >>> from ansatzlab.models.deep_linear import DeepLinear
        >>> from ansatzlab.models.init import initialize
        >>> model = DeepLinear([3, 3, 2])
        >>> initialize(model, "balanced", seed=0)
        >>> def loss(outputs, batch):
        ...     return outputs.square().sum(1) / 2
        >>> table = rivals(model, [torch.eye(3, dtype=torch.float64)], loss=loss, weight_decay=0.1)
        >>> round(table.find("layers.0", "nfa", 0.5).cosine, 12), table.find("layers.0", "fact").cosine < 0
        (1.0, True)
    """
    if not (math.isfinite(weight_decay) and weight_decay >= 0):
        raise InputError(
            f"rivals(weight_decay=): got {weight_decay}; wanted the λ ≥ 0 that the network was trained with."
        )
    held = list(as_batches(batches))
    measured = measure(model, held, layers=layers, initial=initial, output=output)
    sums = sum_losses(model, held, loss, layers=list(measured), output=output)
    entries = tuple(
        entry
        for name, layer in measured.items()
        for entry in layer_rivals(layer, sums[name], weight_decay=weight_decay, exponents=exponents)
    )
    return RivalTable(entries, weight_decay)


def layer_rivals(
    layer: LayerMeasurement, sums: LossSums, *, weight_decay: float, exponents: Sequence[float]
) -> Iterator[Rival]:
    """Compare one layer (see `rivals`)."""
    name = layer.name
    spectrum = layer.spectrum()
    certain = "the AGOP is a multiple of WᵀW here whatever the weights" if layer.tautological else ""
    for exponent in exponents:
        yield _powered(name, "nfa", spectrum, exponent, certain if exponent == 1 else "")
    fit = layer.fit_exponent()
    if fit.identifiable:
        yield _powered(name, "nfa-best", spectrum, fit.value, certain)
    else:
        yield _entry(name, "nfa-best", note=f"not identifiable: {fit.reason}")
    yield _centred_correlation(layer)
    yield from fact(name, sums, weight_decay)
    losses = ansatz_spectrum(sums.weight, gram=sums.second_moment, gradient_dtype=sums.dtype)
    for exponent in exponents:
        yield _powered(name, "enfa", losses, exponent)
    yield _entry(name, "commutator", mismatch=commutator(layer), note=certain)
    M = sums.weight.mT @ sums.weight if sums.inputs is not None else None
    for rival, moment in (("gram", sums.inputs), ("gram-centered", sums.centered_inputs)):
        if M is None or moment is None:
            yield _entry(name, rival, note="left out: the inputs are one-hot or too many for an i × i matrix")
        else:
            yield _compared(name, rival, M, moment, whole(*M.shape[:2]))


def fact(name: str, sums: LossSums, weight_decay: float) -> Iterator[Rival]:
    """Compare one layer with FACT, its positive form and its backward form (see `rivals`)."""
    if not weight_decay:
        for rival in ("fact", "fact-psd", "fact-backward"):
            yield _entry(name, rival, note="there is no FACT without weight decay")
        return
    W, gradient, subspace = row_space(sums.weight, sums.gradient)
    slope = weight_decay * W + gradient
    M, F = W.mT @ W, W.mT @ gradient / -weight_decay
    yield _compared(name, "fact", M, F, subspace, miss=W.mT @ slope / weight_decay)
    left, singular, _ = torch.linalg.svd(F)
    positive = left @ (singular[..., None] * left.mT)
    yield _compared(name, "fact-psd", M, positive, subspace, miss=M - positive)
    outer, backward = W @ W.mT, gradient @ W.mT / -weight_decay
    yield _compared(name, "fact-backward", outer, backward, whole(*outer.shape[:2]), miss=slope @ W.mT / weight_decay)


def commutator(layer: LayerMeasurement) -> float:
    """Return ``‖[M, G]‖/(√2 ‖M‖ ‖G‖)`` of a layer's weight Gram matrix and its AGOP; nan if either is zero.

    Definition:
        ``[M, G] = −Wᵀ[K, WWᵀ]W``, in coordinates of the smaller side of W. It is 0 if and only if the two share
        a basis of eigenvectors, and never above 1.
    """
    reduced = reduce_weight(layer.weights()).blocks
    M, G = reduced.mT @ reduced, reduced.mT @ layer.sums.mean_gram() @ reduced
    product = M @ G
    scale = math.sqrt(2) * float(M.norm()) * float(G.norm())
    return float((product - product.mT).norm()) / scale if scale else math.nan


def _centred_correlation(layer: LayerMeasurement) -> Rival:
    if layer.initial is None:
        return _entry(layer.name, "c-nfc", 1.0, note="needs the initial weights: pass initial=")
    if torch.equal(layer.blocks, layer.initial):
        return _entry(layer.name, "c-nfc", 1.0, note="W is still W₀")
    return _powered(layer.name, "c-nfc", layer.spectrum(init_removed=True), 1.0)


def _powered(name: str, rival: str, spectrum: Spectrum, exponent: float, note: str = "") -> Rival:
    return _entry(
        name,
        rival,
        exponent,
        cosine=spectrum.alignment(exponent),
        pearson=spectrum.alignment(exponent, "pearson"),
        residual=spectrum.residual(exponent),
        note=note,
    )


def _compared(
    name: str,
    rival: str,
    target: Square,
    model: Square,
    subspace: Subspace,
    miss: Square | None = None,
) -> Rival:
    likeness = compare(target, model, subspace)
    return _entry(
        name,
        rival,
        cosine=likeness.cosine,
        pearson=likeness.pearson,
        residual=likeness.residual,
        mismatch=math.nan if miss is None else float(miss.norm() / target.norm()),
    )


def _entry(
    name: str,
    rival: str,
    exponent: float = math.nan,
    *,
    cosine: float = math.nan,
    pearson: float = math.nan,
    residual: float = math.nan,
    mismatch: float = math.nan,
    note: str = "",
) -> Rival:
    return Rival(name, rival, exponent, cosine, pearson, residual, mismatch, CONVENTIONS[rival], note)
