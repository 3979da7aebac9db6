"""The families of counterexamples by name."""

from ansatzlab.counterexamples.cancellation import cancellation
from ansatzlab.counterexamples.family import Family
from ansatzlab.counterexamples.interference import interference
from ansatzlab.counterexamples.rare_firing import rare_firing, reversed_spectrum
from ansatzlab.counterexamples.saturation import non_homogeneous, plateau
from ansatzlab.errors import UnknownNameError

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="interference",
            title="Neurons that fire together",
            statement="Balanced, its own teacher; the AGOP has cross terms that WᵀW has not, and no exponent is exact.",
            builder=interference,
        ),
        Family(
            name="plateau",
            title="Flat at every training input",
            statement="The AGOP does not see the strongest neurons, which are saturated wherever there are data.",
            builder=plateau,
        ),
        Family(
            name="cancellation",
            title="Neurons that cancel",
            statement="Pairs of neurons add up to nothing: WᵀW has them, the AGOP has not.",
            builder=cancellation,
        ),
        Family(
            name="rare_firing",
            title="Strong neurons that fire rarely",
            statement="Balanced and trained to zero loss; the AGOP falls where WᵀW grows.",
            builder=rare_firing,
        ),
        Family(
            name="reversed_spectrum",
            title="One strong neuron that fires rarely",
            statement="Balanced and trained to zero loss; the best cosine over all exponents tends to 1/√rank.",
            builder=reversed_spectrum,
        ),
        Family(
            name="non_homogeneous",
            title="A conservation law that is not balance",
            statement="Gradient flow from a small start to zero loss; the AGOP is no monotone function of WᵀW.",
            builder=non_homogeneous,
        ),
    )
}
"""The families by name."""


def get_family(name: str) -> Family:
    """Return a family by name.

    Raises:
        UnknownNameError: If there is none of this name.
    """
    if name not in FAMILIES:
        raise UnknownNameError("family of counterexamples", name, FAMILIES)
    return FAMILIES[name]
