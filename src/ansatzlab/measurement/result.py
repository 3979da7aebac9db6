"""What a measurement returns: sums and weights, and everything that is read out of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.linalg.exponent import ExponentFit, fit_exponent
from ansatzlab.linalg.psd import rounding_cut
from ansatzlab.linalg.spectrum import Comparator, Spectrum, ansatz_spectrum
from ansatzlab.measurement.convention import Alignment, Convention
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.seeds import Exact
from ansatzlab.shapes import InputGram, Weight

PROPORTIONAL = 1e-9
"""Relative distance from a multiple of the identity below which a second moment of output gradients *is* one."""


@dataclass(frozen=True)
class LayerMeasurement:
    """One layer: its weights and the sums of its output gradients. Everything else is read out of these.

    Attributes:
        name: The layer's name in the model.
        kind: Its kind, for example ``linear``.
        weight: W in float64, shape (o, i).
        initial: W₀, the weights before training, if they were given.
        sums: The mergeable sums of output gradients.
        seeds: Which combinations of outputs were differentiated.
        gradient_dtype: The dtype in which the network computed.
    """

    name: str
    kind: str
    weight: Weight
    initial: Weight | None
    sums: GradientSums
    seeds: Exact
    gradient_dtype: torch.dtype

    @property
    def tautological(self) -> bool:
        """Whether the AGOP is a multiple of ``WᵀW`` here, so that the exponent 1 fits and says nothing.

        Always so in a last layer, and in a layer of one output; elsewhere where the output gradients are isotropic.
        """
        gram = self.sums.mean_gram()
        mean = gram.diagonal().mean()
        distance = (gram - mean * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)).norm()
        return bool(mean > 0) and float(distance) <= PROPORTIONAL * float(gram.norm())

    def weight_gram(self, *, init_removed: bool = False) -> InputGram:
        """Form ``M = WᵀW``, shape (i, i)."""
        weight = self._weight(init_removed)
        return weight.mT @ weight

    def agop(self, *, centered: bool = False, init_removed: bool = False) -> InputGram:
        """Form the average gradient outer product.

        Definition:
            ``G = Wᵀ K W``, K the mean over examples of the sum over outputs and positions of ``b bᵀ``. Equal to
            ``(1/n) Σ_x J(x)ᵀ J(x)``, J the Jacobian of the outputs by the copy of the input that enters this layer.

        Args:
            centered: Whether each output's mean gradient is taken out.
            init_removed: Whether W − W₀ stands for W.

        Returns:
            G, shape (i, i).

        Cost:
            O(o i²) and an i × i matrix, which no other read-out forms.

        Source:
            tansley2025nfa; the identity is derived in docs/devdocs/identity.md.
        """
        weight = self._weight(init_removed)
        return weight.mT @ self.sums.mean_gram(centered=centered) @ weight

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
            O(o i k + k³), k the smaller side of W.
        """
        weight, factor = self._weight(init_removed), self.sums.mean_factor()
        if factor is not None and not centered:
            return ansatz_spectrum(weight, factor=factor, gradient_dtype=self.gradient_dtype)
        whole = self.sums.mean_gram()
        summands = max(len(whole), self.sums.examples)
        rounding = rounding_cut(summands, self.gradient_dtype) * float(whole.norm()) if centered else 0.0
        return ansatz_spectrum(
            weight,
            gram=self.sums.mean_gram(centered=centered),
            gradient_dtype=self.gradient_dtype,
            gram_rounding=rounding,
        )

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
            The alignment, with the scale-free residual beside it.

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
        spectrum = self.spectrum(centered=centered, init_removed=init_removed)
        return Alignment(
            value=spectrum.alignment(exponent, comparator),
            residual=spectrum.residual(exponent),
            rank=spectrum.rank,
            convention=Convention(exponent, comparator, centered, init_removed),
        )

    def fit_exponent(self, *, centered: bool = False, init_removed: bool = False) -> ExponentFit:
        """Find the exponent that fits best (see `ansatzlab.linalg.exponent.fit_exponent`)."""
        return fit_exponent(self.spectrum(centered=centered, init_removed=init_removed))

    def row(self) -> dict[str, object]:
        """Return the layer as a row of a table: its spectrum against M, its best exponent, the counts behind them."""
        spectrum = self.spectrum()
        fit = fit_exponent(spectrum)
        return {
            "layer": self.name,
            "kind": self.kind,
            "outputs": self.weight.shape[0],
            "inputs": self.weight.shape[1],
            "examples": self.sums.examples,
            "positions": self.sums.position_total / self.sums.weight_total,
            "rank": spectrum.rank,
            "eigenvalues": spectrum.eigenvalues.tolist(),
            "energies": spectrum.energies.tolist(),
            "off_energy": spectrum.off_energy,
            "best_exponent": fit.value,
            "best_exponent_low": fit.low,
            "best_exponent_high": fit.high,
            "best_residual": fit.residual,
            "not_identifiable": fit.reason,
            "tautological": self.tautological,
        }

    def merged(self, other: "LayerMeasurement") -> "LayerMeasurement":
        """Merge with the same layer measured on other examples.

        Raises:
            InputError: If the weights differ or the sums do not fit.
        """
        if not torch.equal(self.weight, other.weight) or not _same(self.initial, other.initial):
            raise InputError(
                f"merging measurements: layer {self.name!r} has other weights in the second measurement; wanted the "
                "same network, and the same initial weights, on other examples; measure both parts at the same moment "
                "of training with the same arguments."
            )
        coarser = max(self.gradient_dtype, other.gradient_dtype, key=lambda dtype: torch.finfo(dtype).eps)
        return replace(self, sums=self.sums + other.sums, gradient_dtype=coarser)

    def _weight(self, init_removed: bool) -> Weight:
        if not init_removed:
            return self.weight
        if self.initial is None:
            raise InputError(
                f"layer {self.name!r}: init_removed needs the initial weights, and none were given; pass "
                "initial=state_dict (or the model before training) to measure()."
            )
        return self.weight - self.initial


def _same(a: Weight | None, b: Weight | None) -> bool:
    return a is b or (a is not None and b is not None and torch.equal(a, b))


@dataclass(frozen=True)
class Measurement(Mapping[str, LayerMeasurement]):
    """Every measured layer by name, and why the others are not here.

    Attributes:
        layers: The measured layers, in the model's order.
        skipped: Every other module that holds parameters of its own, with the reason.
    """

    layers: Mapping[str, LayerMeasurement]
    skipped: Mapping[str, str]

    def __getitem__(self, name: str) -> LayerMeasurement:
        """Return the layer of this name.

        Raises:
            UnknownNameError: If it was not measured.
        """
        if name not in self.layers:
            reason = f" (skipped: {self.skipped[name]})" if name in self.skipped else ""
            raise UnknownNameError("layer", f"{name}{reason}", self.layers)
        return self.layers[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers."""
        return iter(self.layers)

    def __len__(self) -> int:
        """Return the number of layers."""
        return len(self.layers)

    def __add__(self, other: "Measurement") -> "Measurement":
        """Merge two measurements of the same network on different examples.

        Definition:
            The result equals one measurement of all examples, up to rounding.

        Raises:
            InputError: If they hold different layers, weights, or kinds of sums.
        """
        if list(self.layers) != list(other.layers):
            raise InputError(
                f"merging measurements: got layers {list(self.layers)} and {list(other.layers)}; wanted the same; pass "
                "the same layers= to both."
            )
        merged = {name: layer.merged(other.layers[name]) for name, layer in self.layers.items()}
        return Measurement(layers=merged, skipped=self.skipped)

    def rows(self) -> list[dict[str, object]]:
        """Return one row per layer, ready for a table."""
        return [layer.row() for layer in self.layers.values()]
