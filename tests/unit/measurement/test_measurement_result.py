import dataclasses
import math

import pytest
import torch
from torch import nn

from ansatzlab.errors import InputError, ModelError, UnknownNameError
from ansatzlab.linalg.psd import gram_eigensystem, psd_power
from ansatzlab.linalg.similarity import cosine, pearson, residual, traceless_cosine
from ansatzlab.measurement import run
from ansatzlab.measurement.layers import InitialWeights
from ansatzlab.measurement.outputs import Outputs
from ansatzlab.measurement.reference import reference_agop
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Signs


def network(seed: int = 0) -> nn.Sequential:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        first, second, last = nn.Linear(6, 8), nn.Linear(8, 5), nn.Linear(5, 3)
        return nn.Sequential(first, nn.Tanh(), nn.LayerNorm(8), second, nn.Tanh(), last).double()


def data(n: int = 30) -> torch.Tensor:
    return torch.randn(n, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("comparator", "definition"), [("cosine", cosine), ("pearson", pearson), ("traceless", traceless_cosine)]
)
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("exponent", [0.25, 0.5, 1.0, 2.0])
def test_an_alignment_is_its_definition_on_the_full_matrices(comparator, definition, centered, exponent):
    model = network()
    truth = reference_agop(model, data(), centered=centered)
    for name, layer in measure(model, data()).items():
        if centered and layer.tautological:
            continue  # the centred AGOP of a last layer is zero
        power = psd_power(gram_eigensystem(truth[name]), exponent)
        got = layer.alignment(exponent, comparator=comparator, centered=centered)
        assert got.value == pytest.approx(definition(layer.weight_gram(), power), abs=1e-7)
        assert got.residual == pytest.approx(residual(layer.weight_gram(), power), abs=1e-7)
        assert dataclasses.astuple(got.convention) == (exponent, comparator, centered, False)


def test_removing_the_initial_weights_removes_them_in_both_places():
    model, start = network(1), network(2)
    layer = measure(model, data(), initial=start)["3"]
    change = model[3].weight.detach() - start[3].weight.detach()
    power = psd_power(gram_eigensystem(change.T @ layer.sums.mean_gram()[0] @ change), 0.5)
    got = layer.alignment(0.5, init_removed=True)
    assert got.value == pytest.approx(cosine(change.T @ change, power), abs=1e-9)
    assert got.convention.init_removed
    torch.testing.assert_close(layer.weight_gram(init_removed=True), change.T @ change)
    by_dict = measure(model, data(), initial=start.state_dict())["3"]
    assert by_dict.alignment(0.5, init_removed=True).value == got.value


@pytest.mark.parametrize("kind", [dict, InitialWeights])
def test_from_the_initial_weights_alone_no_untrained_network_is_measured(kind):
    model, start = nn.Linear(6, 3, bias=False).double(), torch.ones(3, 6, dtype=torch.float64)
    layer = measure(model, data(), initial=kind({"weight": start}))[""]
    assert (layer.start is None) == (kind is InitialWeights), "without biases weights are a whole state dict"
    torch.testing.assert_close(layer.weights(init_removed=True)[0], model.weight.detach() - start)


def test_initial_weights_must_be_given_and_fit():
    model = network()
    with pytest.raises(InputError, match="layer '0': init_removed needs the initial weights"):
        measure(model, data())["0"].alignment(0.5, init_removed=True)
    with pytest.raises(InputError, match=r"got nothing for '0.weight'; wanted finite numbers of shape \(8, 6\)"):
        measure(model, data(), initial={})
    with pytest.raises(InputError, match=r"got shape \(2, 2\) for '0.weight'"):
        measure(model, data(), initial={**model.state_dict(), "0.weight": torch.ones(2, 2)})


def test_only_the_last_layer_is_tautological_and_only_with_its_own_exponent():
    measured = measure(network(), data())
    assert [layer.tautological for layer in measured.values()] == [False, False, True]
    assert measured["5"].alignment(1.0).value == pytest.approx(1.0, abs=1e-12)
    assert measured["5"].alignment(0.5).value < 0.9999
    one_output = nn.Sequential(nn.Linear(6, 1), nn.Linear(1, 1)).double()
    assert measure(one_output, data())["0"].tautological  # one row: every AGOP is a multiple of wᵀw


def test_rows_say_what_was_measured():
    rows = measure(network(), data()).rows()
    assert [row["layer"] for row in rows] == ["0", "3", "5"]
    first = rows[0]
    assert (first["kind"], first["outputs"], first["inputs"], first["examples"], first["positions"]) == (
        ("linear", 8, 6, 30, 1.0)
    )
    assert first["rank"] == len(first["eigenvalues"]) == len(first["energies"])
    assert first["best_exponent_low"] <= first["best_exponent"] <= first["best_exponent_high"]
    assert rows[2]["tautological"] is True


def test_a_missing_layer_is_asked_for_in_vain_with_the_reason():
    measured = measure(network(), data(), layers=["0", "3"])
    assert measured.skipped == {
        "2": "LayerNorm scales each feature by itself: a diagonal, not a linear map of features",
        "5": "not selected",
    }
    with pytest.raises(UnknownNameError, match=r"unknown layer '5 \(skipped: not selected\)'"):
        measured["5"]


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (lambda: measure(network(), data(), layers="0"), "got layers"),
        (lambda: measure(network(1), data()), "layer '0' has other weights"),
        (lambda: measure(network(), data(), accumulation="factor"), "as factor"),
        (lambda: measure(network(), data(), output=lambda y: y[:, :2]), "the same network measured the same way"),
    ],
)
def test_only_measurements_of_one_network_merge(other, told):
    with pytest.raises(InputError, match=told):
        measure(network(), data()) + other()


def test_a_dead_network_has_no_exponent():
    model = network()
    nn.init.zeros_(model[5].weight)
    layer = measure(model, data())["0"]
    fit = layer.fit_exponent()
    assert (fit.identifiable, fit.reason) == (False, "the AGOP is zero")
    assert math.isnan(layer.alignment(0.5).value)
    assert layer.alignment(0.5).residual == 1.0


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        (torch.ones(29), "29 weights for at least 30"),
        (torch.ones(31), "31 weights for 30 examples"),
        (-torch.ones(30), "negative"),
        (torch.zeros(30), "not all zero"),
        (torch.full((30,), float("inf")), "one finite weight"),
        (torch.ones(0), "all zero"),
    ],
)
def test_example_weights_are_one_finite_number_each(weights, told):
    with pytest.raises((InputError, TypeError), match=told):
        measure(network(), data(), example_weights=weights)


def test_a_measurement_is_a_mapping():
    measured = measure(network(), data())
    assert isinstance(measured, Measurement)
    assert len(measured) == 3
    assert "0" in measured
    assert "2" not in measured


@pytest.mark.parametrize("n", [1, 30, 1000])
@pytest.mark.parametrize("seed", range(10))
def test_a_centred_agop_that_is_zero_is_called_zero(seed, n):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        linear = nn.Sequential(nn.Linear(6, 5, bias=False), nn.Linear(5, 4, bias=False)).double()
    for accumulation in ("gram", "factor"):
        layer = measure(linear, data(n), accumulation=accumulation)["0"]
        assert layer.spectrum(centered=True).rank == 0
        assert layer.fit_exponent(centered=True).reason == "the AGOP is zero"


def test_gradients_too_coarse_for_any_spectrum_are_refused():
    model = nn.Sequential(nn.Linear(6, 900), nn.Tanh(), nn.Linear(900, 8), nn.Tanh(), nn.Linear(8, 3)).bfloat16()
    layer = measure(model, data().bfloat16())["2"]
    assert layer.gradient_dtype == torch.bfloat16
    with pytest.raises(InputError, match=r"resolve no spectrum of a layer of width 900.*measure model.float"):
        layer.spectrum()


def test_a_merged_measurement_is_as_coarse_as_its_coarser_part():
    single = measure(network().float(), data().float())
    double = measure(network().float().double(), data())
    for merged in (single + double, double + single):
        assert merged["0"].gradient_dtype == torch.float32


def test_measurements_with_other_initial_weights_do_not_merge():
    with pytest.raises(InputError, match="the same initial weights"):
        measure(network(), data(), initial=network(1)) + measure(network(), data())


def test_a_layer_that_is_never_called_is_skipped_unless_it_was_asked_for():
    model = nn.ModuleDict({"used": nn.Linear(6, 2), "spare": nn.Linear(2, 2)}).double()
    model.forward = lambda x: model["used"](x)
    assert measure(model, data()).skipped == {"spare": "never ran as a module in the forward pass"}
    with pytest.raises(ModelError, match="layer 'spare' was selected but never ran"):
        measure(model, data(), layers="spare")


def test_a_misspelt_choice_is_refused():
    with pytest.raises(UnknownNameError, match="unknown check= of measure 'evry'; did you mean 'every'"):
        run._check_choices(check=("evry", run.Check))


def test_buffers_are_put_back_even_when_the_measurement_fails():
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(6, 2).double()
            self.register_buffer("replaced", torch.zeros(()))
            self.register_buffer("changed", torch.zeros(()))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.replaced = self.replaced + 1
            self.changed += 1
            return self.linear(x)

    model = Counting()
    with pytest.raises(ModelError, match="changes the buffer"):
        measure(model, data())
    assert (float(model.replaced), float(model.changed)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (None, "12 outputs (4 × 3, each entry one)"),
        (Outputs(positions="last"), "3 outputs at the last position"),
        (Outputs(positions="mean"), "3 outputs as their mean over positions"),
        (Outputs(positions=1), "3 outputs at position 1"),
        (lambda y: y[:, 0, :1], "1 output picked by a function"),
    ],
)
def test_a_measurement_says_which_outputs_were_differentiated(output, words: str):
    model = nn.Linear(5, 3).double()
    x = torch.ones(2, 4, 5, dtype=torch.float64)
    assert measure(model, x, output=output).outputs == words


@pytest.mark.parametrize("lengths", [(4, 7), (7, 4)])
def test_another_number_of_outputs_in_a_later_batch_is_refused_where_each_counts(lengths: tuple[int, int]):
    model = nn.Linear(5, 3).double()
    batches = [torch.ones(2, length, 5, dtype=torch.float64) for length in lengths]
    with pytest.raises(ModelError, match=r"outputs in batch 1 and .* in the first; wanted the same outputs"):
        measure(model, iter(batches))
    assert measure(model, iter(batches), output=Outputs(positions="last")).outputs == "3 outputs at the last position"
    assert measure(model, iter(batches), seeds=Signs(2))[""].sums.examples == 4
