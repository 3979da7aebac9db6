"""One measured layer: its weights and the sums of its output gradients, and everything that is read out of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from ansatzlab.errors import InputError
from ansatzlab.linalg.exponent import ExponentFit, fit_exponent
from ansatzlab.linalg.influence import alignment_gradient, exponent_gradient
from ansatzlab.linalg.psd import direct_sum
from ansatzlab.linalg.spectrum import Comparator, Eigenframe, Spectrum
from ansatzlab.measurement.convention import Alignment, Convention
from ansatzlab.measurement.decomposition import decompose_sums, standard_error
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.kinds import Blocks
from ansatzlab.measurement.seeds import Seeds, can_be_centered
from ansatzlab.shapes import InputGram

if TYPE_CHECKING:
    from ansatzlab.measurement.verdict import Criteria, Verdict

PROPORTIONAL = 1e-9
"""Relative distance from a multiple of the identity below which a second moment of output gradients *is* one."""


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
        is_last: Whether, under random signs, the output gradients were the signs themselves, as in a last layer.
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
    is_last: bool = False
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
        if self.is_last:
            return True
        return is_isotropic(self.sums.mean_gram())

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
            InputError: If the layer was reduced to its column space, is a grouped convolution, or has none of these.
        """
        if self.blocks.shape[1] != self.height or self.groups > 1:
            raise InputError(
                f"layer {self.name!r}: rows cannot be told apart ("
                + ("it has groups" if self.groups > 1 else "it is so tall that only its column space was kept")
                + "); read the whole layer, or parts."
            )
        if not len(self.blocks[0, span]):
            raise InputError(f"layer {self.name!r}: got rows {span} of {self.height}; wanted at least one of them.")
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
        value, residual = spectrum.alignment(exponent, comparator), spectrum.residual(exponent)
        error = residual_error = float("nan")
        if spectrum.rank:
            gradient = alignment_gradient(frame, spectrum, exponent)
            error = standard_error(self.sums, self.seeds, gradient, spectrum, frame, centered=convention.centered)
            if residual > spectrum.rank * torch.finfo(frame.transform.dtype).eps:
                residual_error = error * spectrum.alignment(exponent) / residual
            if comparator != "cosine":
                gradient = alignment_gradient(frame, spectrum, exponent, comparator)
                error = standard_error(self.sums, self.seeds, gradient, spectrum, frame, centered=convention.centered)
        return Alignment(
            value=value,
            residual=residual,
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
        return replace(fit, error=standard_error(self.sums, self.seeds, gradient, spectrum, frame, centered=centered))

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

    def decomposition(self, *, centered: bool = False, init_removed: bool = False) -> tuple[Spectrum, Eigenframe]:
        """Return the spectrum and the frame that errors are read in; computed once.

        The frame is in single precision, its eigenvalues relative to the largest.
        """
        key = (centered, init_removed)
        if key not in self._known:
            self.refuse_centering(centered)
            weight = self.weights(init_removed=init_removed)
            self._known[key] = decompose_sums(weight, self.sums, self.gradient_dtype, centered=centered)
        return self._known[key]

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


def is_isotropic(gram: Float[Tensor, "g o o"]) -> bool:
    """Whether the output gradients' second moment K is a multiple of the identity, so that the AGOP is one of WᵀW."""
    mean = gram.diagonal(dim1=-2, dim2=-1).mean()
    distance = (gram - mean * torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)).norm()
    return bool(mean > 0) and float(distance) <= PROPORTIONAL * float(gram.norm())
