"""The test of the tests: each planted fault must turn the check that is there to catch it red."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ansatzlab.laws.judge import judge
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.laws.tansley2025nfa.linear import statistics
from ansatzlab.linalg import psd, spectrum
from ansatzlab.measurement import run, subject
from ansatzlab.measurement.gram import GradientSums
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.models.deep_linear import DeepLinear
from ansatzlab.models.init import initialize
from ansatzlab.testing.cases import measured_cases
from ansatzlab.testing.compare import assert_all_close, assert_close


def check_against_the_definition() -> None:
    case = measured_cases()[0]
    measured = run.measure(case.model, case.batches)
    truth = reference_agop(case.model, case.batches)
    assert_all_close({name: layer.agop() for name, layer in measured.items()}, truth, what="agop")


def check_the_balanced_theorem() -> None:
    """In a balanced network of square layers W_l W_lᵀ and W_lᵀ W_l differ, and only the latter obeys the law."""
    model = DeepLinear([6, 6, 6, 6])
    initialize(model, "balanced", seed=0)
    measured = run.measure(model, torch.eye(6, dtype=torch.float64), accumulation="factor")
    for index, layer in enumerate(measured.values(), start=1):
        assert layer.spectrum().relative_error(statistics.law_exponent(3, index)) < 1e-12


def check_the_planted_truth() -> None:
    law = get_law("tansley2025nfa")
    assert {finding.outcome for finding in judge(law, RunTable(law.planted(True)))} == {"HOLDS"}


def check_the_root_of_a_rank_deficient_agop() -> None:
    """G = Q diag(λ, 0) Qᵀ formed by rounding products: its square root must be that of the exact factors."""
    basis = torch.linalg.qr(torch.randn(40, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))[0]
    values = torch.logspace(0, -6, 8, dtype=torch.float64)
    root = psd.psd_power(psd.gram_eigensystem((basis * values) @ basis.mT), 0.25)
    assert_close(root, (basis * values.pow(0.25)) @ basis.mT, what="G^{1/4}", tolerance=1e-8)


def missing_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    mean = GradientSums.mean_gram

    def total(sums: GradientSums, *, centered: bool = False) -> Tensor:
        return mean(sums, centered=centered) * sums.weight_total

    monkeypatch.setattr(GradientSums, "mean_gram", total)


def outer_for_inner_gram(monkeypatch: pytest.MonkeyPatch) -> None:
    original = spectrum.reduce_weight
    monkeypatch.setattr(spectrum, "reduce_weight", lambda weight, **how: original(weight.mT.contiguous(), **how))


def exponent_of_the_next_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "law_exponent", lambda depth, layer=1: 1 / (depth - layer + 2))


def summed_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "cotangents", lambda _seeds, outputs, *_: iter([torch.ones_like(outputs)]))


def no_rank_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psd, "rounding_cut", lambda _size, _dtype: 0.0)


def rank_cut_of_single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psd, "rounding_cut", lambda size, _dtype: size * torch.finfo(torch.float32).eps)


@dataclass(frozen=True)
class Fault:
    plant: Callable[[pytest.MonkeyPatch], None]
    caught_by: Callable[[], None]


FAULTS = [
    Fault(missing_mean, check_against_the_definition),
    Fault(summed_outputs, check_against_the_definition),
    Fault(outer_for_inner_gram, check_the_balanced_theorem),
    Fault(exponent_of_the_next_layer, check_the_balanced_theorem),
    Fault(no_rank_cut, check_the_root_of_a_rank_deficient_agop),
    Fault(rank_cut_of_single_precision, check_the_root_of_a_rank_deficient_agop),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.plant.__name__)
def test_the_check_passes_and_the_planted_fault_turns_it_red(fault: Fault, monkeypatch: pytest.MonkeyPatch):
    fault.caught_by()
    fault.plant(monkeypatch)
    with pytest.raises(AssertionError):
        fault.caught_by()


def test_an_exponent_off_by_one_layer_refutes_real_runs_of_the_law(monkeypatch: pytest.MonkeyPatch):
    """The planted table uses the law's own exponents, so it is read here with the right ones and the wrong."""
    law = get_law("tansley2025nfa")
    truth = law.planted(True)
    check_the_planted_truth()
    exponent_of_the_next_layer(monkeypatch)
    outcomes = {finding.claim: finding.outcome for finding in judge(law, RunTable(truth))}
    assert outcomes["A.error"] == outcomes["A.exponent"] == outcomes["A′.layers"] == "FAILS"
