"""One measured layer: its weights and the sums of its output gradients, and everything that is read out of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.linalg.exponent import ExponentFit, fit_exponent
from ansatzlab.linalg.influence import alignment_gradient, exponent_gradient, residual_gradient
from ansatzlab.linalg.psd import direct_sum, rounding_cut
from ansatzlab.linalg.spectrum import Comparator, Eigenframe, ReducedWeight, Spectrum, decompose, reduce_weight
from ansatzlab.measurement.convention import Alignment, Convention
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.kinds import Blocks
from ansatzlab.measurement.seeds import Seeds, can_be_centered
from ansatzlab.shapes import InputGram

if TYPE_CHECKING:
    from ansatzlab.measurement.verdict import Criteria, Verdict

PROPORTIONAL = 1e-9
"""Relative distance from a multiple of the identity below which a second moment of output gradients *is* one."""

FEWEST_FOR_ERRORS = 4
"""With fewer sampled examples no standard error is given."""


@dataclass(frozen=True)
class LayerMeasurement:
    """One layer: its weights and the sums of its output gradients. Everything else is read out of these.

    Attributes:
        name: The layer's name in the model.
        kind: Its kind, for example ``linear``.
        blocks: W as it was when measured, shape (g, o, i): one block, or one per group of a convolution. Of a layer
            much taller than wide, W in an orthonormal basis of its column space, which leaves every read-out as it is.
        initial: W₀, the weights before training, in the same coordinates, if they were given.
        sums: The mergeable sums of output gradients.
        seeds: Which combinations of outputs were differentiated.
        gradient_dtype: The dtype in which the network computed.
        height: The number of the layer's outputs.
        ranges: Named ranges of rows: heads, gates, groups' worth of outputs.
        start: The same layer of the network before training, on the same examples, if the whole network was given.
    """

    name: str
    kind: str
    blocks: Blocks
    initial: Blocks | None
    sums: GradientSums
    seeds: Seeds
    gradient_dtype: torch.dtype
    height: int
    ranges: Mapping[str, slice] = field(default_factory=dict)
    start: "LayerMeasurement | None" = None
    _known: dict[tuple[bool, bool], tuple[Spectrum, Eigenframe]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @property
    def shape(self) -> tuple[int, int]:
        """The number of outputs, and of inputs that each of them sees."""
        return self.height, self.blocks.shape[-1]

    @property
    def groups(self) -> int:
        """The number of blocks."""
        return len(self.blocks)

    @property
    def positions(self) -> float:
        """The mean number of positions (times uses) of an example."""
        return self.sums.position_total / self.sums.weight_total

    @property
    def parts(self) -> Mapping[str, "LayerMeasurement"]:
        """The named parts: heads of attention, gates of a recurrent layer, groups of a convolution."""
        if self.groups > 1:
            return {f"group{index}": self._group(index) for index in range(self.groups)}
        return {name: self.rows(span, name) for name, span in self.ranges.items()}

    @property
    def tautological(self) -> bool:
        """Whether the AGOP is a multiple of ``WᵀW`` here, so that the exponent 1 fits and says nothing.

        Always so in a last layer, and in a layer of one output; elsewhere where the output gradients are isotropic.
        """
        gram = self.sums.mean_gram()
        mean = gram.diagonal(dim1=-2, dim2=-1).mean()
        distance = (gram - mean * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)).norm()
        return bool(mean > 0) and float(distance) <= PROPORTIONAL * float(gram.norm())

    def rows(self, span: slice, name: str = "") -> "LayerMeasurement":
        """Read some of the layer's rows as a layer of their own: one head of a packed Q, K, V, say.

        Definition:
            ``W[rows]`` with its block of K: the derivative by the copy of the input that enters these rows.

        Args:
            span: Which rows of W.
            name: What to call the part.

        Returns:
            The part.

        Raises:
            InputError: If the layer was reduced to its column space, or is a grouped convolution.
        """
        if self.blocks.shape[1] != self.height or self.groups > 1:
            raise InputError(
                f"layer {self.name!r}: rows cannot be told apart ("
                + ("it has groups" if self.groups > 1 else "it is so tall that only its column space was kept")
                + "); read the whole layer, or parts."
            )
        return replace(
            self,
            name=f"{self.name}.{name or f'{span.start or 0}:{span.stop or self.height}'}",
            blocks=self.blocks[:, span],
            initial=None if self.initial is None else self.initial[:, span],
            sums=self.sums.rows(span),
            height=self.blocks[:, span].shape[1],
            ranges={},
            start=None if self.start is None else self.start.rows(span, name),
        )

    def _group(self, index: int) -> "LayerMeasurement":
        only = slice(index, index + 1)
        return replace(
            self,
            name=f"{self.name}.group{index}",
            blocks=self.blocks[only],
            initial=None if self.initial is None else self.initial[only],
            sums=self.sums.group(index),
            height=self.height // self.groups,
            start=None if self.start is None else self.start._group(index),
        )

    def weight_gram(self, *, init_removed: bool = False) -> InputGram:
        """Form ``M = WᵀW``, shape (i, i); of several blocks their direct sum, shape (g i, g i)."""
        blocks = self.weights(init_removed=init_removed).double()
        return direct_sum(blocks.mT @ blocks)

    def agop(self, *, centered: bool = False, init_removed: bool = False) -> InputGram:
        """Form the average gradient outer product.

        Definition:
            ``G = Wᵀ K W``, K the mean over examples of the sum over outputs and positions of ``b bᵀ``. Equal to
            ``(1/n) Σ_x J(x)ᵀ J(x)``, J the Jacobian of the outputs by the copy of the input that enters this layer.

        Args:
            centered: Whether each output's mean gradient is taken out.
            init_removed: Whether W − W₀ stands for W.

        Returns:
            G, shape (i, i); of several blocks their direct sum.

        Cost:
            O(o i²) and an i × i matrix, which no other read-out forms.

        Source:
            tansley2025nfa; the identity is derived in docs/devdocs/identity.md.
        """
        self.refuse_centering(centered)
        blocks = self.weights(init_removed=init_removed).double()
        return direct_sum(blocks.mT @ self.sums.mean_gram(centered=centered) @ blocks)

    def spectrum(self, *, centered: bool = False, init_removed: bool = False) -> Spectrum:
        """Decompose the AGOP against the weight Gram matrix, from which every exponent follows.

        Args:
            centered: Whether each output's mean gradient is taken out.
            init_removed: Whether W − W₀ stands for W.

        Returns:
            The spectrum.

        Precision:
            From sums accumulated as a factor small eigenvalues survive; a centred read-out always goes through K.

        Cost:
            O(o i k + k³), k the smaller side of W, at the first call.
        """
        return self.decomposition(centered=centered, init_removed=init_removed)[0]

    def alignment(
        self,
        exponent: float,
        *,
        comparator: Comparator = "cosine",
        centered: bool = False,
        init_removed: bool = False,
    ) -> Alignment:
        """Compare ``WᵀW`` with the AGOP to a power.

        Args:
            exponent: The exponent α on the AGOP.
            comparator: ``"cosine"``, ``"pearson"`` or ``"traceless"``.
            centered: Whether each output's mean gradient is taken out.
            init_removed: Whether W − W₀ stands for W, in both places.

        Returns:
            The alignment with its standard error, and the scale-free residual beside it.

        Source:
            Standard errors: derived in docs/devdocs/errors.md.

        Example:
            >>> import torch, ansatzlab
            >>> from ansatzlab.models.deep_linear import DeepLinear
            >>> from ansatzlab.models.init import initialize
            >>> model = DeepLinear([6, 5, 4])
            >>> initialize(model, "balanced", seed=0)
            >>> m = ansatzlab.measure(model, [torch.eye(6, dtype=torch.float64)])
            >>> round(m["layers.0"].alignment(0.5).value, 12)
            1.0
        """
        return self.read(Convention(exponent, comparator, centered, init_removed))

    def read(self, convention: Convention) -> Alignment:
        """Read the alignment that a convention asks for (see `alignment`)."""
        spectrum, frame = self.decomposition(centered=convention.centered, init_removed=convention.init_removed)
        exponent, comparator = convention.exponent, convention.comparator
        value = spectrum.alignment(exponent, comparator)
        error = residual_error = float("nan")
        if spectrum.rank:
            gradient = alignment_gradient(frame, spectrum, exponent, comparator)
            error = self._error(gradient, frame, convention.centered)
            gradient = residual_gradient(frame, spectrum, exponent)
            residual_error = self._error(gradient, frame, convention.centered)
        return Alignment(
            value=value,
            residual=spectrum.residual(exponent),
            rank=spectrum.rank,
            convention=convention,
            error=error,
            residual_error=residual_error,
        )

    def fit_exponent(self, *, centered: bool = False, init_removed: bool = False) -> ExponentFit:
        """Find the exponent that fits best, with its standard error (see `ansatzlab.linalg.exponent.fit_exponent`)."""
        spectrum, frame = self.decomposition(centered=centered, init_removed=init_removed)
        fit = fit_exponent(spectrum)
        if not fit.identifiable or fit.at_bound:
            return fit
        gradient = exponent_gradient(frame, spectrum, fit.value)
        return replace(fit, error=self._error(gradient, frame, centered))

    def verdict(
        self,
        exponent: float,
        *,
        comparator: Comparator = "cosine",
        centered: bool = False,
        init_removed: bool = False,
        criteria: "Criteria | None" = None,
    ) -> "Verdict":
        """Say in words what the alignment is worth beside its nulls (see `ansatzlab.measurement.verdict.judge`)."""
        from ansatzlab.measurement.verdict import judge

        return judge(self, Convention(exponent, comparator, centered, init_removed), criteria)

    def agop_directions(self, count: int) -> Float[Tensor, "k i"]:
        """Return the leading eigenvectors of the AGOP in input coordinates, the largest eigenvalue first.

        Definition:
            ``v = Wᵀ K (W v) / λ``, so that no i × i matrix is formed. Of several blocks, those of the first.

        Args:
            count: How many; fewer are returned where the rank is smaller.

        Returns:
            One unit vector a row, shape (k, i).
        """
        _, frame = self.decomposition()
        kept = min(count, int((frame.eigenvalues[0] > 0).sum()))
        images = frame.transform[0, :, :kept].double()
        vectors = self.blocks[0].double().mT @ (self.sums.mean_gram()[0] @ images)
        directions: Tensor = (vectors / vectors.norm(dim=0)).mT
        return directions

    def row(self) -> dict[str, object]:
        """Return the layer as a row of a table: its spectrum against M, its best exponent, the counts behind them."""
        spectrum, fit = self.spectrum(), self.fit_exponent()
        return {
            "layer": self.name,
            "kind": self.kind,
            "outputs": self.height,
            "inputs": self.blocks.shape[-1],
            "groups": self.groups,
            "examples": self.sums.examples,
            "positions": self.positions,
            "rank": spectrum.rank,
            "eigenvalues": spectrum.eigenvalues.tolist(),
            "energies": spectrum.energies.tolist(),
            "off_energy": spectrum.off_energy,
            "best_exponent": fit.value,
            "best_exponent_low": fit.low,
            "best_exponent_high": fit.high,
            "best_exponent_error": fit.error,
            "best_residual": fit.residual,
            "not_identifiable": fit.reason,
            "tautological": self.tautological,
        }

    def merged(self, other: "LayerMeasurement") -> "LayerMeasurement":
        """Merge with the same layer measured on other examples.

        Raises:
            InputError: If the weights differ or the sums do not fit.
        """
        if not _same(self.blocks, other.blocks) or not _same(self.initial, other.initial):
            raise InputError(
                f"merging measurements: layer {self.name!r} has other weights in the second measurement; wanted the "
                "same network, and the same initial weights, on other examples; measure both parts at the same moment "
                "of training with the same arguments."
            )
        coarser = max(self.gradient_dtype, other.gradient_dtype, key=lambda dtype: torch.finfo(dtype).eps)
        start = self.start.merged(other.start) if self.start and other.start else None
        return replace(self, sums=self.sums + other.sums, gradient_dtype=coarser, start=start)

    def decomposition(self, *, centered: bool = False, init_removed: bool = False) -> tuple[Spectrum, Eigenframe]:
        """Return the spectrum and the frame that errors are read in; computed once, the frame in single precision."""
        key = (centered, init_removed)
        if key not in self._known:
            spectrum, frame = self._decompose(reduce_weight(self.weights(init_removed=init_removed)), centered)
            single = replace(frame, transform=frame.transform.float(), weight_gram=frame.weight_gram.float())
            self._known[key] = spectrum, single
        return self._known[key]

    def _decompose(self, weight: ReducedWeight, centered: bool) -> tuple[Spectrum, Eigenframe]:
        self.refuse_centering(centered)
        factor = self.sums.mean_factor()
        if factor is not None and not centered:
            return decompose(weight, factor=factor, gradient_dtype=self.gradient_dtype)
        whole = self.sums.mean_gram()
        summands = max(whole.shape[-1], self.sums.examples)
        rounding = rounding_cut(summands, self.gradient_dtype) * float(whole.norm()) if centered else 0.0
        gram = self.sums.mean_gram(centered=centered)
        return decompose(weight, gram=gram, gradient_dtype=self.gradient_dtype, gram_rounding=rounding)

    def _error(self, gradient: Float[Tensor, "g k k"], frame: Eigenframe, centered: bool) -> float:
        """Return the standard error of a read-out with this derivative by the AGOP in its eigenbasis."""
        images = frame.transform
        influences = self.sums.influences(images @ gradient.to(images) @ images.mT, centered=centered)
        if len(influences) < FEWEST_FOR_ERRORS:
            return float("nan")
        return float((influences.square().mean() / self.sums.examples).sqrt())

    def refuse_centering(self, centered: bool) -> None:
        """Refuse to take out means that do not exist.

        Raises:
            InputError: If the directions that were differentiated differ between examples.
        """
        if centered and not can_be_centered(self.seeds):
            raise InputError(
                f"layer {self.name!r}: centered=True needs each output's mean gradient, and {self.seeds} draws other "
                "signs for every example; measure with Exact() or Signs(…, shared=True)."
            )

    def weights(self, *, init_removed: bool = False) -> Blocks:
        """Return W, or W − W₀, shape (g, o, i).

        Raises:
            InputError: If W₀ is asked for and was not given.
        """
        if not init_removed:
            return self.blocks
        if self.initial is None:
            raise InputError(
                f"layer {self.name!r}: init_removed needs the initial weights, and none were given; pass "
                "initial=state_dict (or the model before training) to measure()."
            )
        return self.blocks - self.initial


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))
