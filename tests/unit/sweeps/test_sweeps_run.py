from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.testing import assert_close

from ansatzlab.errors import InputError
from ansatzlab.linalg.similarity import residual
from ansatzlab.models.init import initialize
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor, Work, serial
from ansatzlab.sweeps.run import Rows, run
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec
from ansatzlab.sweeps.sweep import Progress, sweep
from ansatzlab.training.dynamics import GradientFlow, Optimizer

FLOW = GradientFlow(flow_time=0.5, tolerance=1e-6)
DATA = DataSpec(name="low_rank_linear", size=20, options={"input_dim": 4, "output_dim": 3})


def spec(seed: int = 0, **changes: object) -> RunSpec:
    base = RunSpec(
        experiment="try",
        data=DATA,
        model=ModelSpec(hidden=(5,)),
        dynamics=FLOW,
        seed=seed,
        snapshots=3,
        probe_examples=4,
    )
    return base.model_copy(update=changes)


DIVERGING = spec(dynamics=Optimizer(learning_rate=1e6, steps=50), snapshots=2)
FAILING = spec(loss="no such loss")


class Counting:
    """An executor that writes down which specs it is given, then runs them as `serial` does."""

    def __init__(self) -> None:
        self.executed: list[str] = []

    def __call__(self, work: Work, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Rows | Exception]]:
        for batch, rows in serial(work, batches):
            self.executed.extend(batch.run_ids)
            yield batch, rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path / "out")


def execute(specs: Sequence[RunSpec], store: Store) -> tuple[pa.Table, list[str]]:
    executor = Counting()
    assert isinstance(executor, Executor)
    table = sweep(specs, store=store, executor=executor)
    return table, executor.executed


def without_time(table: pa.Table) -> pa.Table:
    return table.drop_columns(["wall_seconds"])


def statuses(table: pa.Table) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in table.to_pylist():
        found.setdefault(row["run_id"], set()).add(row["status"])
    return found


# --- resuming ----------------------------------------------------------------------------------------------------


def test_finished_runs_are_not_repeated(store: Store) -> None:
    specs = [spec(0), spec(1), spec(2)]
    first, executed = execute(specs[:2], store)
    assert executed == [specs[0].run_id, specs[1].run_id]
    _, executed = execute(specs, store)
    assert executed == [specs[2].run_id]
    again, executed = execute(specs[:2], store)
    assert executed == []
    assert again.equals(first), "bit for bit, the time it took included"


def test_repeated_specs_count_once(store: Store) -> None:
    table, executed = execute([spec(0), spec(0)], store)
    assert len(executed) == 1
    assert table.num_rows == 6


def test_no_specs_are_refused(store: Store) -> None:
    with pytest.raises(InputError, match="got no specs; wanted at least one"):
        execute([], store)


def test_only_the_asked_runs_are_returned(store: Store) -> None:
    execute([spec(0), spec(1)], store)
    table, _ = execute([spec(1)], store)
    assert set(table["run_id"].to_pylist()) == {spec(1).run_id}


def test_the_table_is_the_same_bit_for_bit_whether_resumed_or_not(tmp_path: Path) -> None:
    descent = Optimizer(name="Adam", learning_rate=0.05, steps=5, batch_size=4)
    specs = [spec(0), DIVERGING, spec(1, dynamics=descent), FAILING, spec(2, init=InitSpec(scheme="gaussian"))]
    at_once = sweep(specs, store=Store.open(tmp_path / "one"))
    resumed = Store.open(tmp_path / "two")
    for part in (specs[3:], specs[:1], specs[::-1]):
        table = sweep(part, store=resumed)
    assert at_once.num_rows == 6 + 2 + 6 + 1 + 6
    assert without_time(table).equals(without_time(at_once))


def test_an_interrupted_sweep_keeps_what_was_finished(store: Store) -> None:
    class Interrupted(Counting):
        def __call__(self, work: Work, batches: Sequence[Batch]) -> Iterator[tuple[Batch, Rows | Exception]]:
            yield from super().__call__(work, batches[:1])
            raise KeyboardInterrupt

    specs = [spec(0), spec(1)]
    with pytest.raises(KeyboardInterrupt):
        sweep(specs, store=store, executor=Interrupted())
    _, executed = execute(specs, store)
    assert executed == [specs[1].run_id]


# --- runs that do not finish -------------------------------------------------------------------------------------


def test_a_run_that_raises_is_recorded_and_the_sweep_goes_on(store: Store) -> None:
    table, executed = execute([FAILING, spec(0)], store)
    assert executed == [FAILING.run_id, spec(0).run_id]
    assert statuses(table) == {FAILING.run_id: {"failed"}, spec(0).run_id: {"finished"}}
    (row,) = (row for row in table.to_pylist() if row["run_id"] == FAILING.run_id)
    assert row["error"] == "UnknownNameError: unknown loss 'no such loss'. Known: cross_entropy, square."
    assert row["spec"] == FAILING.canonical()
    assert row["snapshot"] is row["layer"] is row["eigenvalues"] is None


def test_a_run_that_diverges_keeps_its_rows_and_its_message(store: Store) -> None:
    table, _ = execute([DIVERGING, spec(0)], store)
    rows = [row for row in table.to_pylist() if row["run_id"] == DIVERGING.run_id]
    assert {row["status"] for row in rows} == {"diverged"}
    assert [(row["snapshot"], row["layer_index"]) for row in rows] == [(0, 1), (0, 2)]
    assert all(row["error"].startswith("train: the loss or a weight stopped being finite at step") for row in rows)
    assert statuses(table)[spec(0).run_id] == {"finished"}


def test_failed_runs_are_tried_again_and_diverged_ones_are_not(store: Store) -> None:
    specs = [FAILING, DIVERGING, spec(0)]
    execute(specs, store)
    table, executed = execute(specs, store)
    assert executed == [FAILING.run_id]
    assert statuses(table)[FAILING.run_id] == {"failed"}


def test_a_failed_run_that_succeeds_later_replaces_its_failure(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "late.npz"
    late = spec(data=DataSpec(name=str(path)))
    table, _ = execute([late], store)
    assert statuses(table) == {late.run_id: {"failed"}}
    np.savez(path, inputs=np.eye(4), targets=np.eye(4)[:, :2])
    table, executed = execute([late], store)
    assert executed == [late.run_id]
    assert statuses(table) == {late.run_id: {"finished"}}
    assert table.num_rows == 6
    assert table["error"].null_count == 6


def test_a_file_that_changed_since_the_plan_fails_its_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, inputs=np.eye(4), targets=np.eye(4)[:, :2])
    planned = spec(data=DataSpec.of(str(path)))
    np.savez(path, inputs=2 * np.eye(4), targets=np.eye(4)[:, :2])
    (row,) = run(planned)
    assert row["status"] == "failed"
    assert str(row["error"]).startswith("InputError: ")
    assert "the file changed since the run was planned" in str(row["error"])


def test_an_interrupt_is_not_recorded_as_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ansatzlab.sweeps.run.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(spec(0))


# --- progress ----------------------------------------------------------------------------------------------------


def test_progress_is_told_before_the_first_run_and_after_every_one(store: Store) -> None:
    specs = [spec(0), FAILING, DIVERGING, spec(1)]
    sweep(specs[:1], store=store)
    told: list[Progress] = []
    sweep(specs, store=store, progress=told.append)
    assert told == [
        Progress(done=1, total=4, resumed=1),
        Progress(done=2, total=4, resumed=1, failed=1),
        Progress(done=3, total=4, resumed=1, failed=1, diverged=1),
        Progress(done=4, total=4, resumed=1, failed=1, diverged=1),
    ]
    told.clear()
    sweep(specs, store=store, progress=told.append)
    assert told[0] == Progress(done=3, total=4, resumed=3), "the failed one is tried again"
    assert told[-1] == Progress(done=4, total=4, resumed=3, failed=1)


# --- rows --------------------------------------------------------------------------------------------------------


def test_every_snapshot_and_layer_has_a_row_that_says_which_run_it_is_of() -> None:
    one = spec(3, dynamics=Optimizer(learning_rate=0.05, steps=4, weight_decay=0.1), snapshots=3)
    rows = run(one)
    assert [(row["snapshot"], row["step"], row["layer"], row["layer_index"]) for row in rows] == [
        (snapshot, step, f"layers.{layer - 1}", layer) for snapshot, step in enumerate((0, 1, 4)) for layer in (1, 2)
    ]
    for row in rows:
        identity = (
            row["run_id"],
            row["spec"],
            row["experiment"],
            row["data"],
            row["dynamics"],
            row["depth"],
            row["seed"],
        )
        assert identity == (one.run_id, one.canonical(), "try", "low_rank_linear", "SGD", 2, 3)
        assert (row["weight_decay"], row["learning_rate"]) == (0.1, 0.05)
    flow = run(spec(0))[0]
    assert (flow["dynamics"], flow["learning_rate"], flow["step"]) == ("flow", None, None)


def test_the_columns_are_those_of_the_trained_network() -> None:
    """The start of a run, rebuilt here from the spec: its spectrum and its imbalance by their definitions."""
    one = spec(5, init=InitSpec(scheme="gaussian", scale=0.7))
    first, second = (row for row in run(one) if row["snapshot"] == 0)
    model = one.model.build(4, 3)
    initialize(model, "gaussian", seed=5, scale=0.7)
    W1, W2 = (parameter.detach() for parameter in model.parameters())
    assert_close(first["imbalance_norm"], float((W2.mT @ W2 - W1 @ W1.mT).norm()))
    assert second["imbalance_norm"] is None
    assert_close((first["weight_norm"], second["weight_norm"]), (float(W1.norm()), float(W2.norm())))
    G = W1.mT @ W2.mT @ W2 @ W1
    assert_close(first["eigenvalues"], torch.linalg.eigvalsh(G).flip(0)[:3].tolist(), rtol=1e-10, atol=0)
    energies, values = np.array(first["energies"]), np.array(first["eigenvalues"])
    scale = energies @ values / (values @ values)
    misfit = np.hypot(np.linalg.norm(energies - scale * values), first["off_energy"])
    assert_close(float(misfit / (W1.mT @ W1).norm()), residual(W1.mT @ W1, G))
    assert (first["tautological"], second["tautological"]) == (0.0, 1.0)
    assert_close((first["trace"], first["dimension"]), (float(W1.square().sum()), 4.0))


def test_the_discrete_balance_is_observed_to_rounding() -> None:
    descent = Optimizer(learning_rate=0.05, steps=10, weight_decay=0.1, batch_size=5)
    one = spec(
        0,
        model=ModelSpec(hidden=(5, 4)),
        init=InitSpec(scheme="gaussian"),
        dynamics=descent,
        snapshots=11,
        observe=("balance", "discrete_balance"),
    )
    errors = [row["discrete_balance_error"] for row in run(one)]
    assert [error is None for error in errors] == [False, False, True] * 11
    numbers = [error for error in errors if isinstance(error, float)]
    assert max(numbers) < 1e-12
    assert max(numbers) > 0, "the steps are not exact by being left out"
    momentum = one.model_copy(update={"dynamics": descent.model_copy(update={"options": {"momentum": 0.9}})})
    assert max(row["discrete_balance_error"] or 0.0 for row in run(momentum)) > 1e-4


def test_the_discrete_balance_of_a_flow_is_a_failure_and_not_a_number() -> None:
    rows = run(spec(0, observe=("discrete_balance",)))
    assert {row["status"] for row in rows} == {"failed"}


def test_a_run_depends_on_its_seed_in_weights_and_batches() -> None:
    descent = Optimizer(learning_rate=0.05, steps=4, batch_size=4)
    losses = [[row["loss"] for row in run(spec(seed, dynamics=descent))] for seed in (0, 0, 1)]
    assert losses[0] == losses[1]
    assert losses[0][0] != losses[2][0]
