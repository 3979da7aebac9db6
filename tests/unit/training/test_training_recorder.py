"""The recorder: what it records equals measuring by hand, and a training with it equals one without."""

import copy
import json
import math
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ansatzlab
from ansatzlab import Exact, Output, Signs
from ansatzlab.cli.listing import list_runs
from ansatzlab.errors import InputError, ModelError, StoreError
from ansatzlab.laws.runs import RunTable, spectrum_of
from ansatzlab.measurement.convention import Convention
from ansatzlab.measurement.hooks import in_evaluation
from ansatzlab.store.parquet import Store
from ansatzlab.training import journal as journal_module
from ansatzlab.training.failures import MeasurementFailedWarning
from ansatzlab.training.moments import AtLossLevels, Every, LogSpaced, Offered, Timetable
from ansatzlab.training.overhead import Stopwatch
from ansatzlab.training.probe import Probe, unwrapped
from ansatzlab.training.recorder import Recorder
from ansatzlab.training.schedule import log_spaced_steps

TIMES = ("wall_seconds", "recording_seconds")
IDS = ("run_id",)


@pytest.fixture(autouse=True)
def _nothing_fails_unseen(caplog):
    """A failure that no test expects is logged, because warnings are errors here."""
    yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelname == "WARNING"]


def network(*, bias=True):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8, bias=bias), nn.Tanh(), nn.Linear(8, 3, bias=bias)).double()


class Noisy(nn.Module):
    """Everything that a careless measurement would disturb: batch statistics, dropout, a part frozen in evaluation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.frozen = nn.BatchNorm1d(6).eval()
        self.body = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))

    def train(self, mode=True):
        super().train(mode)
        self.frozen.eval()
        return self

    def forward(self, x):
        return self.body(self.frozen(x))


def examples(count=64, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 6, generator=generator, dtype=dtype)
    return inputs, inputs[:, :3].sin()


def training(model, steps, recorder=None, **update):
    """Train on shuffled batches, whose order comes from torch's global random state, and return every loss."""
    torch.manual_seed(2)
    kind = next(model.parameters()).dtype
    inputs, targets = examples(dtype=kind)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    losses = []
    if recorder is not None:
        recorder.update(model, step=0, **update)
    while True:
        for batch, target in DataLoader(TensorDataset(inputs, targets), batch_size=16, shuffle=True):
            optimizer.zero_grad()
            loss = (model(batch) - target).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            if recorder is not None:
                recorder.update(model, step=len(losses), loss=loss, **update)
            if len(losses) == steps:
                return losses


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


# --- when -----------------------------------------------------------------------------------------------------------


def measured_steps(schedule, steps, losses=None):
    table, losses = Timetable(schedule), losses or {}
    return [step for step in steps if table.due(step, losses.get(step))]


def test_every_measures_each_multiple_and_the_first_step_behind_one_that_was_not_offered():
    assert measured_steps(Every(3), range(10)) == [0, 3, 6, 9]
    assert measured_steps(Every(10), [4, 8, 12, 16, 24, 37, 38]) == [4, 12, 24, 37]


def test_log_spaced_measures_the_planned_steps_and_none_after_the_last():
    assert measured_steps(LogSpaced(12, last=500), range(700)) == log_spaced_steps(500, 12)
    assert measured_steps(LogSpaced(4, last=100), [0, 7, 14, 99, 102, 200]) == [0, 7, 14, 102]


def test_loss_levels_measure_the_first_step_at_or_below_each():
    losses = dict(enumerate([3.0, 2.0, 1.5, 2.5, 1.0, math.nan, 0.1, 0.05, 0.4]))
    assert measured_steps(AtLossLevels((2.0, 1.0, 0.5, 0.2)), losses, losses) == [0, 1, 4, 6]


def test_no_step_is_due_twice_nor_without_its_loss():
    assert measured_steps(Every(1), [0, 0, 1, 1, 1, 2]) == [0, 1, 2]
    assert measured_steps(AtLossLevels((1.0,)), [0, 1, 2], {2: 0.5}) == [0, 2]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Every(0), "wanted at least 1"),
        (lambda: LogSpaced(1, last=10), "count of at least 2"),
        (lambda: LogSpaced(3, last=0), "last step of at least 1"),
        (lambda: AtLossLevels(()), "wanted at least one"),
        (lambda: AtLossLevels((1.0, math.nan)), "all finite"),
    ],
)
def test_a_schedule_refuses_what_has_no_moments(make, said):
    with pytest.raises(InputError, match=said):
        make()


def test_a_schedule_of_ones_own_is_asked():
    class Primes:
        needs_loss = False

        def due(self, step, loss, before):
            assert isinstance(before, Offered)
            assert loss is None
            return step in (2, 3, 5, 7)

    recorder = Recorder(examples()[0], schedule=Primes())
    training(network(), 8, recorder)
    assert sorted({row["step"] for row in recorder.compute().rows}) == [0, 2, 3, 5, 7]


# --- what -----------------------------------------------------------------------------------------------------------


def number(value):
    return value if math.isfinite(value) else None


@pytest.mark.parametrize("bias", [True, False])  # without biases the measured weights are all that the network has
@pytest.mark.parametrize("convention", [Convention(0.7), Convention(0.7, comparator="pearson", centered=True)])
def test_the_rows_are_what_measuring_by_hand_gives(bias, convention):
    probe = examples()[0][:20]
    recorder = Recorder(probe.split(8), schedule=Every(4), convention=convention)
    model, start, byhand = network(bias=bias), network(bias=bias), {}

    class Spy:
        needs_loss = False

        def due(self, step, loss, before):
            due = Every(4).due(step, loss, before)
            if due:
                byhand[step] = ansatzlab.measure(model, probe.split(8), initial=start)
            return due

    recorder._timetable.schedule = Spy()
    byhand[0] = ansatzlab.measure(start, probe.split(8))
    losses = training(model, 9, recorder)
    recording = recorder.compute()
    assert [(row["step"], row["layer"], row["layer_index"]) for row in recording.rows] == [
        (step, *layer) for step in (0, 4, 8) for layer in (("0", 1), ("2", 2))
    ]
    for row in recording.rows:
        layer = byhand[row["step"]][row["layer"]]
        for name, value in layer.spectrum().columns().items():
            assert row[name] == value, name
        assert row["tautological"] == layer.tautological == (row["layer"] == "2")
        wanted = layer.read(convention)
        assert row["recorded_alignment"] == number(wanted.value)
        assert row["recorded_alignment_error"] == number(wanted.error)
        assert row["recorded_residual"] == number(wanted.residual)
        assert row["recorded_exponent"] == 0.7
        fit = layer.fit_exponent()
        assert row["best_exponent"] == (fit.value if fit.identifiable else None)
        removed = None
        if row["step"]:
            removed = number(layer.read(replace(convention, init_removed=True)).value)
        assert row["recorded_alignment_init_removed"] == removed
        assert row["loss"] == (losses[row["step"] - 1] if row["step"] else None)
        assert row["snapshot"] == row["step"] // 4
        assert row["examples"] == 20
    last = recording.measurements[8]["0"]
    assert torch.equal(last.weights(init_removed=True), byhand[8]["0"].weights(init_removed=True))
    assert byhand[8]["0"].start is not None
    assert last.start is None, "the untrained network need not be measured again and again"


def test_initial_weights_may_be_those_of_an_earlier_training():
    probe, start = examples()[0], network()
    for given in (start, start.state_dict()):
        model = network()
        training(model, 5)
        recorder = Recorder(probe, initial=given)
        recorder.update(model, step=5)
        row = recorder.compute().rows[0]
        wanted = ansatzlab.measure(model, probe, initial=start)["0"].alignment(0.5, init_removed=True).value
        assert row["recorded_alignment_init_removed"] == wanted


def test_initial_weights_that_do_not_fit_are_a_failure_that_names_the_layer():
    recorder = Recorder(examples()[0], initial={"2.weight": torch.zeros(3, 8)})
    with pytest.warns(MeasurementFailedWarning, match=r"got nothing for '0\.weight'"):
        recorder.update(network(), step=0)


def test_a_convention_without_the_initial_weights_has_no_number_at_the_start():
    recorder = Recorder(examples()[0], schedule=Every(2), convention=Convention(0.5, init_removed=True), layers="0")
    training(network(), 2, recorder)
    first, last = recorder.compute().rows
    assert first.get("recorded_alignment") is None
    assert last["recorded_alignment"] == last["recorded_alignment_init_removed"] < 1
    assert first["eigenvalues"]


def test_init_removed_can_be_left_out():
    recorder = Recorder(examples()[0], schedule=Every(2), init_removed=False)
    training(network(), 2, recorder)
    rows = recorder.compute().rows
    assert [row["recorded_alignment_init_removed"] for row in rows] == [None] * 4
    assert all(math.isfinite(row["recorded_alignment"]) for row in rows)


def test_what_a_logger_is_given_are_the_numbers_of_the_last_moment():
    recorder = Recorder(examples()[0], schedule=Every(2), layers="0")
    assert recorder.scalars == {}
    training(network(), 3, recorder)
    row = recorder.compute().rows[-1]
    assert recorder.scalars == {
        "ansatz/0/alignment": row["recorded_alignment"],
        "ansatz/0/alignment_init_removed": row["recorded_alignment_init_removed"],
        "ansatz/0/best_exponent": row["best_exponent"],
    }


def test_finish_measures_the_end_once_with_the_loss_offered_last():
    recorder = Recorder(examples()[0], schedule=Every(3), layers="0")
    model = network()
    losses = training(model, 5, recorder)
    overhead = recorder.finish(model, step=5)
    assert recorder.finish(model, step=5).measured == overhead.measured == 3
    rows = recorder.compute().rows
    assert [(row["step"], row["loss"]) for row in rows] == [(0, None), (3, losses[2]), (5, losses[4])]


@pytest.mark.parametrize("step", [3, None])
def test_finish_leaves_a_step_that_was_measured_as_it_is(step):
    inputs, model = examples()[0], network()
    recorder = Recorder(schedule=Every(3), layers="0")
    recorder.update(model, inputs[:32], step=3, loss=0.5)
    recorder.finish(model, inputs[:32], step=step, loss=9.0)
    recorder.finish(model)  # nothing to measure on is needed
    assert [(row["step"], row["examples"], row["loss"]) for row in recorder.compute().rows] == [(3, 32.0, 0.5)]


def test_finish_measures_the_step_that_was_offered_last():
    recorder = Recorder(examples()[0], schedule=Every(3), layers="0")
    losses = training(network(), 5, recorder)
    recorder.finish(network())
    row = recorder.compute().rows[-1]
    assert (row["step"], row["loss"]) == (5, losses[4])


def test_a_step_may_be_a_numpy_number(tmp_path):
    recorder = Recorder(examples()[0], schedule=Every(1), layers="0", folder=tmp_path)
    for step in np.arange(2):
        recorder.update(network(), step=step)
    recorder.finish(network(), step=np.int64(2))
    assert [row["step"] for row in recorder.compute().rows] == [0, 1, 2]
    assert entry_of(tmp_path)["steps"] == [0, 1, 2]


def entry_of(folder):
    (entry,) = json.loads((folder / "recording.json").read_text())["recordings"]
    return entry


def test_only_the_first_and_the_last_measurement_are_kept_unless_all_are_to_be():
    kept = {}
    for everything in (False, True):
        recorder = Recorder(examples()[0], schedule=Every(2), keep_measurements=everything)
        training(network(), 8, recorder)
        kept[everything] = list(recorder.compute().measurements)
    assert kept == {False: [0, 8], True: [0, 2, 4, 6, 8]}


# --- on what --------------------------------------------------------------------------------------------------------


def test_without_a_probe_the_batches_of_a_step_are_measured_as_one():
    inputs, model = examples()[0], network()
    recorder = Recorder(schedule=Every(2), layers="0")
    for batch in inputs.split(16):
        assert recorder.update(model, batch, step=0)
    assert not recorder.update(model, inputs, step=1)
    assert recorder.update(model, inputs[:8], step=2)
    recording = recorder.compute()
    assert [(row["step"], row["examples"]) for row in recording.rows] == [(0, 64.0), (2, 8.0)]
    merged, whole = recording.measurements[0]["0"], ansatzlab.measure(model, inputs, layers="0")["0"]
    torch.testing.assert_close(merged.agop(), whole.agop(), rtol=1e-12, atol=1e-14)


def test_a_loss_that_is_not_given_again_stays():
    inputs, model = examples()[0], network()
    recorder = Recorder(schedule=Every(1), layers="0")
    recorder.update(model, inputs[:16], step=1, loss=0.5)
    recorder.update(model, inputs[16:], step=1)
    with pytest.warns(MeasurementFailedWarning, match="not finite"):
        recorder.update(model, inputs * math.nan, step=1)
    recorder.update(model, inputs, step=2)
    assert [(row["step"], row["loss"]) for row in recorder.compute().rows] == [(1, 0.5), (2, None)]


@pytest.mark.parametrize("shared", [False, True])
def test_each_batch_of_a_step_has_signs_of_its_own_unless_they_are_shared(shared):
    inputs, model, seeds = examples()[0][:8], network(), Signs(1, seed=4, shared=shared)
    once = ansatzlab.measure(model, inputs, layers="0", seeds=seeds)["0"]
    recorder = Recorder(schedule=Every(1), layers="0", seeds=seeds, keep_measurements=True)
    for step in range(2):
        for _ in range(2):
            recorder.update(model, inputs, step=step)
    first, second = (moment["0"] for moment in recorder.compute().measurements.values())
    assert torch.equal(first.agop(), second.agop()), "every step has the same"
    assert torch.allclose(first.agop(), once.agop(), rtol=1e-12) == shared
    assert first.seeds == seeds
    alone = Recorder(inputs, layers="0", seeds=seeds)
    alone.update(model, step=0)
    assert torch.equal(alone.compute().measurements[0]["0"].agop(), once.agop())


def test_the_standard_error_of_a_step_of_many_batches_is_what_its_signs_do():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 15), nn.Tanh(), nn.Linear(15, 15), nn.Tanh(), nn.Linear(15, 10)).double()
    inputs = 0.3 * torch.randn(256, 20, dtype=torch.float64)
    exact = ansatzlab.measure(model, inputs, layers="2")["2"].alignment(0.5).value
    distances = []
    for seed in range(12):
        recorder = Recorder(schedule=Every(1), layers="2", seeds=Signs(1, seed=seed))
        for batch in inputs.split(8):
            recorder.update(model, batch, step=0)
        (row,) = recorder.compute().rows
        distances.append((row["recorded_alignment"] - exact) / row["recorded_alignment_error"])
    assert sum(distance**2 for distance in distances) / len(distances) < 4  # 400 where every batch has the same signs


def test_merged_recorders_give_what_one_gives_of_all_examples():
    inputs = examples()[0]
    parts = (inputs[:20], inputs[20:32], inputs[:32])
    recorders = [Recorder(part, schedule=Every(3), keep_measurements=True) for part in parts]
    for recorder in recorders:
        training(network(), 6, recorder)
    first, second, whole = recorders
    alone = first.compute().rows
    first.merge(second)
    assert len(first.compute().rows) == len(alone) == len(whole.compute().rows) == 6
    for merged, wanted, before in zip(first.compute().rows, whole.compute().rows, alone, strict=True):
        assert merged["examples"] == 32
        torch.testing.assert_close(spectrum_of(merged).eigenvalues, spectrum_of(wanted).eigenvalues, rtol=1e-9, atol=0)
        for name in ("recorded_alignment", "recorded_residual"):
            assert merged[name] == pytest.approx(wanted[name], rel=1e-9, abs=1e-7)
        if merged["layer"] == "0":
            assert abs(before["recorded_alignment"] - wanted["recorded_alignment"]) > 1e-5
        assert (merged["run_id"], merged["loss"]) == (before["run_id"], before["loss"])


def test_recorders_that_do_not_fit_are_not_merged():
    inputs = examples()[0]
    kept = Recorder(inputs, schedule=Every(3), keep_measurements=True)
    training(network(), 6, kept)
    rows = kept.compute().rows
    others = [
        (Every(3), False, network(), "keep_measurements=True"),
        (Every(2), True, network(), r"steps \[0, 3, 6\] and \[0, 2, 4, 6\]"),
        (Every(3), True, network().requires_grad_(True).apply(_enlarged), "other weights"),
    ]
    for schedule, keep, model, said in others:
        other = Recorder(inputs, schedule=schedule, keep_measurements=keep)
        training(model, 6, other)
        with pytest.raises(InputError, match=said):
            kept.merge(other)
    assert kept.compute().rows == rows


def _enlarged(module):
    if isinstance(module, nn.Linear):
        with torch.no_grad():
            module.weight.mul_(1.5)


def test_a_loader_is_gone_through_once_and_takes_no_random_number():
    inputs, targets = examples()
    loader = DataLoader(TensorDataset(inputs, targets), batch_size=8, shuffle=True)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    recorder = Recorder(loader, schedule=Every(1))
    assert torch.equal(torch.random.get_rng_state(), before)
    model = network()
    for step in range(2):
        recorder.update(model, step=step)
    first, second = (row for row in recorder.compute().rows if row["layer"] == "0")
    assert first["eigenvalues"] == second["eigenvalues"]
    assert len(Probe.of(loader).batches) == 8


def test_a_probe_is_a_copy_in_the_dtype_of_the_network():
    inputs = examples(dtype=torch.float32)[0]
    kept = inputs.clone()
    recorder = Recorder({"input": inputs, "other": "unused"}, schedule=Every(1))
    assert recorder._watch.probe.examples == 64
    inputs.zero_()
    plain = Recorder((kept[:32], kept[32:]), schedule=Every(1), layers="0")  # two batches of one shape
    model = network()
    plain.update(model, step=0)
    wanted = ansatzlab.measure(model, kept.double().split(32), layers="0")["0"].spectrum()
    assert plain.compute().rows[0]["eigenvalues"] == wanted.eigenvalues.tolist()
    moved = recorder._watch.probe.beside(model).batches[0]
    assert torch.equal(moved["input"], kept.double())
    assert moved["other"] == "unused"


@pytest.mark.parametrize(
    ("probe", "said"),
    [
        ([], "got no batch"),
        (torch.zeros(0, 3), "without a tensor of examples"),
        (torch.full((2, 3), math.nan), "not finite"),
        (iter(["text"]), "got a batch that is a str"),
    ],
)
def test_a_probe_without_examples_is_refused(probe, said):
    with pytest.raises(InputError, match=said):
        Recorder(probe)


# --- nothing else happens -------------------------------------------------------------------------------------------


def state_of(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_a_recorded_training_is_the_same_bit_by_bit(tmp_path):
    plain, recorded = Noisy(), Noisy()
    losses = training(plain, 30)
    random = torch.random.get_rng_state()
    recorder = Recorder(
        DataLoader(examples(dtype=torch.float32)[0], batch_size=16, shuffle=True),
        schedule=Every(3),
        seeds=Signs(1),
        folder=tmp_path / "store",
    )
    with recorder:
        assert training(recorded, 30, recorder) == losses
    assert torch.equal(torch.random.get_rng_state(), random)
    assert recorder.overhead.measured == 11
    for name, value in state_of(plain).items():
        assert torch.equal(value, state_of(recorded)[name]), name
    for one, other in zip(plain.parameters(), recorded.parameters(), strict=True):
        assert torch.equal(one.grad, other.grad)


def test_every_module_keeps_its_own_mode_and_train_is_not_called(monkeypatch):
    model = Noisy().train()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    seen = []
    model.body[3].register_forward_hook(lambda module, *_: seen.append(module.training))
    monkeypatch.setattr(Noisy, "train", lambda *_: pytest.fail("train() or eval() was called"))
    recorder = Recorder(examples(dtype=torch.float32)[0])
    assert recorder.update(model, step=0)
    assert seen
    assert not any(seen)
    assert {name: module.training for name, module in model.named_modules()} == modes
    with pytest.raises(KeyError), in_evaluation(model):
        raise KeyError
    assert {name: module.training for name, module in model.named_modules()} == modes


def test_reading_a_spectrally_normalised_weight_does_not_iterate_on_it():
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5))
    model = nn.Sequential(layer, nn.Linear(5, 2)).train()
    before = state_of(model)
    recorder = Recorder(examples(dtype=torch.float32)[0], schedule=Every(1))
    for step in range(2):
        assert recorder.update(model, step=step)
    for name, value in state_of(model).items():
        assert torch.equal(value, before[name]), name


def test_wrapped_networks_are_measured_inside_their_wrappers():
    model = network()
    names = {row["layer"]: row["eigenvalues"] for row in recorded(model)}
    for wrapped in (nn.DataParallel(model), torch.compile(model, backend="eager")):
        assert unwrapped(wrapped) is model
        assert {row["layer"]: row["eigenvalues"] for row in recorded(wrapped)} == names
    assert list(names) == ["0", "2"]


def recorded(model, **keywords):
    recorder = Recorder(examples(dtype=next(model.parameters()).dtype)[0], **keywords)
    recorder.update(model, step=0)
    return recorder.compute().rows


def test_a_sharded_network_is_refused():
    class FullyShardedDataParallel(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

    with pytest.raises(ModelError, match=r"'FullyShardedDataParallel' is sharded"):
        unwrapped(FullyShardedDataParallel(network()))
    model = network()
    model[0].weight.ds_id = 0  # as DeepSpeed marks a parameter of which it has taken the values away
    with pytest.raises(ModelError, match=r"'0\.weight' is sharded"):
        unwrapped(model)


# --- failures -------------------------------------------------------------------------------------------------------


class Moody(nn.Module):
    """Fails when it is told to, and only while it is measured."""

    def __init__(self):
        super().__init__()
        self.net = network()
        self.error = None

    def forward(self, x):
        if self.error is not None and not self.training:
            raise self.error
        return self.net(x)


def test_a_failing_measurement_is_told_once_recorded_and_tried_again(tmp_path):
    model = Moody()
    recorder = Recorder(examples()[0], schedule=Every(1), folder=tmp_path / "store", layers="net.0")
    assert recorder.update(model, step=0)
    model.error = ZeroDivisionError("out of luck")
    with pytest.warns(MeasurementFailedWarning, match=r"step 1: ZeroDivisionError: out of luck – the training goes on"):
        assert not recorder.update(model, step=1, loss=0.5)
    assert not recorder.update(model, step=2)  # would be an error here if it warned again
    model.error = None
    assert recorder.update(model, step=3)
    recording = recorder.compute()
    assert [(failure.step, failure.message) for failure in recording.failures] == [
        (1, "ZeroDivisionError: out of luck"),
        (2, "ZeroDivisionError: out of luck"),
    ]
    assert [(row["step"], row["status"], row["layer"], row["error"]) for row in recording.rows] == [
        (0, "finished", "net.0", None),
        (1, "failed", None, "ZeroDivisionError: out of luck"),
        (2, "failed", None, "ZeroDivisionError: out of luck"),
        (3, "finished", "net.0", None),
    ]
    assert recording.rows[1]["loss"] == 0.5
    assert model.training
    assert recording.overhead.measured == 2
    assert Store.open(tmp_path / "store").table().num_rows == 4
    assert recording.rows[3]["recorded_alignment_init_removed"] is None  # nothing was learned: W is W₀


def test_a_start_that_cannot_be_measured_still_gives_the_initial_weights():
    model = Moody()
    model.error = RuntimeError("not yet")
    recorder = Recorder(examples()[0], schedule=Every(1), layers="net.0")
    with pytest.warns(MeasurementFailedWarning):
        recorder.update(model, step=0)
    model.error = None
    start = copy.deepcopy(model)
    training(model.net, 4)
    recorder.update(model, step=4)
    row = recorder.compute().rows[-1]
    wanted = ansatzlab.measure(model.eval(), examples()[0], initial=start)["net.0"].alignment(0.5, init_removed=True)
    assert row["recorded_alignment_init_removed"] == wanted.value


def test_a_first_batch_that_cannot_be_measured_still_gives_the_initial_weights(tmp_path):
    inputs, model, start = examples()[0], network(), network()
    recorder = Recorder(schedule=Every(2), layers="0", folder=tmp_path)
    with pytest.warns(MeasurementFailedWarning, match="not finite"):
        recorder.update(model, inputs * math.nan, step=0)
    training(model, 2)
    recorder.update(model, inputs, step=2)
    recorder.finish()
    row = recorder.compute().rows[-1]
    wanted = ansatzlab.measure(model, inputs, initial=start)["0"].alignment(0.5, init_removed=True).value
    assert row["recorded_alignment_init_removed"] == wanted
    assert recorder.compute().initial_step == entry_of(tmp_path)["initial_step"] == 0


def test_of_a_lazy_network_the_step_is_told_whose_weights_the_initial_ones_are(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.Linear(8, 3)).double()
    recorder = Recorder(examples()[0], schedule=Every(2), layers="0", folder=tmp_path)
    with pytest.warns(MeasurementFailedWarning, match="no shape before the first call of its lazy module"):
        recorder.update(model, step=0)
    assert recorder.compute().initial_step is None
    model(examples()[0])
    for steps in (2, 4):
        training(model, 2)
        recorder.update(model, step=steps)
    recorder.finish()
    removed = [row.get("recorded_alignment_init_removed") for row in recorder.compute().rows]
    assert removed[:2] == [None, None]
    assert removed[2] is not None
    assert recorder.compute().initial_step == entry_of(tmp_path)["initial_step"] == 2


def test_where_the_initial_weights_are_given_no_step_is_that_of_them():
    recorder = Recorder(examples()[0], initial=network())
    recorder.update(network(), step=5)
    assert recorder.compute().initial_step is None


def test_a_measurement_checks_itself_until_it_once_came_through():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.net, self.mixes = network(), True

        def forward(self, x):
            outputs = self.net(x)
            return outputs - outputs.mean(0) if self.mixes else outputs

    model = Mixing()
    recorder = Recorder(examples()[0], schedule=Every(1))
    with pytest.warns(MeasurementFailedWarning, match="depends on other examples"):
        recorder.update(model, step=0)
    assert not recorder.update(model, step=1)
    model.mixes = False
    assert recorder.update(model, step=2)


def test_where_warnings_are_errors_a_failure_is_logged_and_ends_no_training(caplog):
    model = Moody()
    model.error = ZeroDivisionError("out of luck")
    recorder = Recorder(examples()[0], schedule=Every(1), name="mine")
    with warnings.catch_warnings(action="error"):
        for step in range(2):
            assert not recorder.update(model, step=step)
    (told,) = caplog.records
    assert (told.name, told.levelname) == ("ansatzlab", "WARNING")
    assert told.getMessage().startswith("recorder 'mine', step 0: ZeroDivisionError: out of luck")
    assert [failure.step for failure in recorder.compute().failures] == [0, 1]
    caplog.clear()


def test_the_side_file_says_how_many_moments_were_measured_and_how_many_failed(tmp_path):
    model = Moody()
    recorder = Recorder(examples()[0], schedule=Every(1), folder=tmp_path)
    for step in range(3):
        recorder.update(model, step=step)
    model.error = ZeroDivisionError()
    with pytest.warns(MeasurementFailedWarning):
        recorder.finish(model, step=3)
    entry = entry_of(tmp_path)
    assert (len(entry["steps"]), entry["measured"], entry["failed"]) == (4, 3, 1)


def test_an_interrupted_measurement_interrupts_the_training():
    model = Moody()
    model.error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        Recorder(examples()[0]).update(model, step=0)
    assert model.training


def test_a_store_that_cannot_be_written_does_not_end_the_training(tmp_path):
    recorder = Recorder(examples()[0], schedule=Every(1), folder=tmp_path)
    (tmp_path / "runs").rmdir()
    (tmp_path / "runs").write_text("in the way")
    model = network()
    with pytest.warns(MeasurementFailedWarning, match=r"not written: StoreError: .*cannot be written"):
        assert recorder.update(model, step=0)
    assert recorder.update(model, step=1)
    (tmp_path / "runs").unlink()
    (tmp_path / "runs").mkdir()
    assert len(recorder.compute().rows) == 4
    assert Store.open(tmp_path).table().num_rows == 4


def test_a_layer_whose_gradients_are_too_coarse_has_a_row_that_says_so():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 1000), nn.Linear(1000, 900), nn.Linear(900, 2)).bfloat16()
    with pytest.warns(MeasurementFailedWarning, match=r"layer '1': .*bfloat16 resolve no spectrum"):
        rows = recorded(model, seeds=Signs(1))
    by_layer = {row["layer"]: row for row in rows}
    assert by_layer["1"]["status"] == "failed"
    assert by_layer["1"]["eigenvalues"] is None
    assert by_layer["0"]["status"] == "finished"
    assert by_layer["0"]["eigenvalues"]


def test_levels_that_never_see_a_loss_are_told_at_the_end():
    recorder = Recorder(examples()[0], schedule=AtLossLevels((0.1,)))
    recorder.update(network(), step=0)
    with pytest.warns(MeasurementFailedWarning, match="waits for a loss, and none was given"):
        recorder.finish()


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"step": -1}, "got step -1"),
        ({"step": True}, "got step True"),
        ({"step": torch.tensor(0.5)}, "got step tensor"),
        ({"step": 4}, "step 4 after step 5"),
        ({"step": 6, "loss": torch.ones(3)}, r"got a loss of shape \(3,\)"),
    ],
)
def test_a_step_that_is_none_is_refused(keywords, said):
    recorder = Recorder(examples()[0], schedule=Every(1))
    recorder.update(network(), step=5)
    with pytest.raises(InputError, match=said):
        recorder.update(network(), **keywords)
    assert recorder.last_step == 5


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"convention": Convention(0.5, centered=True), "seeds": Signs(1)}, "draws other signs"),
        ({"name": ""}, "empty text"),
        ({"settings": {"seed": "three"}}, "'seed' got 'three'"),
        ({"settings": {"data": 3}}, "'data' got 3"),
        ({"settings": {"depth": "deep"}}, "'depth' got 'deep'"),
        ({"settings": {"anything": object()}}, "not JSON serializable"),
        ({"settings": {"rate": math.nan}}, "not JSON compliant"),
    ],
)
def test_a_recorder_refuses_what_it_could_not_record(keywords, said):
    with pytest.raises(InputError, match=said):
        Recorder(examples()[0], **keywords)


def test_a_recorder_without_anything_to_measure_on_or_to_tell_says_so():
    with pytest.raises(InputError, match="has no probe and got no batch"):
        Recorder().update(network(), step=0)
    with pytest.raises(InputError, match="nothing was recorded"):
        Recorder(examples()[0]).compute()


# --- the store ------------------------------------------------------------------------------------------------------

SETTINGS = {"data": "sines", "optimizer": "heavy_ball", "learning_rate": 0.1, "weight_decay": 0.0, "seed": 3}


def test_the_rows_of_the_store_are_those_of_the_recording_and_can_be_read_like_a_sweeps(tmp_path):
    recorder = Recorder(
        examples()[0], schedule=LogSpaced(4, last=9), folder=tmp_path, name="sines: tanh", settings=SETTINGS
    )
    with recorder:
        training(network(), 9, recorder)
    recording = recorder.compute()
    table = Store.open(tmp_path).table()
    assert table.equals(recording.table())
    (run,) = RunTable(table).runs("sines: tanh")
    assert (run.depth, run.seed, run.learning_rate, run.data) == (2, 3, 0.1, "sines")
    assert run.column("step").tolist() == log_spaced_steps(9, 4)
    assert [spectrum.alignment(0.5) for spectrum in run.spectra(1)] == run.column("recorded_alignment").tolist()
    assert run.spec["options"] == SETTINGS
    assert run.spec["recorder"]["schedule"] == {"kind": "LogSpaced", "count": 4, "last": 9}
    (listed,) = list_runs(table)
    assert (listed["optimizer"], listed["status"], listed["loss"]) == ("heavy_ball", "finished", run.column("loss")[-1])
    assert listed["alignment"] == run.column("recorded_alignment")[-1]


class Called(nn.Module):
    """Like its part, but nobody knows what else it does."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, x):
        return self.part(x)


def square():
    return nn.Linear(6, 6, dtype=torch.float64)


def twice():
    layer = square()
    return nn.Sequential(layer, nn.Tanh(), layer)


@pytest.mark.parametrize(
    ("make", "keywords", "depth", "places"),
    [
        (lambda: nn.Sequential(square(), nn.Tanh(), square(), square()), {}, 3, [1, 2, 3]),
        (lambda: nn.Sequential(nn.Sequential(square(), nn.ReLU()), nn.LayerNorm(6).double(), square()), {}, 2, [1, 2]),
        (square, {}, 1, [1]),
        (lambda: nn.Sequential(square(), square(), square()), {"layers": "1"}, 0, [2]),
        (lambda: nn.Sequential(square(), square()), {"layers": "1", "settings": {"depth": 2}}, 2, [2]),
        (lambda: Called(nn.Sequential(square(), square())), {}, 0, [1, 2]),
        (lambda: Called(nn.Sequential(square(), square())), {"settings": {"depth": 2}}, 2, [1, 2]),
        (lambda: nn.Sequential(Called(square()), square()), {}, 0, [1, 2]),
        (twice, {}, 0, [1]),
    ],
)
def test_a_depth_is_stored_only_where_it_is_known(make, keywords, depth, places):
    torch.manual_seed(0)
    rows = recorded(make(), **keywords)
    assert [row["layer_index"] for row in rows] == places
    assert {row["depth"] for row in rows} == {depth}


def test_several_recordings_share_a_folder_and_a_list_of_what_they_are(tmp_path):
    for seed in (0, 1):
        recorder = Recorder(examples()[0], schedule=Every(2), folder=tmp_path, seeds=Output(1), settings={"seed": seed})
        with recorder:
            training(network(), 4, recorder)
        recorder.reset()
        training(network(), 2, recorder)
        recorder.compute()
    assert len(Store.open(tmp_path).finished()) == 4
    entries = json.loads((tmp_path / "recording.json").read_text())["recordings"]
    assert {entry["run_id"] for entry in entries} == Store.open(tmp_path).finished()
    assert sorted((entry["settings"]["seed"], entry["finished"], entry["steps"]) for entry in entries) == [
        (0, False, [0, 2]),
        (0, True, [0, 2, 4]),
        (1, False, [0, 2]),
        (1, True, [0, 2, 4]),
    ]
    entry = next(entry for entry in entries if entry["finished"])
    assert entry["layers"] == ["0", "2"]
    assert entry["recorder"]["seeds"] == {"kind": "Output", "index": 1}
    assert entry["overhead"]["measured"] == 3
    assert (
        0
        < entry["overhead"]["share"]
        == pytest.approx(entry["overhead"]["recording_seconds"] / entry["overhead"]["training_seconds"])
    )


def test_a_side_file_of_something_else_is_left_alone(tmp_path):
    recorder = Recorder(examples()[0], folder=tmp_path)
    (tmp_path / "recording.json").write_text('{"recordings": 3}')
    with pytest.warns(MeasurementFailedWarning, match="is not what a recorder writes"):
        recorder.update(network(), step=0)
    assert (tmp_path / "recording.json").read_text() == '{"recordings": 3}'


def test_a_folder_that_is_no_store_is_refused_before_the_training(tmp_path):
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a store"):
        Recorder(examples()[0], folder=tmp_path)


KILLED = """
import sys, torch
from torch import nn
from ansatzlab.training import journal
from ansatzlab.training.moments import Every
from ansatzlab.training.recorder import Recorder
journal.WRITING_SHARE = float("inf")
recorder = Recorder(torch.randn(8, 4), schedule=Every(1), folder=sys.argv[1])
model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
for step in range(1_000_000):
    recorder.update(model, step=step)
    print(step, flush=True)
"""


def test_a_killed_training_keeps_what_was_recorded(tmp_path):
    with subprocess.Popen([sys.executable, "-c", KILLED, tmp_path], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if int(line) >= 5:
                os.kill(process.pid, signal.SIGKILL)
                break
        process.wait()
    table = Store.open(tmp_path).table()
    steps = table["step"].to_pylist()
    assert max(steps) >= 5
    assert steps == sorted([*range(max(steps) + 1)] * 2)


def test_writing_waits_until_it_has_cost_no_more_than_its_share(tmp_path, monkeypatch):
    clock = iter([0.0, 2.0, 100.0, 201.9, 202.1, 202.2, 203.0, 203.5])
    monkeypatch.setattr(journal_module, "perf_counter", lambda: next(clock))
    journal, written = journal_module.Journal(tmp_path), []

    def write(number, **keywords):
        journal.write("run", lambda: written.append(number) or recorded_rows(), dict, **keywords)

    write(0)  # from 0 to 2 s: the next one not before 202 s
    write(1)  # at 100 s
    write(2)  # at 201.9 s
    write(3)  # from 202.1 to 202.2 s
    write(4, now=True)  # whatever it costs
    assert written == [0, 3, 4]


def recorded_rows():
    return [{**row, "run_id": "run"} for row in recorded(network())]


# --- what it costs --------------------------------------------------------------------------------------------------


def test_the_overhead_is_the_time_inside_the_recorder_over_the_time_outside(monkeypatch):
    times = iter([10.0, 11.0, 15.0, 15.5, 20.0, 21.0, 22.5, 40.0, 40.25])
    monkeypatch.setattr("ansatzlab.training.overhead.perf_counter", lambda: next(times))
    clock, model = Stopwatch(), nn.Linear(1, 1)
    clock.start()  # 10
    clock.stop()  # 11
    clock.start()  # 15
    clock.stop()  # 15.5
    clock.start()  # 20
    clock.restart_once_idle(model)  # 21: until then the training was not ready
    clock.stop()  # 22.5
    with clock.charged():  # from 40 to 40.25, the time before not counted
        pass
    overhead = clock.overhead(measured=2)
    assert (overhead.recording_seconds, overhead.total_seconds) == (3.25, 12.75)
    assert (overhead.training_seconds, overhead.share) == (9.5, 3.25 / 9.5)
    assert str(overhead) == "recording took 3.25 s beside 9.50 s of training (34 %); measured at 2 steps."


def test_without_a_training_there_is_no_share():
    overhead = Stopwatch().overhead(0)
    assert math.isnan(overhead.share)
    assert str(overhead) == "recording took 0.00 s beside 0.00 s of training; measured at 0 steps."


def test_the_overhead_is_logged_at_the_end(caplog):
    with caplog.at_level("INFO", logger="ansatzlab"), Recorder(examples()[0], name="mine") as recorder:
        recorder.update(network(), step=0)
    assert f"recorder 'mine': {recorder.overhead}" in caplog.text


def test_a_training_that_breaks_off_is_written_and_its_error_goes_on(tmp_path):
    recorder = Recorder(examples()[0], schedule=Every(1), folder=tmp_path, seeds=Exact())
    model = network()

    def broken():
        with recorder:
            for step in range(3):
                recorder.update(model, step=step)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        broken()
    assert Store.open(tmp_path).table().num_rows == 6


def test_reset_forgets_everything_and_takes_another_id():
    recorder = Recorder(examples()[0], schedule=Every(1), layers="0")
    model = network()
    recorder.update(model, step=0)
    training(model, 3)
    recorder.update(model, step=3)
    before = recorder.run_id
    recorder.reset()
    assert recorder.run_id != before
    assert recorder.last_step is None
    recorder.update(model, step=0)
    (row,) = recorder.compute().rows
    assert row["recorded_alignment_init_removed"] is None  # W₀ is the weights at the new start


def test_random_signs_are_the_same_at_every_moment():
    recorder = Recorder(examples()[0], schedule=Every(1), seeds=Signs(1), layers="0")
    model = network()
    with warnings.catch_warnings(action="error"):
        for step in range(2):
            recorder.update(model, step=step)
    first, second = recorder.compute().rows
    assert without(first, *TIMES, "step", "snapshot") == without(second, *TIMES, "step", "snapshot")
