import json
import math
import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.testing import assert_close

from ansatzlab.laws.runs import Row, RunTable, median_curve, spectrum_of
from ansatzlab.linalg.spectrum import ansatz_spectrum
from ansatzlab.store.schema import BASE_SCHEMA, to_table


def rows(run_id: str, snapshots: int = 3, **values: object) -> list[Row]:
    """A run of depth 2 (unless said otherwise) in which every row knows its snapshot and layer."""
    base = dict.fromkeys(BASE_SCHEMA.names) | {
        "run_id": run_id,
        "experiment": "e",
        "spec": "{}",
        "status": "finished",
        "data": "digits",
        "dynamics": "flow",
        "depth": 2,
        "seed": 0,
        "weight_decay": 0.0,
    }
    base |= values
    return [
        base | {"snapshot": snapshot, "layer": f"layers.{layer - 1}", "layer_index": layer, "x": snapshot + layer / 10}
        for snapshot in range(snapshots)
        for layer in range(1, int(base["depth"]) + 1)
    ]


def failed(run_id: str, status: str, **values: object) -> list[Row]:
    """A run that stopped before its first snapshot: one row without a layer."""
    row = rows(run_id, 1, status=status, error="at once", **values)[0]
    return [row | {"snapshot": None, "layer": None, "layer_index": None, "x": None}]


def test_rows_are_sorted_into_runs_layers_and_snapshots() -> None:
    shuffled = random.Random(0).sample(both := rows("a", depth=3) + rows("b", depth=3, seed=1), len(both))
    first, second = RunTable(to_table(shuffled)).runs("e")
    assert (first.seed, second.seed, first.depth, len(first.layers)) == (0, 1, 3, 3)
    for layer in (1, 2, 3):
        np.testing.assert_array_equal(first.column("x", layer), np.arange(3) + layer / 10)
    np.testing.assert_array_equal(first.column("x"), first.column("x", 1))


def test_only_runs_of_the_experiment_are_returned() -> None:
    table = to_table(rows("a") + rows("b", experiment="other"))
    assert [run.experiment for run in RunTable(table).runs("other")] == ["other"]
    assert RunTable(table).runs("third") == []
    assert RunTable(BASE_SCHEMA.empty_table()).runs("e") == []


def test_runs_are_sorted_by_depth_decay_rate_and_seed() -> None:
    wanted = [
        (2, 0.0, None, 0),
        (2, 0.0, 0.1, 0),
        (2, 0.0, 0.1, 1),
        (2, 0.0, 0.2, 0),
        (2, 0.5, None, 0),
        (10, 0.0, None, 0),
    ]
    table = to_table(
        [
            row
            for index, (depth, decay, rate, seed) in enumerate(reversed(wanted))
            for row in rows(f"run{index}", 1, depth=depth, weight_decay=decay, learning_rate=rate, seed=seed)
        ]
    )
    found = [(run.depth, run.weight_decay, run.learning_rate, run.seed) for run in RunTable(table).runs("e")]
    assert [tuple(None if number != number else number for number in run) for run in found] == wanted


@pytest.mark.parametrize(("decay", "condition"), [(0.0, "L = 2"), (0.02, "L = 2, λ = 0.02"), (1.0, "L = 2, λ = 1")])
def test_the_condition_names_the_depth_and_the_decay_if_there_is_one(decay: float, condition: str) -> None:
    (run,) = RunTable(to_table(rows("a", weight_decay=decay))).runs("e")
    assert run.condition == condition


def test_a_null_in_a_column_is_nan_and_so_is_a_column_that_is_not_there() -> None:
    table = to_table([row | {"x": None if row["layer_index"] == 1 else row["x"]} for row in rows("a")])
    (run,) = RunTable(table).runs("e")
    assert np.isnan(run.column("x", 1)).all()
    np.testing.assert_array_equal(run.column("x", 2), [0.2, 1.2, 2.2])
    assert np.isnan(run.column("no such column")).all()


def test_a_flow_has_no_learning_rate() -> None:
    flow, descent = RunTable(to_table(rows("a") + rows("b", learning_rate=0.1))).runs("e")
    assert math.isnan(flow.learning_rate)
    assert descent.learning_rate == 0.1


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_run_that_did_not_finish_says_why_and_keeps_what_it_has(status: str) -> None:
    table = to_table(
        rows("finished") + rows("partial", seed=1, status=status, error="late") + failed("nothing", status, seed=2)
    )
    finished, partial, nothing = RunTable(table).runs("e")
    assert (finished.failure, partial.failure, nothing.failure) == ("", f"{status}: late", f"{status}: at once")
    assert [len(run.layers) for run in (finished, partial, nothing)] == [2, 2, 0]


def test_a_spectrum_survives_the_table() -> None:
    generator = torch.Generator().manual_seed(0)
    W = torch.randn(4, 6, dtype=torch.float64, generator=generator)
    R = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    spectrum = ansatz_spectrum(W, factor=R)
    columns = {
        "eigenvalues": spectrum.eigenvalues.tolist(),
        "energies": spectrum.energies.tolist(),
        "sums": spectrum.sums.tolist(),
        "off_energy": spectrum.off_energy,
        "trace": spectrum.trace,
        "total": spectrum.total,
        "dimension": float(spectrum.dimension),
        "cut": spectrum.cut,
    }
    (run,) = RunTable(to_table(rows("a", 1, **columns))).runs("e")
    (again,) = run.spectra(2)
    assert_close(vars(again), vars(spectrum), rtol=0, atol=0)
    for comparator in ("cosine", "pearson", "traceless"):
        assert again.alignment(0.4, comparator) == spectrum.alignment(0.4, comparator)
    assert vars(spectrum_of(columns)).keys() == vars(spectrum).keys()


def test_a_median_curve_shows_the_spread_over_seeds() -> None:
    per_seed = [np.array([1.0, 9.0]), np.array([2.0, 8.0]), np.array([6.0, 1.0])]
    curve = median_curve("L = 2", [0.0, 1.0], per_seed)
    assert (curve.label, curve.x, curve.dashed) == ("L = 2", (0.0, 1.0), False)
    assert (curve.y, curve.low, curve.high) == ((2.0, 8.0), (1.0, 1.0), (6.0, 9.0))
    assert all(type(number) is float for number in (*curve.x, *curve.y, *curve.low, *curve.high))


def test_the_table_is_left_as_it_was() -> None:
    table = to_table(rows("a"))
    before = pa.table(table.to_pydict(), schema=table.schema)
    RunTable(table).runs("e")
    assert table.equals(before)


def test_an_experiment_is_read_once() -> None:
    table = RunTable(to_table(rows("a")))
    assert table.runs("e")[0] is table.runs("other", "e")[0]


def test_runs_that_differ_in_options_are_in_the_order_of_these_as_numbers() -> None:
    options = [{"name": name, "width": width} for name in ("a", "b") for width in (8, 16, 128)]
    specs = [json.dumps({"options": each}) for each in reversed(options)]
    table = to_table([row for index, spec in enumerate(specs) for row in rows(f"run{index}", spec=spec)])
    assert [run.options for run in RunTable(table).runs("e")] == options


def test_numbers_of_the_whole_network_are_in_rows_without_a_layer() -> None:
    layers = rows("a")
    whole = [row | {"layer": None, "layer_index": None, "x": 7.0 + row["snapshot"]} for row in layers[::2]]
    (run,) = RunTable(to_table([*layers, *whole])).runs("e")
    assert len(run.layers) == 2
    np.testing.assert_array_equal(run.network("x"), [7.0, 8.0, 9.0])
    assert run.last("x", 2) == 2.2
