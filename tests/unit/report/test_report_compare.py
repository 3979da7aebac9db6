"""What differs between two measurements, or two tables of runs, and how sure that is."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.seeds import Output, Signs
from ansatzlab.report.compare.claims import claim_changes
from ansatzlab.report.compare.contrast import contrast, difference_error
from ansatzlab.report.compare.measurements import compare_measurements
from ansatzlab.report.compare.runs import compare_tables
from ansatzlab.report.compare.terminal import (
    MOST,
    changes_table,
    claims_table,
    closing,
    group_tables,
    layers_table,
    opening,
)
from ansatzlab.report.figures.kinds.options import Options
from ansatzlab.store.schema import BASE_SCHEMA, to_table

HALF, ONE = Convention(0.5), Convention(1.0)


def network(seed=0, sizes=(6, 5, 4, 3)):
    torch.manual_seed(seed)
    layers = [nn.Linear(*pair) for pair in itertools.pairwise(sizes)]
    parts = [part for layer in layers for part in (layer, nn.Tanh())]
    return nn.Sequential(*parts[:-1]).double()


def data(seed=1, count=60):
    return torch.randn(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def measured():
    return measure(network(), [data()])


def moved(scale=0.1):
    model = network()
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += scale * torch.randn_like(parameter)
    return model


def differing(comparison):
    return {each.what: (each.first, each.second, each.part) for each in comparison.differences}


def plan(measurement, *conventions):
    return dict.fromkeys(measurement, conventions)


def shown(*tables):
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        for table in tables:
            console.print(table)
    return capture.get()


# --- conventions first -------------------------------------------------------------------------------------------


def test_other_conventions_of_one_measurement_are_said_first_and_explain_everything(measured):
    other = Convention(1.0, "pearson", centered=True)
    found = compare_measurements(measured, measured, conventions=(plan(measured, HALF), plan(measured, other)))
    assert differing(found) == {
        "exponent": ("0.5", "1", "reading"),
        "comparator": ("cosine", "pearson", "reading"),
        "mean gradient": ("kept", "taken out", "reading"),
    }
    assert found.comparable
    assert "Weights and sums are the same: the numbers differ by the convention alone." in found.verdict
    for layer in found.layers[:2]:  # the last one's gradients do not vary, so that it has no centred AGOP
        assert layer.first.value == measured[layer.layer].alignment(0.5).value
        assert layer.second.value == measured[layer.layer].read(other).value
        assert layer.second.value != layer.first.value
        assert layer.reread == layer.first
        assert (layer.difference, layer.error) == (0.0, 0.0)
    lines = opening(found)
    assert lines[0] == "convention: exponent: 0.5 in the first, 1 in the second"


def test_a_shared_convention_is_compared_as_it_is(measured):
    found = compare_measurements(measured, measured, conventions=(plan(measured, ONE, HALF), plan(measured, HALF)))
    assert [(layer.convention, layer.other) for layer in found.layers] == [(HALF, HALF)] * 3


def test_without_a_difference_it_is_said_so(measured):
    found = compare_measurements(measured, measured)
    assert found.differences == ()
    assert found.verdict == ("The convention is the same.", "Weights and sums are the same, and so are all numbers.")


def test_each_difference_of_the_measuring_is_named():
    first = measure(network(), [data()])
    second = measure(network().float(), [data(count=40).float()], seeds=Signs(2), accumulation="factor")
    found = differing(compare_measurements(first, second, facts=({"data": "a"}, {"data": "b", "command": "x"})))
    assert found["examples"] == ("60", "40", "measuring")
    assert found["directions"] == ("exact", "2 random signs, seed 0", "measuring")
    assert found["dtype of the gradients"] == ("float64", "float32", "measuring")
    assert found["accumulation"] == ("gram", "factor", "measuring")
    assert found["data"] == ("a", "b", "measuring")
    assert set(found) == {"examples", "directions", "dtype of the gradients", "accumulation", "data"}


def test_gradients_of_something_else_are_not_to_be_compared():
    found = compare_measurements(measure(network(), [data()]), measure(network(), [data()], seeds=Output(1)))
    assert not found.comparable
    assert differing(found)["gradients"] == ("of every output", "of output 1", "gradients")
    assert any("do not compare the numbers" in line for line in found.verdict)


def test_a_reading_that_the_second_does_not_allow_is_refused_with_the_reason(measured):
    signs = measure(network(), [data()], seeds=Signs(2))
    centered = replace(HALF, centered=True)
    found = compare_measurements(measured, signs, conventions=(plan(measured, centered), plan(signs, HALF)))
    assert not found.comparable
    assert all(layer.reread is None and math.isnan(layer.difference) for layer in found.layers)
    assert "draws other signs for every example" in found.layers[0].reason
    assert "cannot be read as the first was" in " ".join(found.verdict)
    assert "–" in shown(layers_table(found))


# --- the numbers -------------------------------------------------------------------------------------------------


def test_layers_are_compared_by_name_and_what_only_one_has_is_listed(measured):
    part = Measurement(layers={name: measured[name] for name in ("0", "2")}, skipped={}, outputs=measured.outputs)
    found = compare_measurements(measured, part)
    assert [layer.layer for layer in found.layers] == ["0", "2"]
    assert (found.only_first, found.only_second) == (("4",), ())
    assert "only in the first: 4" in closing(found)
    with pytest.raises(InputError, match="no layer in common: 0, 2, 4 and other"):
        compare_measurements(measured, Measurement(layers={"other": measured["0"]}, skipped={}))


def test_how_far_weights_and_agops_moved_is_what_the_full_matrices_say(measured):
    second = measure(moved(), [data()])
    first, other = measured["2"], second["2"]
    found = contrast(first, other)
    change = torch.linalg.norm(other.blocks - first.blocks) / torch.linalg.norm(first.blocks)
    assert found.weight_change == pytest.approx(float(change))
    agops = first.agop(), other.agop()
    assert found.agop_cosine == pytest.approx(float((agops[0] * agops[1]).sum() / agops[0].norm() / agops[1].norm()))
    bases = [torch.linalg.eigh(agop).eigenvectors[:, -found.directions :] for agop in agops]
    assert found.overlap == pytest.approx(float((bases[0].T @ bases[1]).square().sum()) / found.directions)
    assert found.chance == found.directions / 5
    assert not found.same_weights


def test_a_layer_that_is_too_coarse_to_be_read_is_compared_as_far_as_it_goes():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.Tanh(), nn.Linear(30, 900), nn.Tanh(), nn.Linear(900, 900)).bfloat16()
    m = measure(model, torch.randn(8, 20).bfloat16(), seeds=Signs(1), check="never")
    found = {layer.layer: layer for layer in compare_measurements(m, m).layers}
    assert math.isfinite(found["0"].first.value)
    assert math.isnan(found["4"].first.value)
    assert (found["0"].contrast.directions, found["4"].contrast.directions) == (5, 0)
    assert math.isnan(found["4"].contrast.overlap)
    assert found["4"].contrast.same_sums
    assert "nan" not in shown(layers_table(compare_measurements(m, m)), changes_table(compare_measurements(m, m)))


def test_other_shapes_have_no_distance(measured):
    found = contrast(measured["0"], measured["2"])
    assert all(math.isnan(value) for value in (found.weight_change, found.agop_cosine, found.overlap))


def test_weights_kept_in_their_column_space_have_no_distance_but_if_they_are_the_same():
    def tall(seed):
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 2)).double()
        return measure(model, [torch.randn(9, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))])["0"]

    one, other = tall(0), tall(1)
    assert one.blocks.shape[1] < one.height
    assert contrast(one, one).weight_change == 0
    assert math.isnan(contrast(one, other).weight_change)
    assert 0 < contrast(one, other).agop_cosine < 1  # in input coordinates, which both share


@pytest.fixture(scope="module")
def draws():
    """One layer of two networks on many data sets, each on the same."""
    models = network(), moved(0.02)
    return [
        [measure(model, [data(seed, 80)], layers="2", check="never")["2"] for model in models]
        for seed in range(100, 190)
    ]


@pytest.mark.parametrize("convention", [HALF, Convention(0.7, "pearson"), Convention(0.5, centered=True)])
def test_errors_of_differences_are_what_other_examples_would_change(draws, convention):
    """Against brute force: the spread of the difference over many data sets, of both networks and one for each."""

    def spread_and_error(pairs, same):
        differences = [two.read(convention).value - one.read(convention).value for one, two in pairs]
        errors = [difference_error(one, two, convention, same_examples=same) for one, two in pairs[:20]]
        assert all(paired == same for _, paired in errors)
        return np.std(differences), np.mean([error for error, _ in errors])

    spread, error = spread_and_error(draws, same=True)
    assert error == pytest.approx(spread, rel=0.3)
    other_spread, other_error = spread_and_error(
        [(one, two) for (one, _), (_, two) in zip(draws, (*draws[1:], draws[0]), strict=True)], same=False
    )
    assert other_error == pytest.approx(other_spread, rel=0.3)
    assert other_spread > 1.6 * spread  # so that the one would not pass for the other


def test_examples_that_are_not_the_same_are_not_paired(measured):
    second = measure(moved(), [data(count=59)])
    assert not difference_error(measured["2"], second["2"], HALF, same_examples=True)[1]
    found = compare_measurements(measured, measure(moved(), [data()]), facts=({"data": "a"}, {"data": "b"}))
    assert not any(layer.paired for layer in found.layers)
    shared = compare_measurements(measured, measure(moved(), [data()]), facts=({"data": "a"}, {"data": "a"}))
    assert all(layer.paired for layer in shared.layers)
    assert "Errors of differences take both to be of the same examples, in the same order." in closing(shared)


def test_without_a_sample_there_is_no_error(measured):
    bare = replace(measured["2"], sums=replace(measured["2"].sums, sample=None))
    assert math.isnan(difference_error(measured["2"], bare, HALF, same_examples=True)[0])


# --- tables of runs ----------------------------------------------------------------------------------------------

LAMBDA = np.array([4.0, 2.0, 1.0])


def run(optimizer="SGD", seed=0, depth=2, off=0.0, steps=(0, 10, 100), decay=0.0, **other):
    """Rows of a planted run whose distance from the ansatz shrinks to a given one."""
    spec = {
        "experiment": "planted",
        "seed": seed,
        "data": {"name": "d"},
        "model": {"kind": "deep_linear", "hidden": [4] * (depth - 1)},
        "init": {"scheme": "balanced"},
        "dynamics": {"kind": "optimizer", "name": optimizer, "weight_decay": decay},
        "loss": "square",
        **other,
    }
    energies = LAMBDA ** (1 / depth)
    return [
        {
            **dict.fromkeys(BASE_SCHEMA.names),
            "run_id": f"{optimizer}-{seed}-{depth}-{decay:g}-{len(other)}",
            "experiment": "planted",
            "spec": json.dumps(spec),
            "status": "finished",
            "data": "d",
            "dynamics": optimizer,
            "depth": depth,
            "seed": seed,
            "weight_decay": decay,
            "snapshot": snapshot,
            "step": step,
            "flow_time": 0.1 * step,
            "layer": "layers.0",
            "layer_index": 1,
            "eigenvalues": LAMBDA.tolist(),
            "energies": energies.tolist(),
            "sums": [1.0] * 3,
            "off_energy": off + len(steps) - 1 - snapshot,
            "trace": float(energies.sum()),
            "total": float(energies.sum()),
            "dimension": 5.0,
            "cut": 1e-15,
        }
        for snapshot, step in enumerate(steps)
    ]


def table(*runs):
    return to_table([row for rows in runs for row in rows])


def residual_of(off, depth=2):
    norm = float(np.linalg.norm(LAMBDA ** (1 / depth)))
    return off / math.hypot(norm, off)


def test_groups_of_equal_settings_are_compared_and_what_differs_throughout_is_not_matched():
    first = table(*(run("SGD", seed, depth, off=seed) for seed in (0, 1, 2) for depth in (2, 3)))
    second = table(*(run("Adam", seed, depth, off=seed + 1) for seed in (0, 1, 2) for depth in (2, 4)))
    found = compare_tables(first, second)
    assert differing(found) == {"optimizer": ("gd", "adam", "network"), "depth": ("2, 3", "2, 4", "network")}
    (group,) = found.groups
    assert (group.settings, group.layer) == ("L = 2", "layers.0")
    assert group.first["residual"].median == pytest.approx(residual_of(1))
    assert (group.second["residual"].low, group.second["residual"].high) == pytest.approx(
        (residual_of(1), residual_of(3))
    )
    steps = [residual_of(seed + 1) - residual_of(seed) for seed in range(3)]
    assert group.differences["residual"].median == pytest.approx(sorted(steps)[1])
    assert group.differences["residual"].runs == 3
    assert (found.only_first, found.only_second) == (("L = 3, layers.0",), ("L = 4, layers.0",))
    assert "deep_linear" in found.common
    assert found.same_runs == 0


def test_seeds_that_only_one_has_are_in_its_median_and_in_no_difference():
    found = compare_tables(table(*(run(seed=seed) for seed in (0, 1))), table(*(run(seed=seed) for seed in (1, 2, 3))))
    (group,) = found.groups
    assert [side["residual"].runs for side in (group.first, group.second, group.differences)] == [2, 3, 1]


def test_two_moments_of_one_table():
    one = table(run(off=0.5), run(off=0.5, seed=1))
    found = compare_tables(one, one, moments=(10, 100))
    (group,) = found.groups
    assert group.first["residual"].median == pytest.approx(residual_of(1.5))
    assert group.second["residual"].median == pytest.approx(residual_of(0.5))
    assert found.same_runs == 2
    assert "2 runs are in both." in opening(found)
    with pytest.raises(InputError, match="no run was looked at at 7; wanted one of 0, 10, 100"):
        compare_tables(one, one, moments=(None, 7))
    late = table(run(), run(seed=1, steps=(0, 10)))
    assert (
        "1 runs that were not looked at at 100 are left out." in compare_tables(late, late, moments=(100, None)).notes
    )


def test_the_second_is_read_at_the_exponents_of_the_first():
    def recorded(exponent):
        return table([row | {"recorded_exponent": exponent} for row in run(off=0.2)])

    found = compare_tables(recorded(0.5), recorded(1.0))
    assert differing(found)["exponent"] == ("0.5", "1", "reading")
    (group,) = found.groups
    assert group.first["residual"] == group.second["residual"]
    assert opening(found)[:2] == (
        "convention: exponent: 0.5 in the first, 1 in the second",
        "The convention differs: both are read at α = 0.5, cosine.",
    )
    asked = compare_tables(recorded(0.5), recorded(1.0), options=Options(exponent=1.0))
    assert asked.differences == ()
    assert asked.groups[0].first["residual"].median > 0.1


RECORDER = {"seeds": {"count": 4}, "schedule": {"last": 9}, "convention": {"exponent": 1.0}}


def test_how_runs_were_measured_is_part_of_the_convention():
    first, second = table(run(probe_examples=32)), table(run(probe_examples=8, recorder=RECORDER))
    found = compare_tables(first, second)
    assert differing(found) == {"examples": ("32", "8", "measuring"), "seeds.count": ("none", "4", "measuring")}
    assert opening(found)[2:4] == (
        "The convention differs: both are read at α = 1/(L−l+1), cosine.",
        "They were not measured alike: a difference may be owed to that.",
    )


def recorded(examples, **options):
    told = {"task": "recording", "experiment": "e", "options": options, "seed": 0, "recorder": {}}
    rows = [{**each, "spec": json.dumps(told), "examples": float(examples)} for each in run()]
    failed = {name: rows[-1][name] if name in NEVER_NULL else None for name in rows[-1]}
    return table([*rows, {**failed, "snapshot": 3, "status": "failed", "error": "it broke"}])


NEVER_NULL = ("run_id", "experiment", "spec", "data", "dynamics", "depth", "seed", "weight_decay")


def test_the_probe_and_the_users_own_settings_of_recordings_are_compared_the_probe_first():
    found = compare_tables(recorded(30, momentum=0.0, clip=1.0), recorded(7, momentum=0.9, clip=1.0))
    assert list(differing(found).items()) == [
        ("examples", ("30", "7", "measuring")),
        ("momentum", ("0", "0.9", "network")),
    ]
    assert found.common == ("e", "clip 1")
    assert len(found.groups) == 1
    assert compare_tables(recorded(30, clip=1), recorded(30, clip=1)).differences == ()


def finding(claim="A", condition="L = 2", outcome="HOLDS", value=1e-12):
    return {"claim": claim, "condition": condition, "outcome": outcome, "value": value}


def test_changed_verdicts_are_told_claim_by_claim():
    first = [finding(), finding("B"), finding("C", value=None, outcome="INCONCLUSIVE")]
    second = [finding(value=2e-12), finding("B", outcome="FAILS", value=0.5), finding("D")]
    changes, same = claim_changes(first, second)
    assert [(each.claim, each.first, each.second) for each in changes] == [
        ("B", "HOLDS", "FAILS"),
        ("C", "INCONCLUSIVE", ""),
        ("D", "", "HOLDS"),
    ]
    assert same == 1
    found = compare_tables(table(run()), table(run()), findings=(first, second))
    assert found.claims == changes
    assert "1 verdicts are the same, 3 are not." in closing(found)
    assert "FAILS 0.50000" in shown(claims_table(found.claims))
    asked = {"law": "x", "budget": "quick", "settings": {}, "only": [], "runs": ["a"]}
    requests = compare_tables(table(run()), table(run()), requests=(asked, asked | {"budget": "full", "runs": []}))
    assert differing(requests) == {"budget": ("quick", "full", "network")}


def test_tables_without_spectra_or_layers_are_refused():
    bare = to_table([{**row, **dict.fromkeys(("eigenvalues", "off_energy"))} for row in run()])
    with pytest.raises(InputError, match="compare: needs values in eigenvalues"):
        compare_tables(table(run()), bare)
    with pytest.raises(UnknownNameError, match="unknown layer 'fc'"):
        compare_tables(table(run()), table(run()), options=Options(layers=("fc",)))


# --- what is shown and written -----------------------------------------------------------------------------------


def test_everything_is_json(measured):
    second = measure(moved(), [data()])
    found = compare_measurements(measured, second, conventions=({}, plan(second, ONE))).to_dict()
    again = json.loads(json.dumps(found, allow_nan=False))
    assert again["layers"][0]["contrast"]["weight_change"] > 0
    assert again["differences"][0] == {"what": "exponent", "first": "0.5", "second": "1", "part": "reading"}
    runs = compare_tables(table(run(), run(seed=1)), table(run())).to_dict()
    assert json.loads(json.dumps(runs, allow_nan=False))["groups"][0]["differences"]["residual"]["runs"] == 1


def test_the_tables_fit_eighty_columns_and_show_each_side(measured):
    second = measure(moved(), [data()])
    found = compare_measurements(measured, second, conventions=(plan(measured, HALF), plan(second, ONE)))
    text = shown(layers_table(found), changes_table(found))
    assert max(map(len, text.splitlines())) <= 80
    for told in (
        "2 as 1",
        "2 − 1",
        "chance",
        f"{found.layers[0].first.value:.3f}",
        f"{found.layers[0].second.value:.3f}",
    ):
        assert told in text
    groups = group_tables(compare_tables(table(run(), run(seed=1, off=1)), table(run(off=2))).groups)
    assert groups[0][0] == "layers.0"
    assert "[" in shown(groups[0][1])
    assert max(map(len, shown(groups[0][1]).splitlines())) <= 80


def test_hostile_names_are_shown_literally(measured):
    hostile = "\x1b[2J[bold]x"
    renamed = Measurement(layers={hostile: replace(measured["0"], name=hostile)}, skipped={}, outputs="\x1b[2J")
    found = compare_measurements(renamed, renamed, facts=({"data": "[red]\x1b"}, {"data": "b"}))
    text = "\n".join((*opening(found), *closing(found), shown(layers_table(found), changes_table(found))))
    assert "\x1b" not in text
    assert "�[2J[bold]x" in text.replace("\n", "")
    assert "[red]�" in text


def test_a_long_list_of_what_only_one_has_is_cut():
    many = table(*(run(decay=value / 10) for value in range(1, MOST + 4)))
    found = compare_tables(many, table(run(decay=0.1), run(decay=7.0)))
    line = next(line for line in closing(found) if line.startswith("only in the first"))
    assert line.count(";") == MOST
    assert "and 2 more" in line
