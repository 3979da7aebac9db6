"""Two ways for tanh to break the ansatz: plateaus, and a conservation law that is not balance."""

import torch
from jaxtyping import Float
from scipy.linalg import hadamard
from torch import Tensor

from ansatzlab.counterexamples.descent import settle
from ansatzlab.counterexamples.family import Counterexample, demand, one_hidden_layer, weights_of
from ansatzlab.linalg.null import haar_orthogonal
from ansatzlab.training.dynamics import GradientFlow, Optimizer

STEPS = 400
FLOW_TIME = 60.0


def plateau(*, seed: int, m: int = 64, gain: float = 24.0, others: float = 3.0) -> Counterexample:
    """Train output weights behind neurons that are saturated on every training input.

    Definition:
        Inputs are the rows of ±H, H the Hadamard matrix, turned by a random rotation; the targets are their signs
        before the rotation, one output for each. The start is ``W = diag(w)``, w = ``gain`` for one neuron and from ⅔
        of ``others`` to ``others`` for the rest, ``V = ½ I``. Where tanh is flat W gets no gradient and V goes to
        ``1/tanh(w)``: ``M = diag(w²)``, ``G = diag(V_j² w_j² sech⁴ w_j)``, which falls as fast as ``e^{−4w}``.

    Conventions:
        The failure belongs to the training inputs. Between them the network is steep: with jitter the AGOP sees it.

    Args:
        seed: Of the rotation.
        m: The number of neurons, inputs and outputs, a power of two.
        gain: The norm of the strongest neuron's weights.
        others: The largest norm among the others.

    Returns:
        The counterexample.

    Raises:
        InputError: If m is no power of two from 4, or a gain is not positive.
        DivergedError: If the training stops being finite.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand(
        "plateau",
        m=(m, m >= 4 and m & (m - 1) == 0, "a power of two, at least 4"),
        gain=(gain, 0 < gain <= 1e3, "a positive number up to 1000"),
        others=(others, 0 < others <= 1e3, "a positive number up to 1000"),
    )
    gains = float(others) * torch.linspace(2 / 3, 1, m, dtype=torch.float64)
    gains[0] = gain
    inputs, targets, rotation = _signs(m, seed)
    half = torch.full((m,), 0.5, dtype=torch.float64)
    model = one_hidden_layer(torch.diag(gains) @ rotation.mT, torch.diag(half), "tanh")
    start = settle(model, inputs, targets, Optimizer(learning_rate=0.5, steps=STEPS))
    return Counterexample(
        family="plateau",
        model=model,
        inputs=inputs,
        targets=targets,
        example_weights=None,
        gram=sign_gram(*weights_of(model), rotation),
        why="Every training input lies where tanh is flat: the stronger a neuron, the flatter, so the AGOP sees the "
        "strongest least.",
        reached=f"gradient descent, {STEPS} steps, from saturated neurons W = diag(w) and V = ½ I",
        start=start,
    )


def non_homogeneous(*, seed: int, m: int = 16, smallest: float = 0.3, largest: float = 20.0) -> Counterexample:
    """Train a tanh network by gradient flow from a small start, on targets of several sizes.

    Definition:
        Inputs as in `plateau`; targets are the signs times c_j, in equal ratios from ``smallest`` to ``largest``.
        Each neuron conserves ``V_jj² − sinh² w_j`` (a homogeneous one would conserve ``V_jj² − w_j²``) and fits
        ``sinh w_j tanh w_j = c_j`` from a start at ``V_jj = sinh w_j``: ``M = diag(w²)``,
        ``G = diag(w² sinh² w / cosh⁴ w)``, which first rises and then falls in w.

    Args:
        seed: Of the rotation.
        m: The number of neurons, inputs and outputs, a power of two.
        smallest: The smallest target.
        largest: The largest target.

    Returns:
        The counterexample.

    Raises:
        InputError: If m is no power of two from 4, or the targets are not ``0 < smallest < largest``.
        DivergedError: If the training stops being finite.

    Source:
        Derived in docs/devdocs/counterexamples.md.
    """
    demand(
        "non_homogeneous",
        m=(m, m >= 4 and m & (m - 1) == 0, "a power of two, at least 4"),
        smallest=(smallest, 0.1 <= smallest < largest, "at least 0.1 and below largest"),
        largest=(largest, largest <= 20, "at most 20"),
    )
    inputs, signs, rotation = _signs(m, seed)
    sizes = smallest * (largest / smallest) ** torch.linspace(0, 1, m, dtype=torch.float64)
    small = torch.full((m,), 0.1, dtype=torch.float64)
    model = one_hidden_layer(torch.diag(small) @ rotation.mT, torch.diag(small.sinh()), "tanh")
    start = settle(model, inputs, signs * sizes, GradientFlow(flow_time=FLOW_TIME))
    return Counterexample(
        family="non_homogeneous",
        model=model,
        inputs=inputs,
        targets=signs * sizes,
        example_weights=None,
        gram=sign_gram(*weights_of(model), rotation),
        why="The flow conserves V² − sinh² w and not V² − w²: stronger neurons saturate, and the AGOP is no monotone "
        "function of WᵀW.",
        reached=f"gradient flow for a time of {FLOW_TIME:g} from w = 0.1, V = sinh w",
        start=start,
    )


def sign_gram(
    first: Float[Tensor, "m m"], second: Float[Tensor, "m m"], rotation: Float[Tensor, "m m"]
) -> Float[Tensor, "m m"]:
    """Return the AGOP of ``V tanh(W x)`` with ``W = diag(w) Qᵀ`` and diagonal V on turned sign vectors ``x = Q s``.

    Definition:
        ``G = Q diag(V_jj² w_j² sech⁴ w_j) Qᵀ``: tanh' is even, so every sign gives the same.
    """
    w = (first @ rotation).diagonal()
    slopes = second.diagonal() * w / w.cosh().square()
    return rotation @ torch.diag(slopes.square()) @ rotation.mT


def _signs(m: int, seed: int) -> tuple[Float[Tensor, "n m"], Float[Tensor, "n m"], Float[Tensor, "m m"]]:
    """Return turned sign vectors whose coordinates are uncorrelated, the signs, and the rotation."""
    rows = torch.from_numpy(hadamard(m, dtype=float))
    signs = torch.cat([rows, -rows])
    rotation = haar_orthogonal(m, torch.Generator().manual_seed(seed))[0]
    return signs @ rotation.mT, signs, rotation
