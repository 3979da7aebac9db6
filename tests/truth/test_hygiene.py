"""Measuring leaves a network, its gradients, its mode and all random state as they were, whatever happens."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import Case, measured_cases
from ansatzlab.testing.layer_cases import layer_cases
from ansatzlab.testing.wrapped_cases import wrapped_cases

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def fingerprint(model: nn.Module) -> dict[str, object]:
    """Return everything about a model and the process that measuring must not change."""
    return {
        "hooks": [(name, kind, len(getattr(m, kind))) for name, m in model.named_modules() for kind in HOOKS],
        "training": [m.training for m in model.modules()],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "grads": [(n, None if p.grad is None else p.grad.clone().tolist()) for n, p in model.named_parameters()],
        "requires": [p.requires_grad for p in model.parameters()],
        "identity": [id(p) for p in model.parameters()],
        "values": [t.detach().clone().tolist() for t in (*model.parameters(), *model.buffers())],
        "versions": [t._version for t in (*model.parameters(), *model.buffers())],
        "random": torch.get_rng_state().tolist(),
        "grad mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("case", [*measured_cases(), *layer_cases(), *wrapped_cases()], ids=lambda case: case.name)
def test_nothing_changes(case: Case):
    before = fingerprint(case.model)
    measure(case.model, case.batches, output=case.output)
    assert fingerprint(case.model) == before
    if not case.probes_refusal:
        measure(case.model, case.batches, output=case.output, backend="probes")
        assert fingerprint(case.model) == before


def test_existing_gradients_stay():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).double()
    model(torch.ones(2, 3, dtype=torch.float64)).sum().backward()
    before = fingerprint(model)
    measure(model, torch.ones(5, 3, dtype=torch.float64))
    assert fingerprint(model) == before


class _BackwardRaises(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(_ctx: object, _gradient: Tensor) -> Tensor:
        raise RuntimeError("backward broke")


class _Raises(nn.Module):
    def __init__(self, act: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x)


def _forward_raises(_: Tensor) -> Tensor:
    torch.rand(3)
    raise RuntimeError("forward broke")


@pytest.mark.parametrize(
    ("act", "message"),
    [(_forward_raises, "forward broke"), (_BackwardRaises.apply, "backward broke")],
    ids=["forward", "backward"],
)
def test_nothing_changes_after_an_exception(act: Callable[[Tensor], Tensor], message: str):
    model = nn.Sequential(nn.Linear(3, 4), _Raises(act), nn.Linear(4, 2)).double()
    before = fingerprint(model)
    with pytest.raises(RuntimeError, match=message):
        measure(model, torch.ones(5, 3, dtype=torch.float64))
    assert fingerprint(model) == before


def test_it_measures_inside_no_grad_and_inference_mode():
    model = nn.Linear(3, 2).double()
    x = torch.ones(4, 3, dtype=torch.float64)
    wanted = measure(model, x)[""].agop()
    with torch.no_grad():
        torch.testing.assert_close(measure(model, x)[""].agop(), wanted)
    with torch.inference_mode():
        got = measure(model, x)[""].agop().clone()
    torch.testing.assert_close(got, wanted)


def test_the_fingerprint_has_teeth():
    model = nn.Linear(3, 2)
    before = fingerprint(model)
    handle = model.register_forward_hook(lambda *_: None)
    assert fingerprint(model) != before
    handle.remove()
    assert fingerprint(model) == before
    torch.rand(1)
    assert fingerprint(model) != before
