import math
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

import pytest
import torch
from torch import Tensor

from ansatzlab.cli.listing import list_runs
from ansatzlab.linalg.spectrum import Spectrum
from ansatzlab.measurement.run import measure
from ansatzlab.models.init import initialize
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps import batch as batch_module
from ansatzlab.sweeps import observe
from ansatzlab.sweeps import run as run_module
from ansatzlab.sweeps.batch import Batch, plan_batches, run_batch, stack_key
from ansatzlab.sweeps.run import Rows, run
from ansatzlab.sweeps.spec import DataSpec, InitSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow, Optimizer, SharpnessRate, named_dynamics
from ansatzlab.training.loop import train
from ansatzlab.training.objective import objective_for

DATA = DataSpec(name="low_rank_linear", size=20, options={"input_dim": 4, "output_dim": 3, "noise": 0.2})
ADAM = Optimizer(name="Adam", learning_rate=0.01, steps=30, batch_size=5, schedule="cosine")
GD = Optimizer(learning_rate=0.05, steps=30)
ABSENT = DataSpec(name="no such data")


def spec(seed: int = 0, **changes: object) -> RunSpec:
    base = RunSpec(
        experiment="try",
        data=DATA,
        model=ModelSpec(hidden=(6, 5)),
        init=InitSpec(scheme="gaussian"),
        dynamics=GD,
        seed=seed,
        snapshots=4,
        probe_examples=7,
    )
    return base.model_copy(update=changes)


def decayed(dynamics: Optimizer, rate: float, decay: float, coupling: str = "coupled") -> Optimizer:
    return dynamics.model_copy(update={"learning_rate": rate, "weight_decay": decay, "decay": coupling})


def mixed(**changes: object) -> list[RunSpec]:
    """Runs that differ in everything in which the runs of a stack may differ."""
    dynamics = changes.pop("dynamics", GD)
    assert isinstance(dynamics, Optimizer)
    rate = dynamics.rate
    return [
        spec(0, dynamics=dynamics, **changes),
        spec(1, dynamics=decayed(dynamics, 2 * rate, 0.1), init=InitSpec(scheme="orthogonal"), **changes),
        spec(2, dynamics=decayed(dynamics, rate / 2, 0.2, "decoupled"), experiment="other", **changes),
        spec(3, dynamics=dynamics, data=DATA.model_copy(update={"seed": 5}), **changes),
        spec(
            4,
            dynamics=dynamics,
            init=InitSpec(scheme="balanced", scale=0.7, singular_values=(1.0, 0.5, 0.2)),
            **changes,
        ),
    ]


# --- planning ----------------------------------------------------------------------------------------------------


def many() -> list[RunSpec]:
    """Runs of all kinds in an order that mixes them."""
    specs = [
        spec(seed, dynamics=dynamics, model=ModelSpec(hidden=hidden))
        for seed in range(7)
        for hidden in ((6,), (6, 5))
        for dynamics in (
            GD,
            decayed(GD, 0.1, 0.3),
            ADAM,
            GradientFlow(flow_time=1.0),
            named_dynamics("lbfgs", learning_rate=1.0, steps=3),
        )
    ]
    return Random(0).sample(specs, len(specs))


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_batches_hold_every_spec_once_and_only_what_can_be_stacked(size: int) -> None:
    specs = many()
    batches = plan_batches(specs, size)
    assert sorted(run_id for batch in batches for run_id in batch.run_ids) == sorted(each.run_id for each in specs)
    for batch in batches:
        assert 1 <= len(batch.specs) <= size
        keys = {stack_key(each) for each in batch.specs}
        assert len(keys) == 1
        assert len(batch.specs) == 1 or keys != {None}


def test_batches_are_as_large_as_they_may_be() -> None:
    sizes = sorted(len(batch.specs) for batch in plan_batches(many(), 5))
    flows_and_lbfgs, of_gd, of_adam = [1] * 28, 2 * [5, 5, 4], 2 * [5, 2]
    assert sizes == sorted(flows_and_lbfgs + of_gd + of_adam)


def test_the_plan_depends_on_the_specs_and_their_order_alone() -> None:
    specs = many()
    plan = plan_batches(specs, 5)
    assert plan_batches(list(specs), 5) == plan
    places = [specs.index(batch.specs[0]) for batch in plan if len(batch.specs) == 1]
    assert places == sorted(places)


def test_finished_batches_leave_the_others_as_they_were() -> None:
    """What is left after whole batches were finished is planned into the same batches: their last bits depend on it."""
    specs = many()
    plan = plan_batches(specs, 5)
    for gone in plan:
        left = [each for each in specs if each.run_id not in gone.run_ids]
        assert {batch.run_ids for batch in plan_batches(left, 5)} == {batch.run_ids for batch in plan} - {gone.run_ids}


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 3},
        {"experiment": "other"},
        {"init": InitSpec(scheme="he", scale=2.0)},
        {"data": DATA.model_copy(update={"seed": 9})},
        {"dynamics": decayed(GD, 0.3, 0.1, "decoupled")},
        {"dynamics": decayed(GD, 0.3, 0.1).model_copy(update={"learning_rate": SharpnessRate()})},
    ],
)
def test_what_a_stack_may_differ_in(changes: dict[str, object]) -> None:
    assert stack_key(spec().model_copy(update=changes)) == stack_key(spec())


@pytest.mark.parametrize(
    "changes",
    [
        {"data": DATA.model_copy(update={"size": 21})},
        {"data": DATA.model_copy(update={"options": {"input_dim": 4}})},
        {"model": ModelSpec(hidden=(6, 5), bias=True)},
        {"model": ModelSpec(hidden=(6, 5), kind="mlp")},
        {"loss": "cross_entropy"},
        {"snapshots": 5},
        {"observe": ("ansatz",)},
        {"probe_examples": 8},
        {"dynamics": ADAM},
        {"dynamics": GD.model_copy(update={"steps": 31})},
        {"dynamics": GD.model_copy(update={"batch_size": 5})},
        {"dynamics": GD.model_copy(update={"schedule": "cosine"})},
        {"dynamics": GD.model_copy(update={"options": {"momentum": 0.9}})},
    ],
)
def test_what_a_stack_must_share(changes: dict[str, object]) -> None:
    assert stack_key(spec(**changes)) != stack_key(spec())


@pytest.mark.parametrize("name", ["gradient_flow", "lbfgs", "muon"])
def test_what_is_run_by_itself(name: str) -> None:
    settings = {"flow_time": 1.0} if name == "gradient_flow" else {"learning_rate": 0.1, "steps": 3}
    assert stack_key(spec(dynamics=named_dynamics(name, **settings))) is None


# --- running -----------------------------------------------------------------------------------------------------


SCALES: Mapping[str, Callable[[Mapping[str, object]], float]] = {
    "off_energy": lambda row: abs(float(str(row["trace"]))),
    "total": lambda row: abs(float(str(row["trace"]))),
    "imbalance_norm": lambda row: float(str(row["weight_norm"])) ** 2,
    "discrete_balance_error": lambda _: 1.0,
}
"""What a number that may be a difference of large ones is measured against; any other against itself."""


def assert_same(got: object, wanted: object, where: str, scale: float = 0.0) -> None:
    """Raise unless two cells agree to 1e-10; lists relative to their largest number, as spectra are read."""
    if isinstance(wanted, list):
        assert isinstance(got, list), where
        scale = max(map(abs, wanted), default=0.0)
        assert got == pytest.approx(wanted, rel=0, abs=1e-10 * scale), where
    elif isinstance(wanted, float):
        assert got == pytest.approx(wanted, rel=1e-10, abs=1e-10 * scale, nan_ok=True), where
    else:
        assert got == wanted, where


def assert_same_rows(got: Rows, wanted: Rows) -> None:
    assert len(got) == len(wanted)
    for ours, theirs in zip(got, wanted, strict=True):
        assert list(ours) == list(theirs)
        for name in ours.keys() - {"wall_seconds", "stacked"}:
            known = name in SCALES and theirs[name] is not None
            scale = SCALES[name](theirs) if known else 0.0
            assert_same(ours[name], theirs[name], f"{name} at {theirs['snapshot']}, {theirs['layer']}", scale)


def rows_of(rows: Rows, run_id: str) -> Rows:
    return [row for row in rows if row["run_id"] == run_id]


CASES: Mapping[str, Mapping[str, object]] = {
    "linear, full batch": {},
    "linear, minibatch": {"dynamics": ADAM},
    "linear with biases": {"model": ModelSpec(hidden=(6, 5), bias=True)},
    "tanh": {"model": ModelSpec(hidden=(6, 5), kind="mlp", activation="tanh"), "dynamics": ADAM},
    "relu, cross-entropy": {"model": ModelSpec(hidden=(6,), kind="mlp"), "loss": "cross_entropy"},
    "every step": {"snapshots": 40, "observe": ("balance", "discrete_balance")},
}


@pytest.mark.parametrize("case", CASES)
def test_a_stack_gives_the_rows_of_its_runs(case: str) -> None:
    specs = mixed(**CASES[case])
    batches = plan_batches(specs, 64)
    assert len(batches) == 1
    rows = run_batch(batches[0])
    assert [row["run_id"] for row in rows] == sorted((row["run_id"] for row in rows), key=batches[0].run_ids.index)
    for each in specs:
        single = run(each)
        assert {row["status"] for row in single} == {"finished"}
        ours = rows_of(rows, each.run_id)
        assert_same_rows(ours, single)
        assert ({row["stacked"] for row in ours}, {row["stacked"] for row in single}) == ({1.0}, {0.0})
    [seconds] = {row["wall_seconds"] for row in rows}
    assert isinstance(seconds, float)
    assert seconds > 0


def test_a_rule_is_resolved_for_every_run_by_itself() -> None:
    rule = GD.model_copy(update={"learning_rate": SharpnessRate(fraction=0.3)})
    specs = [spec(seed, dynamics=rule, data=DATA.model_copy(update={"seed": seed})) for seed in range(3)]
    rows = run_batch(Batch(tuple(specs)))
    rates = {row["learning_rate"] for row in rows}
    assert len(rates) == 3
    assert all(isinstance(rate, float) for rate in rates)
    for each in specs:
        assert_same_rows(rows_of(rows, each.run_id), run(each))


def test_a_diverging_run_is_recorded_as_alone_and_leaves_the_others() -> None:
    wild = spec(9, dynamics=decayed(GD, 1e5, 0.0))
    calm = mixed()
    rows = run_batch(Batch((*calm[:2], wild, *calm[2:])))
    single = run(wild)
    assert {row["status"] for row in single} == {"diverged"}
    assert_same_rows(rows_of(rows, wild.run_id), single)
    tame = wild.model_copy(update={"dynamics": GD})
    healthy = run_batch(Batch((*calm[:2], tame, *calm[2:])))
    for each in calm:
        ours = [{k: v for k, v in row.items() if k != "wall_seconds"} for row in rows_of(rows, each.run_id)]
        assert ours == [{k: v for k, v in row.items() if k != "wall_seconds"} for row in rows_of(healthy, each.run_id)]
        assert {(row["status"], row["stacked"]) for row in ours} == {("finished", 1.0)}


def test_when_all_diverge_each_says_where() -> None:
    specs = [spec(seed, dynamics=decayed(GD, 1e5, 0.0), snapshots=3) for seed in range(3)]
    rows = run_batch(Batch(tuple(specs)))
    for each in specs:
        assert_same_rows(rows_of(rows, each.run_id), run(each))
        assert {row["status"] for row in rows_of(rows, each.run_id)} == {"diverged"}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (spec(9, data=ABSENT), "UnknownNameError: unknown data set 'no such data'"),
        (spec(9, init=InitSpec(scheme="no such scheme")), "UnknownNameError: unknown initialisation"),
        (spec(9, data=DATA.model_copy(update={"options": {"input_dim": 5, "output_dim": 3}})), None),
    ],
    ids=["data", "initialisation", "shape"],
)
def test_one_that_cannot_be_run_does_not_take_the_others_with_it(bad: RunSpec, message: str | None) -> None:
    calm = mixed()[:2]
    rows = run_batch(Batch((calm[0], bad, calm[1])))
    for each in calm:
        ours = rows_of(rows, each.run_id)
        assert {(row["status"], row["stacked"]) for row in ours} == {("finished", 0.0)}
        [why] = {str(row["error"]) for row in ours}
        assert why.startswith(f"not stacked: {message or 'RuntimeError: stack expects each tensor to be equal size'}")
    [*_, last] = rows_of(rows, bad.run_id)
    assert last["status"] == ("finished" if message is None else "failed")
    assert message is None or str(last["error"]).startswith(message)


def memory_is_short(*_: object) -> Rows:
    raise MemoryError("not enough for three")


def test_runs_of_a_stack_that_was_given_up_say_why_and_are_otherwise_as_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """In the store as well, where `ansatz runs` reads it; a run that diverged by itself keeps its own reason."""
    wild, calm = spec(9, dynamics=decayed(GD, 1e5, 0.0)), mixed()[:2]
    monkeypatch.setattr(batch_module, "run_stack", memory_is_short)
    batch = Batch((*calm, wild))
    rows = run_batch(batch)
    assert {row["error"] for each in calm for row in rows_of(rows, each.run_id)} == {
        "not stacked: MemoryError: not enough for three"
    }
    for each in calm:
        assert_same_rows([{**row, "error": None} for row in rows_of(rows, each.run_id)], run(each))
    assert_same_rows(rows_of(rows, wild.run_id), run(wild))
    store = Store.open(tmp_path / "store")
    store.write(batch.run_ids, rows)
    listed = {row["run_id"]: row for row in list_runs(store.table())}
    assert {(listed[each.run_id]["status"], listed[each.run_id]["error"]) for each in calm} == {
        ("finished", "not stacked: MemoryError: not enough for three")
    }


def test_runs_that_nobody_meant_to_stack_say_nothing() -> None:
    assert {row["error"] for row in run_batch(Batch((spec(),)))} == {None}


# --- what is seen is what the measurement sees ---------------------------------------------------------------------


def measured_at_the_end(each: RunSpec) -> dict[str, tuple[Spectrum, bool]]:
    """Train a run by itself and measure its last network by the library's door."""
    data = each.data.load()
    model = each.model.build(data.inputs.shape[1], data.targets.shape[1])
    initialize(
        model, each.init.scheme, seed=each.seed, scale=each.init.scale, singular_values=each.init.singular_values
    )
    for _ in train(model, objective_for(model, data, each.loss), each.dynamics, seed=each.seed):
        pass
    measured = measure(model, data.inputs[: each.probe_examples], accumulation="factor")
    return {name: (layer.spectrum(), layer.tautological) for name, layer in measured.items()}


def check_the_spectra(specs: list[RunSpec]) -> None:
    rows = run_batch(Batch(tuple(specs)))
    for each in specs:
        at_the_end = [row for row in rows_of(rows, each.run_id) if row["snapshot"] == each.snapshots - 1]
        wanted = measured_at_the_end(each)
        assert [row["layer"] for row in at_the_end] == list(wanted)
        for row in at_the_end:
            spectrum, tautological = wanted[str(row["layer"])]
            assert (row["tautological"], row["stacked"]) == (float(tautological), 1.0)
            for name in ("eigenvalues", "energies", "off_energy", "trace", "total", "cut"):
                value = getattr(spectrum, name)
                numbers = value.tolist() if isinstance(value, Tensor) else value
                scale = spectrum.trace if name in SCALES else 0.0
                assert_same(row[name], numbers, f"{name} of {row['layer']}, seed {each.seed}", scale)
            sums = torch.tensor(row["sums"], dtype=torch.float64)
            torch.testing.assert_close(sums.abs(), spectrum.sums.abs(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("case", ["linear, full batch", "linear, minibatch", "linear with biases", "tanh"])
def test_the_spectra_are_those_of_the_measurement(case: str) -> None:
    check_the_spectra(mixed(**CASES[case]))


def test_small_modes_survive() -> None:
    """Balanced networks of five layers obey G = M^5 to rounding although λ falls to 1e-20 of the largest."""
    init = InitSpec(scheme="balanced", singular_values=(1.0, 0.1, 0.01))
    slow = Optimizer(learning_rate=1e-9, steps=1)
    specs = [spec(seed, init=init, dynamics=slow, snapshots=2, model=ModelSpec(hidden=(4, 4, 4, 4))) for seed in (0, 1)]
    for row in run_batch(Batch(tuple(specs))):
        if row["layer"] == "layers.0":
            energies = torch.tensor(row["energies"], dtype=torch.float64)
            eigenvalues = torch.tensor(row["eigenvalues"], dtype=torch.float64)
            torch.testing.assert_close(eigenvalues, energies**5, rtol=1e-7, atol=0)
            torch.testing.assert_close(
                energies, torch.tensor([1.0, 1e-2, 1e-4], dtype=torch.float64), rtol=1e-7, atol=0
            )


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_discrete_law_is_followed_with_the_rates_and_decays_of_each_run(momentum: float) -> None:
    """Descent obeys it, heavy balls do not, and by how much is computed here step by step."""
    dynamics = GD.model_copy(update={"schedule": "cosine", "options": {"momentum": momentum}})
    specs = mixed(**CASES["every step"], dynamics=dynamics)
    rows = run_batch(Batch(tuple(specs)))
    for each in specs:
        assert isinstance(each.dynamics, Optimizer)
        data, dynamics = each.data.load(), each.dynamics
        model = each.model.build(4, 3)
        init = each.init
        initialize(model, init.scheme, seed=each.seed, scale=init.scale, singular_values=init.singular_values)
        lower, upper = (parameter.detach() for parameter in list(model.parameters())[:2])
        predicted = upper.mT @ upper - lower @ lower.mT
        first_layer = [row for row in rows_of(rows, each.run_id) if row["layer"] == "layers.0"]
        assert len(first_layer) == 31
        snapshots = train(model, objective_for(model, data), dynamics, snapshots=40)
        for row, snapshot in zip(first_layer, snapshots, strict=True):
            size = (lower @ lower.mT).norm()
            wanted = float((upper.mT @ upper - lower @ lower.mT - predicted).norm() / size)
            assert row["discrete_balance_error"] == pytest.approx(wanted, rel=1e-6, abs=1e-13)
            rate = dynamics.rate * (1 + math.cos(math.pi * snapshot.index / 30)) / 2
            below, above = snapshot.gradients[:2]
            kept = (1 - rate * dynamics.weight_decay) ** 2
            predicted = kept * predicted + rate**2 * (above.mT @ above - below @ below.mT)
        last = first_layer[-1]["discrete_balance_error"]
        assert isinstance(last, float)
        assert (last > 1e-6) == (momentum > 0)


# --- the test of the tests ---------------------------------------------------------------------------------------


def of_the_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = observe._spectral_columns
    seen: list[Tensor] = []

    def late(name: str, weight: Tensor, factor: Tensor, *, is_last: bool) -> dict[str, object]:
        seen.append(factor)
        before = next((each for each in reversed(seen[:-1]) if each.shape == factor.shape), factor)
        return columns(name, weight, before, is_last=is_last)

    monkeypatch.setattr(observe, "_spectral_columns", late)


def without_the_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    factors = observe.output_factors
    monkeypatch.setattr(
        observe, "output_factors", lambda *args, **kwargs: {k: 2 * v for k, v in factors(*args, **kwargs).items()}
    )


def same_data_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    stacked = run_module.stacked_objective_for
    monkeypatch.setattr(run_module, "stacked_objective_for", lambda model, data, loss: stacked(model, data[:1], loss))


@pytest.mark.parametrize("fault", [of_the_neighbour, without_the_mean, same_data_for_all])
def test_faults_in_what_is_seen_are_seen(fault: Callable[[pytest.MonkeyPatch], None]) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        fault(monkeypatch)
        with pytest.raises(AssertionError):
            check_the_spectra(mixed(**CASES["tanh"]))
