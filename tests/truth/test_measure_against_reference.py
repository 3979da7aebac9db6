"""The fast measurement equals the definition, on every awkward case."""

import pytest
import torch
from torch import Tensor

from ansatzlab.errors import AnsatzError
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.testing.cases import Case, measured_cases, refused_cases
from ansatzlab.testing.compare import TOLERANCE, assert_all_close


def agops(measured: Measurement, *, centered: bool) -> dict[str, Tensor]:
    return {name: layer.agop(centered=centered) for name, layer in measured.items()}


def norms(measured: Measurement) -> dict[str, float]:
    return {name: float(layer.agop().norm()) for name, layer in measured.items()}


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("case", measured_cases(), ids=lambda case: case.name)
def test_the_agop_equals_its_definition(case: Case, centered: bool):
    truth = reference_agop(case.model, case.batches, output=case.output, centered=centered)
    for accumulation in ("gram", "factor"):
        measured = measure(case.model, case.batches, output=case.output, accumulation=accumulation, check="every")
        assert_all_close(agops(measured, centered=centered), truth, what=accumulation, scales=norms(measured))


@pytest.mark.parametrize("case", measured_cases(), ids=lambda case: case.name)
def test_the_spectrum_belongs_to_the_agop_and_the_weight_gram(case: Case):
    measured = measure(case.model, case.batches, output=case.output)
    for layer in measured.values():
        spectrum = layer.spectrum()
        G, M = layer.agop(), layer.weight_gram()
        eigenvalues = torch.linalg.eigvalsh(G).flip(0)[: spectrum.rank]
        torch.testing.assert_close(spectrum.eigenvalues, eigenvalues, rtol=1e-9, atol=1e-12)
        cosine = float((G * M).sum() / (G.norm() * M.norm()))
        assert layer.alignment(1.0).value == pytest.approx(cosine, abs=1e-10)


@pytest.mark.parametrize("case", measured_cases(), ids=lambda case: case.name)
def test_centred_agops_are_positive_semidefinite(case: Case):
    measured = measure(case.model, case.batches, output=case.output)
    for layer in measured.values():
        eigenvalues = torch.linalg.eigvalsh(layer.agop(centered=True))
        assert eigenvalues.min() >= -1e-12 * max(float(torch.linalg.eigvalsh(layer.agop()).max()), 1e-300)


@pytest.mark.parametrize("case", refused_cases(), ids=lambda case: case.name)
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
