"""The fast measurement equals the definition, on every awkward case."""

import re

import pytest
import torch
from torch import Tensor

from ansatzlab.errors import AnsatzError, ModelError
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import Case, measured_cases
from ansatzlab.testing.compare import TOLERANCE, assert_all_close
from ansatzlab.testing.layer_cases import layer_cases
from ansatzlab.testing.refused_cases import refused_cases
from ansatzlab.testing.wrapped_cases import wrapped_cases


def agops(measured: Measurement, *, centered: bool) -> dict[str, Tensor]:
    return {name: layer.agop(centered=centered) for name, layer in measured.items()}


def norms(measured: Measurement) -> dict[str, float]:
    return {name: float(layer.agop().norm()) for name, layer in measured.items()}


CASES = [*measured_cases(), *layer_cases(), *wrapped_cases()]


def by_name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_hooks_equal_the_definition(case: Case):
    """Centred and not, as sums and as a factor."""
    for centered in (False, True):
        truth = reference_agop(case.model, case.batches, output=case.output, centered=centered)
        for accumulation in ("gram", "factor"):
            measured = measure(case.model, case.batches, output=case.output, accumulation=accumulation, check="every")
            got, scales = agops(measured, centered=centered), norms(measured)
            wanted = {name: truth[name] for name in measured}
            assert_all_close(got, wanted, what=accumulation, scales=scales, tolerance=case.tolerance)


@pytest.mark.parametrize("case", [case for case in CASES if not case.probes_refusal], ids=by_name)
def test_probes_equal_hooks(case: Case):
    hooks = measure(case.model, case.batches, output=case.output)
    probes = measure(case.model, case.batches, output=case.output, backend="probes")
    assert probes.skipped == hooks.skipped
    for centered in (False, True):
        got, wanted = agops(probes, centered=centered), agops(hooks, centered=centered)
        assert_all_close(got, wanted, what="probes", scales=norms(hooks), tolerance=case.tolerance)


@pytest.mark.parametrize("case", [case for case in CASES if case.probes_refusal], ids=by_name)
def test_where_probes_cannot_differentiate_they_say_what_to_do(case: Case):
    with pytest.raises(ModelError, match=case.probes_refusal) as caught:
        measure(case.model, case.batches, output=case.output, backend="probes")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_every_module_with_parameters_is_measured_or_skipped_with_a_reason(case: Case):
    measured = measure(case.model, case.batches, output=case.output)
    listed = [*measured, *measured.skipped]
    assert all(measured.skipped.values())
    for name, module in case.model.named_modules():
        if next(module.parameters(recurse=False), None) is not None:
            assert any(not name or found == name or found.startswith(f"{name}.") for found in listed), name
    for name, reason in case.skipped.items():
        assert re.search(reason, measured.skipped[name])
        assert name not in measured


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_the_spectrum_belongs_to_the_agop_and_the_weight_gram(case: Case):
    measured = measure(case.model, case.batches, output=case.output)
    for layer in measured.values():
        spectrum = layer.spectrum()
        G, M = layer.agop(), layer.weight_gram()
        eigenvalues = torch.linalg.eigvalsh(G).flip(0)[: spectrum.rank]
        torch.testing.assert_close(spectrum.eigenvalues, eigenvalues, rtol=1e-9, atol=1e-12)
        cosine = float((G * M).sum() / (G.norm() * M.norm()))
        assert layer.alignment(1.0).value == pytest.approx(cosine, abs=case.tolerance)


@pytest.mark.parametrize("case", CASES, ids=by_name)
def test_centred_agops_are_positive_semidefinite(case: Case):
    measured = measure(case.model, case.batches, output=case.output)
    for layer in measured.values():
        eigenvalues = torch.linalg.eigvalsh(layer.agop(centered=True))
        assert eigenvalues.min() >= -1e-12 * max(float(torch.linalg.eigvalsh(layer.agop()).max()), 1e-300)


@pytest.mark.parametrize("case", refused_cases(), ids=by_name)
def test_what_cannot_be_measured_is_refused_in_one_line(case: Case):
    with pytest.raises(AnsatzError, match=case.refusal) as caught:
        measure(case.model, case.batches, output=case.output)
    assert "\n" not in str(caught.value)


def test_example_weights_are_multiplicities():
    case = measured_cases()[0]
    x = torch.cat(case.batches)
    counts = torch.tensor([1, 3, 2, 0, 1, 1, 5, 1, 0, 2, 1, 1])
    weighted = measure(case.model, x.split(5), example_weights=counts.double())
    repeated = measure(case.model, x.repeat_interleave(counts, dim=0))
    for centered in (False, True):
        wanted = agops(repeated, centered=centered)
        assert_all_close(agops(weighted, centered=centered), wanted, what="weighted", scales=norms(repeated))


@pytest.mark.parametrize("accumulation", ["gram", "factor"])
def test_merged_measurements_equal_one_of_all_examples(accumulation: str):
    case = measured_cases()[0]
    x = torch.cat(case.batches)
    parts = [measure(case.model, part, accumulation=accumulation) for part in x.split(5)]
    merged = (parts[0] + parts[1]) + parts[2]
    regrouped = parts[0] + (parts[1] + parts[2])
    whole = measure(case.model, x, accumulation=accumulation)
    for centered in (False, True):
        wanted = agops(whole, centered=centered)
        for got in (merged, regrouped):
            assert_all_close(agops(got, centered=centered), wanted, what="merged", scales=norms(whole))
    assert merged["0"].sums.examples == len(x)


def test_a_float32_network_is_measured_to_float32():
    case = measured_cases()[0]
    truth = reference_agop(case.model, case.batches)
    single = case.model.float()
    measured = measure(single, [batch.float() for batch in case.batches])
    assert_all_close(agops(measured, centered=False), truth, what="float32", tolerance=TOLERANCE[torch.float32])
    assert measured["0"].gradient_dtype == torch.float32
    case.model.double()
