"""K, the mean second moment of the output gradients, against K-FAC's output factor in two independent packages.

Under square loss, summed over examples and outputs, the loss is ``Σ (f − y)²`` and its Hessian by f is 2 I: the factor
that both accumulate is ``2 Σ_x Σ_c Σ_p b bᵀ = 2 n K``.
"""

import copy
import warnings

import pytest
import torch
from torch import Tensor, nn

from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import normal
from ansatzlab.testing.compare import assert_close

MISSING = "not installed; for this independent oracle: pip install --no-deps -c constraints.txt -r oracles.txt"


def seeded(*layers) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(*(layer() for layer in layers)).double()


def dense() -> tuple[nn.Sequential, Tensor]:
    wide, narrow, last = (lambda: nn.Linear(5, 8)), (lambda: nn.Linear(8, 6)), (lambda: nn.Linear(6, 3))
    return seeded(wide, nn.Tanh, narrow, nn.ReLU, last), normal(7, 5)


def convolutional() -> tuple[nn.Sequential, Tensor]:
    first = lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1)  # noqa: E731
    second = lambda: nn.Conv2d(4, 5, 2, padding=1, dilation=2)  # noqa: E731
    return seeded(first, nn.Tanh, second, nn.Tanh, nn.Flatten, lambda: nn.Linear(45, 3)), normal(7, 2, 6, 6)


@pytest.mark.parametrize("accumulation", ["gram", "factor"])
@pytest.mark.parametrize("build", [dense, convolutional], ids=["dense", "convolutional"])
def test_k_is_the_output_factor_of_curvlinops(build, accumulation: str):
    curvlinops = pytest.importorskip("curvlinops", reason=f"curvlinops is {MISSING}")
    model, x = build()
    measured = measure(model, x, accumulation=accumulation)
    kfac = curvlinops.KFACLinearOperator(
        model,
        nn.MSELoss(reduction="sum"),
        list(model.parameters()),
        [(x, torch.zeros_like(model(x)))],
        fisher_type="type-2",
        kfac_approx="expand",
        check_deterministic=False,
    )
    kfac.compute_kronecker_factors()
    factors = kfac._gradient_covariances
    assert set(factors) == set(measured)
    for name, factor in factors.items():
        assert_close(2 * len(x) * measured[name].sums.mean_gram()[0], factor, what=f"2nK of {name}")


@pytest.mark.parametrize("accumulation", ["gram", "factor"])
def test_k_is_the_output_factor_of_backpack(accumulation: str):
    """Of dense layers: BackPACK sums the gradients of a convolution over positions before it squares them."""
    backpack = pytest.importorskip("backpack", reason=f"backpack is {MISSING}")
    extensions = pytest.importorskip("backpack.extensions", reason=f"backpack is {MISSING}")
    model, x = dense()
    measured = measure(model, x, accumulation=accumulation)
    extended, loss = backpack.extend(copy.deepcopy(model)), backpack.extend(nn.MSELoss(reduction="sum"))
    with backpack.backpack(extensions.KFLR()), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        loss(extended(x), torch.zeros_like(model(x))).backward()
    for name, layer in measured.items():
        factor = dict(extended.named_modules())[name].weight.kflr[0]
        assert_close(2 * len(x) * layer.sums.mean_gram()[0], factor, what=f"2nK of {name}")
