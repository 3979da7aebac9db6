"""Each kind of figure on tables whose numbers are known."""

import json
import math
import zlib
from dataclasses import asdict, replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch import nn

from ansatzlab.errors import InputError, UnknownNameError
from ansatzlab.laws.figure import Figure, HeatMap
from ansatzlab.laws.judge import judge
from ansatzlab.laws.registry import get_law
from ansatzlab.laws.runs import RunTable
from ansatzlab.linalg.exponent import fit_exponent
from ansatzlab.linalg.null import haar_null
from ansatzlab.linalg.similarity import cosine, pearson
from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.run import measure
from ansatzlab.measurement.verdict import judge as verdict_of
from ansatzlab.report.figures.dots import DotPlot, draw_dots
from ansatzlab.report.figures.kinds.claims import LARGEST, SMALLEST, verdicts
from ansatzlab.report.figures.kinds.courses import exponent, imbalance, loss, training
from ansatzlab.report.figures.kinds.grouping import MOST
from ansatzlab.report.figures.kinds.layers import layers
from ansatzlab.report.figures.kinds.maps import settings_map
from ansatzlab.report.figures.kinds.measured import measured_table
from ansatzlab.report.figures.kinds.options import Options
from ansatzlab.report.figures.kinds.registry import KINDS, draw, possible
from ansatzlab.report.figures.kinds.spectral import alignment, residual, spectrum
from ansatzlab.report.settings import setting_words, settings_of, telling_settings
from ansatzlab.store.parquet import Store
from ansatzlab.store.schema import BASE_SCHEMA, to_table
from ansatzlab.sweeps.grid import grid
from ansatzlab.sweeps.sweep import sweep

LAMBDA = np.array([4.0, 2.0, 1.0])


def spectral(alpha=0.5, off=0.0, values=LAMBDA):
    """Columns of a layer whose weight Gram matrix is the AGOP to the power alpha, and something beside it."""
    energies = values**alpha
    return {
        "eigenvalues": values.tolist(),
        "energies": energies.tolist(),
        "sums": [1.0] * len(values),
        "off_energy": off,
        "trace": float(energies.sum()),
        "total": float(energies.sum()),
        "dimension": 5.0,
        "cut": 1e-15,
    }


def spec(optimizer="gd", seed=0, depth=2, decay=0.0, flow=False, **other):
    dynamics = (
        {"kind": "flow", "flow_time": 5.0} if flow else {"kind": "optimizer", "name": "SGD", "learning_rate": 0.1}
    )
    if optimizer != "gd" and not flow:
        dynamics["name"] = optimizer.capitalize()
    return {
        "experiment": "planted",
        "seed": seed,
        "data": {"name": "d", "seed": 0},
        "model": {"kind": "deep_linear", "hidden": [4] * (depth - 1)},
        "init": {"scheme": "balanced", "scale": 1.0},
        "dynamics": {**dynamics, "weight_decay": decay},
        "loss": "square",
        **other,
    }


def row(spec, snapshot=0, layer=1, *, run_id=None, clock=None, **columns):
    depth = len(spec["model"]["hidden"]) + 1
    flow = spec["dynamics"]["kind"] == "flow"
    return {
        **dict.fromkeys(BASE_SCHEMA.names),
        "run_id": run_id or f"r{zlib.crc32(json.dumps(spec, sort_keys=True).encode())}",
        "experiment": spec["experiment"],
        "spec": json.dumps(spec),
        "status": "finished",
        "data": "d",
        "dynamics": "flow" if flow else spec["dynamics"]["name"],
        "depth": depth,
        "seed": spec["seed"],
        "weight_decay": spec["dynamics"]["weight_decay"],
        "snapshot": snapshot,
        "step": None if flow else (10**snapshot if snapshot else 0),
        "flow_time": float(snapshot) if clock is None else clock,
        "loss": 1.0 / (snapshot + 1),
        "layer": f"layers.{layer - 1}",
        "layer_index": layer,
        **columns,
    }


def table(*rows):
    return to_table(list(rows))


def curves(figure):
    return {curve.label: curve for curve in figure.curves}


def matrices(columns, alpha, dimension=5):
    """The full weight Gram matrix and the AGOP's power, from the definitions, in the eigenbasis."""
    power, gram = np.zeros((dimension, dimension)), np.zeros((dimension, dimension))
    rank = len(columns["eigenvalues"])
    power[range(rank), range(rank)] = np.array(columns["eigenvalues"]) ** alpha
    gram[range(rank), range(rank)] = columns["energies"]
    gram[rank, rank] = columns["off_energy"]
    return torch.tensor(gram), torch.tensor(power)


# --- against the exponent ----------------------------------------------------------------------------------------


def test_alignment_is_the_cosine_of_the_full_matrices_at_every_exponent_and_one_at_the_planted():
    columns = spectral(alpha=0.4, off=0.3)
    figure = alignment(table(row(spec(), **columns)), options=Options(exponent=0.4))
    curve = figure.curves[0]
    assert curve.label == "layers.0"
    assert curve.low == ()  # one run has no spread
    for x, y in list(zip(curve.x, curve.y, strict=True))[::7]:
        assert y == pytest.approx(cosine(*matrices(columns, x)), abs=1e-12)
    assert curve.x[int(np.argmax(curve.y))] == 0.4
    assert not figure.y_log


def test_the_comparator_changes_what_is_drawn_and_the_null_band_is_for_cosines_only():
    columns = spectral(alpha=0.4)
    one = table(row(spec(), **columns))
    figure = alignment(one, options=Options(comparator="pearson"))
    assert [curve.dashed for curve in figure.curves] == [False]
    found = dict(zip(figure.curves[0].x, figure.curves[0].y, strict=True))
    x = max(found)
    power = LAMBDA**x
    ones = np.ones(3)  # vᵀ1 of the planted eigenvectors
    mean, total, d = float(power @ ones) / 5, columns["total"], 5
    inner = power @ columns["energies"] - mean * total / d
    target = np.sum(np.square(columns["energies"])) - (total / d) ** 2
    assert found[x] == pytest.approx(inner / math.sqrt((power @ power - mean**2) * target), abs=1e-12)
    assert pearson(torch.eye(3), torch.eye(3)) == pytest.approx(1.0)
    assert "Pearson" in figure.y_label


def test_the_null_band_is_the_haar_null():
    columns = spectral()
    band = alignment(table(row(spec(), **columns))).curves[-1]
    assert band.dashed
    spectrum_ = Spectrum(
        *(torch.tensor(columns[name], dtype=torch.float64) for name in ("eigenvalues", "energies")),
        off_energy=0.0,
        sums=torch.ones(3, dtype=torch.float64),
        trace=columns["trace"],
        total=columns["total"],
        dimension=5,
        cut=1e-15,
    )
    for x, mean, low, high in list(zip(band.x, band.y, band.low, band.high, strict=True))[::20]:
        null = haar_null(spectrum_, x)
        assert mean == pytest.approx(null.mean)
        assert high == pytest.approx(null.mean + 2 * null.sd)
        assert low == pytest.approx(max(null.mean - 2 * null.sd, 0.0))


def test_residual_has_its_minimum_at_the_planted_exponent():
    figure = residual(table(row(spec(), **spectral(alpha=1 / 3))), options=Options(exponent=1 / 3))
    (curve,) = figure.curves
    assert curve.x[int(np.argmin(curve.y))] == 1 / 3
    assert min(curve.y) < 1e-15
    assert sorted(curve.y)[1] > 1e-4


def test_only_the_last_snapshot_of_each_run_is_drawn():
    early, late = spectral(alpha=1.0), spectral(alpha=0.5)
    (curve, _) = alignment(table(row(spec(), 0, **early), row(spec(), 1, **late))).curves
    assert curve.x[int(np.argmax(curve.y))] == 0.5


def test_several_runs_are_a_median_with_its_spread():
    runs = [row(spec(seed=seed), run_id=f"s{seed}", **spectral(off=off)) for seed, off in enumerate((0.0, 1.0, 3.0))]
    figure = alignment(table(*runs), options=Options(exponent=0.5))
    curve = figure.curves[0]
    place = curve.x.index(0.5)
    norm = math.sqrt(float(np.sum(LAMBDA)))  # of the part that the power can reach
    cosines = [norm / math.hypot(norm, off) for off in (0.0, 1.0, 3.0)]
    assert (curve.high[place], curve.y[place], curve.low[place]) == pytest.approx(cosines)
    assert "3 runs" in figure.caption


# --- spectra -----------------------------------------------------------------------------------------------------


def test_spectra_are_relative_to_the_largest_and_a_store_has_energies():
    figure = spectrum(table(row(spec(), **spectral(alpha=0.5))))
    drawn = curves(figure)
    assert drawn["layers.0, AGOP"].y == pytest.approx(LAMBDA / 4)
    assert drawn["layers.0, WᵀW"].y == pytest.approx(np.sqrt(LAMBDA / 4))
    assert "energies" in figure.caption


def test_a_measurement_has_the_eigenvalues_of_its_weights():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    m = measure(model, [torch.randn(20, 6, dtype=torch.float64)])
    figure = spectrum(measured_table(m, dict.fromkeys(m, Convention(0.5))), options=Options(layers=("0",)))
    eigenvalues = torch.linalg.eigvalsh(m["0"].weight_gram()).flip(0)[:4]
    assert curves(figure)["0, WᵀW"].y == pytest.approx((eigenvalues / eigenvalues[0]).tolist())
    agop = torch.linalg.eigvalsh(m["0"].agop()).flip(0)[:4]
    assert curves(figure)["0, AGOP"].y == pytest.approx((agop / agop[0]).tolist())
    assert "the eigenvalues of WᵀW" in figure.caption
    assert "snapshot" not in figure.caption


# --- which runs and layers ---------------------------------------------------------------------------------------


def test_a_tautological_layer_is_left_out_unless_it_is_asked_for_or_alone():
    rows = [row(spec(), layer=1, tautological=0.0, **spectral()), row(spec(), layer=2, tautological=1.0, **spectral())]
    assert list(curves(residual(table(*rows)))) == ["layers.0"]
    assert "tautology" in residual(table(*rows)).caption
    assert list(curves(residual(table(*rows), options=Options(layers=("layers.1",))))) == ["layers.1"]
    assert list(curves(residual(table(rows[1])))) == ["layers.1"]


def test_an_unknown_layer_is_refused_by_name():
    with pytest.raises(UnknownNameError, match=r"unknown layer 'fc'.*layers\.0"):
        alignment(table(row(spec(), **spectral())), options=Options(layers=("fc",)))


def test_runs_that_did_not_finish_are_left_out_and_counted():
    lost = row(spec(seed=1), run_id="lost", **spectral(alpha=2.0)) | {"status": "diverged", "error": "nan"}
    figure = residual(table(row(spec(), run_id="kept", **spectral()), lost))
    assert len(figure.curves) == 1
    assert figure.curves[0].low == ()
    assert "1 run that did not finish is left out" in figure.caption
    with pytest.raises(InputError, match="none of its 1 rows is of a finished run"):
        residual(table(lost))


def test_curves_are_told_apart_by_as_few_settings_as_do_it():
    runs = [
        row(spec(optimizer, seed=seed, depth=depth), run_id=f"{optimizer}{seed}{depth}", **spectral())
        for optimizer in ("gd", "adam")
        for seed in (0, 1)
        for depth in (2, 3)
    ]
    assert list(curves(residual(table(*runs)))) == ["adam, L = 2", "adam, L = 3", "gd, L = 2", "gd, L = 3"]
    by_depth = residual(table(*runs), options=Options(by=("depth",)))
    assert list(curves(by_depth)) == ["L = 2", "L = 3"]
    assert "Pooled are runs that differ in optimizer." in by_depth.caption
    assert "4 runs" in by_depth.caption
    by_run = residual(table(*runs), options=Options(by=("run_id",)))
    assert len(by_run.curves) == 8


def test_too_many_curves_are_pooled_unasked_and_refused_where_it_was_said_what_to_tell_apart():
    runs = [
        row(spec(optimizer, decay=decay), run_id=f"{optimizer}{decay}", **spectral())
        for optimizer in ("gd", "adam")
        for decay in np.linspace(0.1, 1, MOST).tolist()
    ]
    figure = residual(table(*runs))
    assert list(curves(figure)) == ["adam", "gd"]
    assert "Pooled are runs that differ in weight_decay." in figure.caption
    with pytest.raises(InputError, match=rf"got {2 * MOST} curves; wanted at most {MOST}.*weight_decay \({MOST}\)"):
        residual(table(*runs), options=Options(by=("optimizer", "weight_decay")))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"by": ("depth", "depth")}, "each name once"),
        ({"exponent": 0.0}, "exponent: got 0.0"),
        ({"exponent": math.inf}, "wanted a positive number"),
        ({"comparator": "cosinus"}, "did you mean 'cosine'"),
        ({"score": "loss"}, "unknown score 'loss'"),
        ({"clock": "hours"}, "unknown clock 'hours'"),
    ],
)
def test_options_that_mean_nothing_are_refused(wrong, told):
    unchecked = object.__new__(Options)  # beartype would refuse the words first
    for name, value in {**asdict(Options()), **wrong}.items():
        object.__setattr__(unchecked, name, value)
    with pytest.raises(InputError, match=told):
        unchecked.__post_init__()


# --- over training -----------------------------------------------------------------------------------------------


def course(run_id="a", times=(0.0, 1.0, 2.0, 4.0), offs=(4.0, 3.0, 2.0, 1.0), **settings):
    return [
        row(spec(flow=True, **settings), snapshot, run_id=run_id, clock=time, **spectral(off=off))
        for snapshot, (time, off) in enumerate(zip(times, offs, strict=True))
    ]


def test_a_training_is_drawn_over_steps_or_the_flow_time_where_there_are_none():
    steps = training(table(*(row(spec(), snapshot, run_id="a", **spectral()) for snapshot in range(4))))
    assert (steps.x_label, steps.x_log) == ("step", True)
    assert steps.curves[0].x == (10.0, 100.0, 1000.0)
    assert "The start" in steps.caption
    flow = training(table(*course()))
    assert (flow.x_label, flow.x_log) == ("flow time", False)
    assert flow.curves[0].x == (0.0, 1.0, 2.0, 4.0)
    norm = math.sqrt(float(np.sum(LAMBDA)))
    assert flow.curves[0].y == pytest.approx([norm / math.hypot(norm, off) for off in (4, 3, 2, 1)])
    with pytest.raises(InputError, match=r"run a has no step; .* choose flow_time or snapshot"):
        training(table(*course()), options=Options(clock="step"))


def test_runs_seen_at_different_times_are_interpolated_between_their_snapshots():
    runs = [*course("a", (0.0, 2.0, 4.0), (1.0,) * 3), *course("b", (0.0, 1.0, 3.0), (0.0, 1.0, 3.0), seed=1)]
    figure = training(table(*runs), options=Options(score="residual"))
    (curve,) = figure.curves
    assert curve.x == (0.0, 1.0, 2.0, 3.0, 4.0)
    norm = math.sqrt(float(np.sum(LAMBDA)))
    at = [off / math.hypot(norm, off) for off in (0.0, 1.0, 3.0)]
    other = [at[0], at[1], (at[1] + at[2]) / 2, at[2]]
    assert curve.high == pytest.approx([*(max(at[1], value) for value in other), at[1]])  # the last of one run alone
    assert curve.low == pytest.approx([*(min(at[1], value) for value in other), at[1]])
    assert "interpolated between their snapshots, and do not count beyond them." in figure.caption
    assert "interpolated" not in training(table(*course())).caption


def test_runs_without_a_moment_in_common_are_not_pooled():
    runs = [*course("a", (0.0, 1.0), (1.0, 1.0)), *course("b", (2.0, 3.0), (1.0, 1.0), seed=1)]
    with pytest.raises(InputError, match="one ends at flow time 1 and another begins at 2; wanted runs with a moment"):
        training(table(*runs))
    assert len(training(table(*runs), options=Options(by=("run_id",))).curves) == 2


def test_the_interval_of_the_fit_is_told_of_single_runs_only():
    one, two = course(offs=(0.4,) * 4), course("b", offs=(0.4,) * 4, seed=1)
    told = "Where a curve is one run, the band is the interval of the fit."
    for draw_it, options in ((training, Options(score="exponent")), (exponent, Options())):
        figure = draw_it(table(*one), options=options)
        assert told in figure.caption
        assert figure.curves[0].low
        assert told not in draw_it(table(*one, *two), options=options).caption
    assert told not in training(table(*one)).caption


def test_the_exponent_has_the_interval_of_its_fit_and_the_layer_law_beside_it():
    rows = [row(spec(depth=3, flow=True), s, layer, run_id="a", clock=float(s), **spectral(0.5, 0.4))
            for s in range(3) for layer in (1, 2)]  # fmt: skip
    figure = exponent(table(*rows))
    drawn = curves(figure)
    found = fit_exponent(
        Spectrum(
            torch.tensor(LAMBDA), torch.tensor(LAMBDA**0.5), 0.4, torch.ones(3, dtype=torch.float64), 1.0, 1.0, 5, 1e-15
        )
    )
    assert drawn["layers.0"].y == pytest.approx([found.value] * 3)
    assert drawn["layers.0"].low == pytest.approx([found.low] * 3)
    assert drawn["layers.0"].high == pytest.approx([found.high] * 3)
    law = drawn["law 1/(L−l+1)"]
    assert law.dashed
    assert {y for y in law.y if not math.isnan(y)} == {1 / 3, 1 / 2}
    recorded = exponent(table(*(each | {"recorded_exponent": 0.9} for each in rows)))
    assert {y for y in curves(recorded)["law 1/(L−l+1)"].y if not math.isnan(y)} == {1 / 3, 1 / 2}
    apart = exponent(table(*(each | {"layer_index": 7} for each in rows if each["layer"] == "layers.0")))
    assert list(curves(apart)) == ["layers.0"]  # no law of a layer whose place is none


def test_no_law_is_drawn_beside_a_network_that_is_not_linear():
    rows = [row(spec(flow=True), s, run_id="a", clock=float(s), **spectral()) for s in range(2)]
    for each in rows:
        each["spec"] = each["spec"].replace("deep_linear", "mlp")
    assert all(not curve.dashed for curve in exponent(table(*rows)).curves)


def test_imbalance_and_loss_are_the_columns_themselves():
    rows = [
        row(spec(depth=3, flow=True), s, layer, run_id="a", imbalance_norm=None if layer == 3 else s + layer / 10)
        for s in range(3)
        for layer in (1, 2, 3)
    ]
    drawn = curves(imbalance(table(*rows)))
    assert list(drawn) == ["layers.0", "layers.1"]
    assert drawn["layers.1"].y == pytest.approx((0.2, 1.2, 2.2))
    (curve,) = loss(table(*rows)).curves
    assert curve.y == pytest.approx((1, 1 / 2, 1 / 3))
    assert curve.label == "loss"
    assert loss(table(*rows)).caption.startswith("The loss on all examples, without the penalty")
    recorded = [each | {"spec": json.dumps({"task": "recording", "options": {}, "seed": 0})} for each in rows]
    assert loss(table(*recorded)).caption.startswith("The loss that was recorded, over training.")


# --- layers, maps, claims ----------------------------------------------------------------------------------------


def dots(plot):
    return {each.label: each for each in plot.series}


def test_layers_stand_beside_their_start_and_a_null():
    rows = [
        row(spec(depth=3), s, layer, run_id="a", **spectral(0.5, off=3.0 - s)) for s in (0, 1, 2) for layer in (1, 2)
    ]
    plot = layers(table(*rows), options=Options(exponent=0.5))
    assert plot.rows == ("layers.0", "layers.1")
    norm = math.sqrt(float(np.sum(LAMBDA)))
    found = dots(plot)
    assert found["alignment at α = 0.5"].values == pytest.approx([norm / math.hypot(norm, 1)] * 2)
    assert found["start"].values == pytest.approx([norm / math.hypot(norm, 3)] * 2)
    assert found["start"].reference
    assert "random rotations, ± 2 sd" in found


def test_the_structural_null_is_drawn_at_its_own_exponent_only():
    one = table(row(spec(), run_id="a", null_residual=0.5, null_residual_sd=0.1, **spectral(0.5, off=0.4)))
    found = dots(layers(one, options=Options(score="residual")))  # 1/(L−l+1) = 1/2
    null = found["structural null, ± 2 sd"]
    assert (null.low, null.values, null.high) == (pytest.approx((0.3,)), (0.5,), pytest.approx((0.7,)))
    assert list(dots(layers(one, options=Options(score="residual", exponent=0.9)))) == ["residual at α = 0.9"]


def test_the_layers_of_a_measurement_have_its_errors_and_nulls():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    start = {name: value.clone() + 0.1 for name, value in model.state_dict().items()}
    m = measure(model, [torch.randn(40, 6, dtype=torch.float64)], initial=start)
    plot = layers(measured_table(m, dict.fromkeys(m, Convention(0.5)), nulls=True))
    assert plot.rows == ("0", "2")
    read, judged = m["0"].alignment(0.5), verdict_of(m["0"], Convention(0.5))
    found = dots(plot)
    own = found["alignment at α = 0.5"]
    assert (own.low[0], own.values[0], own.high[0]) == pytest.approx(
        (read.value - 2 * read.error, read.value, read.value + 2 * read.error)
    )
    assert found["structural null, ± 2 sd"].values[0] == pytest.approx(judged.null.mean)
    assert "Bars: two standard errors." in plot.caption
    plot = layers(measured_table(m, dict.fromkeys(m, Convention(0.5))), options=Options(score="exponent"))
    fit, own = m["0"].fit_exponent(), dots(plot)["best exponent α"]
    assert (own.low[0], own.values[0], own.high[0]) == pytest.approx((fit.low, fit.value, fit.high))
    assert "Bars: the interval of the fit." in plot.caption
    assert "standard errors" not in plot.caption
    assert found["start"].values[0] == pytest.approx(judged.start.value)


def test_bars_of_several_runs_reach_from_the_least_value_to_the_largest():
    runs = [row(spec(seed=seed), run_id=f"s{seed}", alignment_error=0.1, **spectral(off=seed)) for seed in (0, 1, 2)]
    plot = layers(table(*runs), options=Options())
    own = dots(plot)["alignment at α = 0.5"]
    norm = math.sqrt(float(np.sum(LAMBDA)))
    ends = [norm / math.hypot(norm, off) for off in (2, 1, 0)]
    assert (own.low[0], own.values[0], own.high[0]) == pytest.approx(ends)
    assert "Median over runs; bars reach from the least to the largest." in plot.caption
    assert "standard errors" not in plot.caption
    assert "Of a null they are the median over runs, and bars to the outermost ends." in plot.caption
    apart = layers(table(*runs), options=Options(by=("run_id",)))
    assert "Bars: two standard errors." in apart.caption
    assert "from the least" not in apart.caption
    mixed = layers(table(*runs, row(spec(depth=3), run_id="d", alignment_error=0.1, **spectral())))
    assert "Where a dot is one run, its bar is two standard errors." in mixed.caption


def test_a_map_has_the_median_of_every_cell_and_panels_by_a_third_setting():
    runs = [
        row(spec(optimizer, seed=seed, decay=decay, depth=depth), run_id=f"{optimizer}{seed}{decay}{depth}",
            **spectral(1 / depth, off=decay * (seed + 1)))
        for optimizer in ("gd", "adam") for seed in (0, 1, 2) for decay in (0.0, 1.0) for depth in (2, 3)
        if (optimizer, decay, depth) != ("adam", 1.0, 3)
    ]  # fmt: skip
    figure = settings_map(table(*runs), options=Options(by=("optimizer", "weight_decay", "depth"), score="residual"))
    first, second = figure.panels
    assert (first.rows, first.columns, first.title, second.title) == (("adam", "gd"), ("0", "1"), "L = 2", "L = 3")
    norm = math.sqrt(float(np.sum(LAMBDA)))
    assert first.values[0][1] == pytest.approx(2 / math.hypot(norm, 2))  # the median seed has off = 2
    assert math.isnan(second.values[0][1])
    assert second.marks[0][1] == ""
    assert figure.log
    assert figure.panels == settings_map(table(*runs), options=Options(by=("optimizer", "weight_decay", "depth"),
                                                                       score="residual")).panels  # fmt: skip


def test_a_map_of_one_or_four_settings_is_refused():
    runs = [row(spec(optimizer), run_id=optimizer, **spectral()) for optimizer in ("gd", "adam")]
    with pytest.raises(InputError, match="figure 'map': needs two settings that vary"):
        settings_map(table(*runs))
    runs += [row(spec("gd", depth=3), run_id="d", **spectral())]
    with pytest.raises(InputError, match=r"got 1 settings \(optimizer \(2\)\)"):
        settings_map(table(*runs), options=Options(by=("optimizer",)))
    with pytest.raises(InputError, match="wanted one; name one"):
        settings_map(table(*runs), options=Options(by=("optimizer", "depth"), layers=("layers.0", "layers.1")))


def finding(claim, threshold, value, low=None, high=None, outcome="HOLDS", counts=True):
    return {
        "claim": claim,
        "outcome": outcome,
        "counts": counts,
        "value": value,
        "low": value if low is None else low,
        "high": value if high is None else high,
        "threshold": threshold,
    }


def test_claims_are_drawn_relative_to_their_thresholds():
    rows = [
        finding("small", "≤ 1e-09", 5e-10, 1e-10, 2e-9),
        finding("large", "≥ 0.1", 0.4),
        finding("within", "in [0.9, 1.1]", 1.05, 0.98, 1.05),
        finding("beyond", "≤ 0.5", 2.0, outcome="FAILS"),
        finding("none", "≤ 0.5", math.nan, outcome="INCONCLUSIVE"),
        finding("shown", "≤ 2", 1.0, counts=False),
        finding("tiny", "≤ 1", 1e-30),
        finding("negative", "≥ 0.1", -3.0, outcome="FAILS"),
        finding("control", "≥ 16", 16.0, counts=False),
    ]
    plot = verdicts(pa.Table.from_pylist(rows))
    assert plot.rows == ("small", "large", "within", "beyond", "none", "shown", "tiny", "negative")
    found = dots(plot)
    assert found["holds"].rows == (0, 1, 2, 6)
    assert found["holds"].values == pytest.approx((0.5, 0.25, 0.5, SMALLEST))
    assert found["holds"].low == pytest.approx((0.1, 0.25, SMALLEST, SMALLEST))  # the middle lies in the spread
    assert found["holds"].high == pytest.approx((2.0, 0.25, 0.5, SMALLEST))
    assert found["fails"].values == pytest.approx((4.0, LARGEST))
    assert found["does not count"].reference
    assert "Without a value: none." in plot.caption


def test_every_finding_of_a_planted_law_is_on_its_side_of_the_line():
    law = get_law("tansley2025nfa").within("quick", ("linear",))
    for truth, side in ((True, "holds"), (False, "fails")):
        findings = judge(law, RunTable(law.planted(truth)))
        plot = verdicts(pa.Table.from_pylist([vars(each) for each in findings]))
        values = [value for each in plot.series if each.label == side for value in each.values]
        assert values
        assert all((value <= 1) == truth for value in values)


# --- the table of kinds ------------------------------------------------------------------------------------------


def test_what_a_table_cannot_feed_is_refused_with_what_is_missing_and_what_can_be_drawn():
    one = table(row(spec(), **spectral()))
    with pytest.raises(InputError, match=r"figure 'training': needs a second snapshot.*alignment, residual"):
        draw("training", one)
    with pytest.raises(InputError, match="needs values in imbalance_norm"):
        draw("imbalance", one)
    with pytest.raises(UnknownNameError, match="did you mean 'alignment'"):
        draw("aligment", one)
    assert [kind.key for kind in possible(one)] == ["alignment", "residual", "spectrum", "layers"]
    with pytest.raises(InputError, match="needs values in eigenvalues"):
        alignment(table(row(spec())))
    with pytest.raises(InputError, match="of it can be drawn: none"):
        draw("alignment", pa.Table.from_pylist([]))


def test_a_layer_without_an_exponent_of_its_own_needs_one():
    one = table(row(spec(), layer=3, **spectral()), row(spec(), 1, layer=3, **spectral()))
    with pytest.raises(InputError, match="is layer 3 of 2"):
        training(one)
    assert training(one, options=Options(exponent=0.5)).curves[0].y == pytest.approx((1.0,) * 2)


def test_a_recording_is_read_at_its_own_exponent():
    rows = [row(spec(depth=3), s, run_id="a", recorded_exponent=0.5, **spectral(0.5)) for s in (0, 1)]
    figure = training(table(*rows), options=Options(score="residual"))
    assert figure.y_label == "residual at α = 0.5"
    assert max(figure.curves[0].y) < 1e-12


def recorded(momentum, run_id, **columns):
    told = {"task": "recording", "experiment": "e", "seed": 0, "options": {"momentum": momentum, "loss": "square"}}
    rows = [row(spec(), snapshot, run_id=run_id, **spectral(off=momentum), **columns) for snapshot in (0, 1)]
    return [each | {"spec": json.dumps(told)} for each in rows]


def test_settings_of_the_users_own_tell_runs_apart():
    runs = table(*recorded(0.0, "a"), *recorded(0.9, "b"))
    assert list(curves(training(runs))) == ["momentum 0", "momentum 0.9"]
    assert list(curves(training(runs, options=Options(by=("momentum",))))) == ["momentum 0", "momentum 0.9"]
    together = training(runs, options=Options(by=("optimizer",)))
    assert len(together.curves) == 1
    assert "Pooled are runs that differ in momentum." in together.caption
    with pytest.raises(UnknownNameError, match=r"unknown setting of by 'colour'.*momentum"):
        training(runs, options=Options(by=("colour",)))


def test_a_map_is_drawn_over_settings_of_the_users_own():
    def at(momentum, batch):
        told = {"task": "recording", "options": {"momentum": momentum, "clip": batch}, "seed": 0}
        return row(spec(), run_id=f"{momentum}{batch}", **spectral()) | {"spec": json.dumps(told)}

    runs = table(*(at(momentum, batch) for momentum in (0.0, 0.9) for batch in (1, 2)))
    (panel,) = settings_map(runs, options=Options(by=("momentum", "clip"))).panels
    assert (panel.rows, panel.columns) == (("0", "0.9"), ("1", "2"))
    with pytest.raises(UnknownNameError, match="unknown setting of by 'colour'"):
        settings_map(runs, options=Options(by=("momentum", "colour")))


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    specs = grid(
        data="linnerud",
        depth=[2, 3],
        width=3,
        init="gaussian",
        optimizer=[{"name": "gd", "steps": 30}, {"name": "adam", "steps": 30}],
        learning_rate=0.01,
        seed=[0, 1],
        snapshots=4,
        observe=["ansatz", "balance", "null"],
    )
    return sweep(specs, store=Store.open(tmp_path_factory.mktemp("kinds") / "out"))


@pytest.mark.parametrize("key", sorted(set(KINDS) - {"verdicts"}))
def test_every_kind_draws_a_real_sweep_and_says_what_it_is(swept, key):
    drawn = draw(key, swept)
    assert isinstance(drawn, Figure | HeatMap | DotPlot)
    assert drawn.key == key
    assert drawn.caption.endswith(".")
    assert KINDS[key].says
    assert drawn == draw(key, swept)  # a function of the table alone


def test_a_real_null_is_beside_the_residual_of_its_layer(swept):
    assert "structural null, ± 2 sd" in dots(layers(swept, options=Options(score="residual")))


def test_a_table_of_a_measurement_has_no_layers_that_cannot_be_read():
    torch.manual_seed(0)
    coarse = nn.Sequential(nn.Linear(900, 900), nn.Linear(900, 2)).bfloat16()
    m = measure(coarse, [torch.randn(2, 900, dtype=torch.bfloat16)], check="never")
    with pytest.raises(InputError, match="no layer has a spectrum that can be read"):
        measured_table(m, {"0": Convention(0.5)})


def test_what_is_not_usual_about_a_reading_is_in_the_caption():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 3)).double()
    m = measure(model, [torch.randn(9, 4, dtype=torch.float64)])
    found = residual(measured_table(m, dict.fromkeys(m, Convention(0.5, centered=True))))
    assert "Read with mean gradient taken out." in found.caption


# --- dots and settings -------------------------------------------------------------------------------------------


def test_dots_that_do_not_fit_their_rows_are_refused(swept):
    plot = layers(swept)
    for wrong in (replace(plot.series[0], rows=(7,)), replace(plot.series[0], low=())):
        with pytest.raises(InputError, match=r"figure 'layers', series .*wanted a row that is there"):
            draw_dots(replace(plot, series=(wrong,)))


def test_runs_are_told_apart_by_what_differs_and_not_by_what_follows_from_it():
    found = [settings_of(spec("gd")), settings_of(spec("adam")), settings_of(spec("adam", seed=1))]
    assert telling_settings(found) == ("optimizer",)
    assert setting_words("learning_rate", 0.1) == "η = 0.1"
    assert setting_words("batch_size", 32) == "batch_size 32"
