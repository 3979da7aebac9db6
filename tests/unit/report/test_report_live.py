import base64
import json
import math
from dataclasses import replace
from statistics import fmean, stdev

import numpy as np
import pytest
import torch
from torch import nn

from ansatzlab.laws.runs import spectrum_of
from ansatzlab.linalg.exponent import LARGEST, SMALLEST
from ansatzlab.linalg.spectrum import Spectrum, ansatz_spectrum
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.result import Measurement
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.verdict import Criteria, judge, turned_spectra
from ansatzlab.report.labels import labels_of
from ansatzlab.report.live import runs as runs_module
from ansatzlab.report.live import triples
from ansatzlab.report.live import view as live_view
from ansatzlab.report.live.measurement import live_measurement
from ansatzlab.report.live.runs import balanced_sample, live_runs
from ansatzlab.report.live.triples import pack
from ansatzlab.report.live.view import stops, view
from ansatzlab.report.readout import read_layers
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from ansatzlab.sweeps.grid import expand

THIRD = 1 / 3


def decoded(text, kind="<f8"):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def spectrum(seed=0, rank=4, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(5, 7, generator=generator, dtype=torch.float64) * size
    return ansatz_spectrum(weight, factor=torch.randn(rank, 5, generator=generator, dtype=torch.float64))


def nothing():
    """Return the spectrum of a layer that nothing depends on."""
    return ansatz_spectrum(torch.eye(3, dtype=torch.float64), gram=torch.zeros(3, 3, dtype=torch.float64))


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)).double()


@pytest.fixture(scope="module")
def measured():
    data = torch.randn(30, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return measure(network(), [data], initial=network(seed=1))


def run_rows(depth=2, seed=0, snapshots=3, **changes):
    """Return rows of one run; `changes` are columns."""
    rows = []
    for snapshot in range(snapshots):
        for index in range(depth):
            columns = spectrum(seed=100 * seed + 10 * snapshot + index).columns()
            row = {
                **dict.fromkeys(BASE_SCHEMA.names),
                "run_id": f"{depth}-{seed}",
                "experiment": "e",
                "spec": "{}",
                "status": "finished",
                "data": "d",
                "dynamics": "adam",
                "depth": depth,
                "seed": seed,
                "weight_decay": 0.0,
                "snapshot": snapshot,
                "step": 10 * snapshot,
                "layer": f"layers.{index}",
                "layer_index": index + 1,
                "tautological": float(index == depth - 1),
                **columns,
            }
            rows.append(row | changes)
    return rows


# --- spectra for the page ----------------------------------------------------------------------------------------


def test_packed_spectra_give_every_score_of_the_ones_they_were(measured):
    kept = [spectrum(0), spectrum(1, rank=2, size=1e-9), measured["0"].spectrum(), nothing()]
    packed = pack(kept)
    arrays = {name: decoded(text, "<i4" if name == "ranks" else "<f8") for name, text in packed.arrays.items()}
    assert packed.precision == "double"
    assert packed.places == (0, 1, 2, 3)
    assert arrays["ranks"].tolist() == [each.rank for each in kept]
    begin = 0
    for place, each in enumerate(kept):
        part = slice(begin, begin + each.rank)
        begin += each.rank
        again = Spectrum(
            eigenvalues=torch.tensor(arrays["ratios"][part]),
            energies=torch.tensor(arrays["energies"][part]),
            off_energy=float(arrays["rests"][place]),
            sums=torch.tensor(arrays["squares"][part]).sqrt(),
            trace=float(arrays["traces"][place]),
            total=float(arrays["totals"][place]),
            dimension=int(arrays["dimensions"][place]),
            cut=0.0,
        )
        for exponent in (0.1, 0.5, 3.0):
            assert again.residual(exponent) == pytest.approx(each.residual(exponent), abs=1e-14)
            for comparator in ("cosine", "pearson", "traceless"):
                wanted = each.alignment(exponent, comparator)
                assert again.alignment(exponent, comparator) == pytest.approx(wanted, abs=1e-13, nan_ok=True)


def test_equal_spectra_are_kept_once():
    packed = pack([spectrum(0), spectrum(1), spectrum(0)])
    assert packed.places == (0, 1, 0)
    assert len(decoded(packed.arrays["ranks"], "<i4")) == 2
    assert pack([]).places == ()


def test_weights_of_zero_divide_by_nothing():
    zero = ansatz_spectrum(torch.zeros(2, 3, dtype=torch.float64), gram=torch.eye(2, dtype=torch.float64))
    packed = pack([zero])
    for name in ("rests", "traces", "totals", "energies"):
        assert not decoded(packed.arrays[name]).any()


def test_many_numbers_are_kept_in_single_precision(monkeypatch):
    monkeypatch.setattr(triples, "DOUBLE_NUMBERS", 20)
    packed = pack([spectrum(0), spectrum(1, rank=4)])
    assert packed.precision == "single"
    ratios = decoded(packed.arrays["ratios"], "<f4")
    assert ratios[:4] == pytest.approx(spectrum(0).powers(1.0).numpy(), rel=1e-6)
    assert "single precision" in " ".join(view(live_runs(to_table(run_rows(snapshots=1)))).notes)


def test_the_slider_hits_what_people_ask_for_and_is_fine_elsewhere():
    found = stops([0.37, 17.0])
    assert {1.0, 1 / 2, 1 / 3, 1 / 4, 1 / 7, 2.0, 3.0, 0.37} <= set(found)
    assert found == sorted(set(found))
    assert (found[0], found[-1]) == (SMALLEST, LARGEST)
    assert np.diff(np.log(found)).max() < 0.01


# --- measurements ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "convention",
    [Convention(THIRD), Convention(0.5, "pearson"), Convention(1.0, centered=True), Convention(0.7, init_removed=True)],
)
def test_the_draws_are_those_of_the_verdicts_null(measured, convention):
    for layer in list(measured.values())[:2]:
        null = judge(layer, convention).null
        drawn = turned_spectra(layer, convention, Criteria())
        values = [each.alignment(convention.exponent, convention.comparator) for each in drawn]
        assert (fmean(values), stdev(values)) == (null.mean, null.sd)
        residuals = [each.residual(convention.exponent) for each in drawn]
        assert (fmean(residuals), stdev(residuals)) == (null.residual_mean, null.residual_sd)


def test_a_measurement_has_every_layer_with_its_null_and_its_start(measured):
    rows = read_layers(measured, dict.fromkeys(measured, (Convention(THIRD),)))
    live = live_measurement(measured, rows)
    assert [each.labels["layer"] for each in live.series] == ["0", "2", "4"]
    for each, layer in zip(live.series, measured.values(), strict=True):
        assert each.spectrum.residual(THIRD) == layer.spectrum().residual(THIRD)
        assert each.start.residual(THIRD) == layer.start.spectrum().residual(THIRD)
        assert each.tautological == layer.tautological
    assert [len(each.draws) for each in live.series] == [20, 20, 0]  # of a tautology nothing is drawn
    for each, row in zip(live.series[:2], rows[:2], strict=True):
        assert fmean(draw.alignment(THIRD) for draw in each.draws) == row.null_mean
    assert (live.exponent, live.score, live.structural) == (THIRD, "cosine", True)
    assert ("1/L = 1/3", THIRD) in live.presets
    assert live.own == "1/(L − l + 1), if the layers form a chain"
    assert [each.own for each in live.series] == [1 / 3, 1 / 2, 1.0]


def test_exponents_asked_for_by_layer_are_its_own(measured):
    plan = {name: (Convention(0.2 * (place + 1)),) for place, name in enumerate(measured)}
    live = live_measurement(measured, read_layers(measured, plan))
    assert [each.own for each in live.series] == pytest.approx([0.2, 0.4, 0.6])
    assert (live.exponent, live.own) == (None, "as asked for each layer")
    assert {0.2, 0.4} <= {exponent for _, exponent in live.presets}


def test_conventions_that_change_the_spectrum_are_series_and_others_are_not(measured):
    plan = dict.fromkeys(
        measured, (Convention(0.5), Convention(1.0), Convention(1.0, centered=True), Convention(1.0, init_removed=True))
    )
    live = live_measurement(measured, read_layers(measured, plan))
    first = [each for each in live.series if each.labels["layer"] == "0"]
    assert [(each.labels["gradient"], each.labels["weights"]) for each in first] == [
        ("as they are", "W"),
        ("mean taken out", "W"),
        ("as they are", "W − W₀"),
    ]
    assert first[1].spectrum.residual(1.0) == measured["0"].spectrum(centered=True).residual(1.0)
    assert first[2].start is None
    assert [each.name for each in view(live).filters] == ["layer", "gradients", "weights"]


def test_parts_are_series_of_their_own():
    torch.manual_seed(0)
    measurement = measure(gru(), [torch.randn(12, 4, 5, dtype=torch.float64)])
    rows = read_layers(measurement, dict.fromkeys(measurement, (Convention(0.5),)), parts=True)
    live = live_measurement(measurement, rows)
    names = [each.labels["layer"] for each in live.series]
    assert len(names) == len(set(names)) == len(rows)
    assert any(" › " in str(name) for name in names)


def test_layers_that_could_not_be_read_are_left_out(measured):
    rows = read_layers(measured, dict.fromkeys(measured, (Convention(0.5),)))
    lost = [replace(rows[0], verdict="unsupported"), *rows[1:]]
    assert [each.labels["layer"] for each in live_measurement(measured, lost).series] == ["2", "4"]
    assert live_measurement(measured, lost[:1]) is None
    assert live_measurement(Measurement({}, {}), []) is None
    assert view(None) is None


def test_a_null_too_large_for_the_page_is_kept_at_exponents_and_exact_at_those_asked_for(measured, monkeypatch):
    monkeypatch.setattr(live_view, "DRAWN_NUMBERS", 50)
    monkeypatch.setattr(live_view, "GRID", 7)
    rows = read_layers(measured, dict.fromkeys(measured, (Convention(0.37),)))
    seen = view(live_measurement(measured, rows))
    curves = seen.data["null_curves"]
    grid = curves["grid"]
    assert 0.37 in grid
    assert len(grid) < 20
    table = decoded(curves["tables"]["cosine"]).reshape(3, len(grid), 2)
    for place, row in enumerate(rows[:2]):
        assert table[place, grid.index(0.37)] == pytest.approx([row.null_mean, row.null_sd], rel=1e-12)
    assert np.isnan(table[2]).all()
    assert "interpolated" in " ".join(seen.notes)
    assert set(decoded(seen.data["draws"], "<i4")) == {0}


def test_what_the_page_is_given_is_json(measured):
    rows = read_layers(measured, dict.fromkeys(measured, (Convention(0.5),)))
    for seen in (view(live_measurement(measured, rows)), view(live_runs(to_table(run_rows())))):
        json.dumps(seen.data, allow_nan=False)


# --- runs --------------------------------------------------------------------------------------------------------


def test_of_every_run_the_end_and_the_start_and_of_some_the_training():
    rows = run_rows(depth=3)
    live = live_runs(to_table(rows))
    assert [each.labels["layer"] for each in live.series] == ["1 · layers.0", "2 · layers.1", "3 · layers.2"]
    for index, each in enumerate(live.series):
        mine = [row for row in rows if row["layer_index"] == index + 1]
        assert each.spectrum.residual(0.5) == spectrum_of(mine[-1]).residual(0.5)
        assert each.start.residual(0.5) == spectrum_of(mine[0]).residual(0.5)
        assert [moment.step for moment in each.moments] == [0, 10, 20]
        assert [moment.spectrum.residual(0.5) for moment in each.moments] == [
            spectrum_of(row).residual(0.5) for row in mine
        ]
    assert [each.own for each in live.series] == [1 / 3, 1 / 2, 1.0]
    assert [each.tautological for each in live.series] == [False, False, True]
    assert live.presets == (("1/3", 1 / 3), ("1/2", 0.5), ("1", 1.0))
    assert not live.structural
    assert live.notes == ()


def test_a_single_snapshot_has_no_start_and_no_training():
    live = live_runs(to_table(run_rows(snapshots=1)))
    assert all(each.start is None and each.moments == () for each in live.series)
    assert not view(live).trained


def test_tables_without_spectra_have_no_live_section():
    table = to_table(run_rows())
    assert live_runs(table.drop_columns(["off_energy"])) is None
    assert live_runs(to_table([])) is None
    bare = [row | {"eigenvalues": None, "energies": None, "sums": None} for row in run_rows()]
    assert live_runs(to_table(bare)) is None
    assert live_runs(to_table(run_rows(status="failed"))) is None


def test_runs_that_are_not_drawn_are_counted():
    lost = [row | {"eigenvalues": None} for row in run_rows(seed=3)]
    rows = [*run_rows(seed=0), *run_rows(seed=1, status="diverged"), *run_rows(seed=2, status="failed"), *lost]
    live = live_runs(to_table(rows))
    assert {each.run for each in live.series} == {"2-0"}
    assert live.notes == ("Not drawn, of 4 runs: 1 that diverged, 1 that failed, 1 without spectra.",)


def test_of_a_recording_with_a_failed_moment_the_others_are_drawn():
    rows = run_rows()
    for row in rows[-2:]:
        row["status"] = "failed"
    live = live_runs(to_table(rows))
    assert [len(each.moments) for each in live.series] == [2, 2]
    assert live.notes == ()


def test_layers_without_a_place_in_a_chain_have_no_exponent_of_their_own():
    live = live_runs(to_table(run_rows(depth=2, layer_index=7, snapshots=1)[:1]))
    assert math.isnan(live.series[0].own)
    live = live_runs(to_table([row | {"depth": 0} for row in run_rows()]))
    assert (live.own, live.exponent) == ("", 0.5)
    assert live_runs(to_table(run_rows()), exponent=0.25).exponent == 0.25


def test_a_collapsed_layer_is_kept_and_has_no_number():
    live = live_runs(to_table([row | nothing().columns() for row in run_rows(snapshots=1)]))
    assert [each.spectrum.rank for each in live.series] == [0, 0]
    assert decoded(view(live).data["spectra"]["ranks"], "<i4").tolist() == [0]


def test_the_first_planned_experiment_is_chosen_at_first():
    rows = [*run_rows(seed=0, experiment="late"), *run_rows(seed=1, experiment="early")]
    assert live_runs(to_table(rows), planned=["2-1", "2-0"]).chosen == {"experiment": ("early",)}
    seen = view(live_runs(to_table(rows), planned=["gone", "2-0"]))
    (experiments,) = [each for each in seen.filters if each.key == "experiment"]
    assert dict(zip(experiments.values, experiments.chosen, strict=True)) == {"early": False, "late": True}


def test_what_varies_is_a_filter_and_what_does_not_is_told():
    rows = [row for seed in (0, 1) for row in run_rows(depth=2 + seed, seed=seed)]
    seen = view(live_runs(to_table(rows)))
    assert [each.name for each in seen.filters] == ["layer", "depth L", "seed"]
    assert "optimiser adam" in seen.common
    assert "decay λ 0" in seen.common
    assert seen.filters[1].values == ("2", "3")
    codes = decoded(seen.data["labels"][1]["codes"], "<u2")
    depths = [seen.filters[1].values[code] for code in codes]
    assert depths == [str(each.labels["depth"]) for each in seen.live.series]


def test_a_label_of_too_many_values_is_named_and_no_filter(monkeypatch):
    monkeypatch.setattr(live_view, "MANY_VALUES", 2)
    rows = [row for seed in range(3) for row in run_rows(seed=seed, snapshots=1)]
    seen = view(live_runs(to_table(rows)))
    assert [each.key for each in seen.filters] == ["layer"]
    assert seen.notes == ("Not offered as filters: seed (3 values).",)


def test_training_is_shown_of_a_sample_that_is_told(monkeypatch):
    monkeypatch.setattr(runs_module, "CURVES", 2)
    rows = [row for seed in range(5) for row in run_rows(seed=seed)]
    live = live_runs(to_table(rows))
    assert len({each.run for each in live.series}) == 5
    assert len({each.run for each in live.series if each.moments}) == 2
    assert live.notes == ("Over training: a sample of 2 of 5 runs, in which every setting has its share.",)


def test_a_store_too_large_for_a_page_is_sampled_and_it_is_said(monkeypatch):
    rows = [row for seed in range(6) for row in run_rows(seed=seed)]
    one = 2 * 2 * 3 * 4  # two layers, their first and last snapshot, λ, b and 1ᵀv of rank four
    monkeypatch.setattr(runs_module, "ENDS", 4 * one)
    live = live_runs(to_table(rows))
    assert len({each.run for each in live.series}) == 4
    assert live.notes[0] == "A sample of 4 of 6 runs, in which every setting has its share."


def test_long_trainings_are_thinned_and_keep_their_ends():
    live = live_runs(to_table(run_rows(depth=1, snapshots=95)))
    (each,) = live.series
    steps = [moment.step for moment in each.moments]
    assert len(steps) == runs_module.SNAPSHOTS
    assert (steps[0], steps[-1]) == (0, 940)
    assert live.notes == ("Over training: 40 snapshots of a run, evenly among up to 95.",)


def test_a_value_that_shares_its_other_labels_with_others_is_not_forgotten():
    rates = {"gd": 0.5, "sgd": 0.02, "adam": 0.003, "adamw": 0.003, "rmsprop": 0.001}
    grid = [
        {"optimizer": name, "rate": rate, "decoupled": name == "adamw", "seed": seed, "depth": depth}
        for name, rate in rates.items()
        for seed in range(10)
        for depth in range(4)
    ]
    chosen = [grid[place] for place in balanced_sample(grid, 50)]
    for name in rates:
        assert 8 <= sum(each["optimizer"] == name for each in chosen) <= 12


def test_a_sample_takes_every_value_of_every_label_equally_often():
    grid = [{"a": a, "b": b, "c": c} for a in range(4) for b in range(6) for c in range(5)]
    chosen = [grid[place] for place in balanced_sample(grid, 60)]
    for name, values in (("a", 4), ("b", 6), ("c", 5)):
        counts = np.bincount([each[name] for each in chosen], minlength=values)
        assert counts.max() - counts.min() <= 2, name
    assert balanced_sample(grid, 60) == balanced_sample(grid, 60)
    assert balanced_sample(grid[:3], 9) == [0, 1, 2]


# --- labels ------------------------------------------------------------------------------------------------------


def test_labels_are_the_settings_of_a_grid():
    axes = {
        **{"data": "linnerud", "depth": 3, "width": 4, "weight_decay": 0.01, "seed": 5, "snapshots": 2},
        "optimizer": {"name": "gd", "learning_rate": {"kind": "sharpness", "fraction": 0.5}, "steps": 3},
    }
    (spec,) = expand(axes, "here")
    row = {"spec": spec.canonical(), "experiment": "sweep", "seed": 5, **spec.identity(), "learning_rate": 0.123}
    found = labels_of(row)
    assert (found["optimizer"], found["depth"], found["width"], found["seed"]) == ("gd", 3, 4, 5)
    assert found["learning_rate"] == "0.5 of sharpness"  # the rule, not what it came to
    assert found["weight_decay"] == 0.01


def test_labels_of_a_task_have_its_options_and_of_no_spec_the_columns():
    row = {
        **{"experiment": "e", "data": "d", "dynamics": "sgd", "depth": 0, "seed": 1, "weight_decay": 0.5},
        "learning_rate": 0.1,
    }
    found = labels_of(row | {"spec": json.dumps({"task": "a:b", "options": {"family": "x", "widths": [1, 2]}})})
    assert (found["family"], found["widths"], found["data"]) == ("x", "[1, 2]", "d")
    bare = labels_of(row | {"spec": "{}"})
    assert (bare["optimizer"], bare["depth"], bare["learning_rate"]) == ("sgd", None, 0.1)


def gru():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.core, self.head = nn.GRU(5, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, inputs):
            return self.head(self.core(inputs)[0][:, -1])

    return Net().double()
