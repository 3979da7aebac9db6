"""Hugging Face: a real Trainer on a tiny transformer; what the callback records equals a recorder driven by hand."""

import pydoc_data.topics

import pytest
import torch

from ansatzlab import Outputs, Signs
from ansatzlab.errors import InputError, ModelError
from ansatzlab.store.parquet import Store
from ansatzlab.training.failures import MeasurementFailedWarning
from ansatzlab.training.moments import AtLossLevels, Every
from ansatzlab.training.recorder import Recorder

pytest.importorskip("transformers", reason="transformers is not installed; run `make integrations`")
pytest.importorskip("accelerate", reason="accelerate is not installed; run `make integrations`")

import transformers
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from ansatzlab.integrations.huggingface import AnsatzCallback

TIMES = ("wall_seconds", "recording_seconds", "run_id")
LENGTH = 16
LAYER = "transformer.h.0.mlp.c_fc"


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers.logging.set_verbosity_error()


@pytest.fixture(scope="module")
def text():
    """Windows of the bytes of Python's own documentation."""
    content = "".join(pydoc_data.topics.topics.values()).encode()[: 100 * LENGTH]
    return torch.tensor(list(content)).reshape(-1, LENGTH)


def network():
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=256, n_positions=LENGTH, n_embd=16, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=None
    )
    return GPT2LMHeadModel(config)  # with its dropout


def recorder_of(text, **settings):
    probe = [{"input_ids": part} for part in text[:16].split(8)]
    output = Outputs("logits", positions="last")
    return Recorder(probe, **{"schedule": Every(4), "seeds": Signs(1), "output": output, **settings})


def trainer(text, folder, *, steps=10, callbacks=(), **settings):
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=8,
        learning_rate=0.01,
        use_cpu=True,
        disable_tqdm=True,
        seed=3,
        **{"logging_steps": 4, "report_to": [], "save_strategy": "no", **settings},
    )
    data = [{"input_ids": window, "labels": window} for window in text[16:]]
    return Trainer(model=network(), args=arguments, train_dataset=data, callbacks=list(callbacks))


def fit(text, folder, recorder, **settings):
    made = trainer(text, folder, **settings)
    if recorder is not None:
        AnsatzCallback(recorder).attach(made)
    made.train()
    return made


class Driven(TrainerCallback):
    """Calls a recorder by hand: after every step, the loss put in afterwards from the trainer's own log."""

    def __init__(self, recorder):
        self.recorder = recorder

    def on_train_begin(self, args, state, control, **event):  # noqa: ARG002
        self.recorder.update(event["model"], step=0)

    def on_step_end(self, args, state, control, **event):  # noqa: ARG002
        self.recorder.update(event["model"], step=state.global_step)

    def on_train_end(self, args, state, control, **event):  # noqa: ARG002
        self.recorder.finish(event["model"], step=state.global_step)


def rows_of(recorder, *names):
    return [
        {name: value for name, value in row.items() if name not in (*TIMES, *names)} for row in recorder.compute().rows
    ]


def test_the_rows_are_those_of_a_recorder_driven_by_hand(text, tmp_path):
    theirs = recorder_of(text, folder=tmp_path / "store", name="bytes")
    ours = recorder_of(text, name="bytes")
    trained = fit(text, tmp_path, theirs)
    plain = trainer(text, tmp_path, callbacks=[Driven(ours)])
    plain.train()
    assert rows_of(theirs, "loss") == rows_of(ours, "loss")
    assert sorted({row["step"] for row in rows_of(ours)}) == [0, 4, 8, 10]
    assert {row["layer"] for row in rows_of(ours)} >= {LAYER, "transformer.wte", "lm_head"}
    for name, value in trained.model.state_dict().items():
        assert torch.equal(value, plain.model.state_dict()[name]), name
    logged = {entry["step"]: entry["loss"] for entry in plain.state.log_history if "loss" in entry}
    losses = {row["step"]: row["loss"] for row in rows_of(theirs)}
    assert losses == {0: None, 4: logged[4], 8: logged[8], 10: None}
    assert Store.open(tmp_path / "store").table().equals(theirs.compute().table())


@pytest.mark.parametrize(
    "settings", [{}, {"logging_strategy": "epoch", "steps": -1, "num_train_epochs": 2}, {"logging_steps": 1}]
)
def test_the_callback_leaves_training_and_log_as_they_are(text, tmp_path, settings):
    plain = fit(text, tmp_path, None, **settings)
    watched = fit(text, tmp_path, recorder_of(text, schedule=Every(1)), **settings)
    assert len([entry for entry in plain.state.log_history if "loss" in entry]) >= 2
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name
    kept = [entry for entry in watched.state.log_history if not any(name.startswith("ansatz/") for name in entry)]
    for one, other in zip(plain.state.log_history, kept, strict=True):
        assert {name: value for name, value in one.items() if not name.startswith("train_")} == {
            name: value for name, value in other.items() if not name.startswith("train_")
        }


def test_the_trainer_logs_the_scalars_of_the_rows(text, tmp_path):
    recorder = recorder_of(text)
    made = fit(text, tmp_path, recorder)
    history = [entry for entry in made.state.log_history if f"ansatz/{LAYER}/alignment" in entry]
    rows = {row["step"]: row for row in recorder.compute().rows if row["layer"] == LAYER}
    assert [entry["step"] for entry in history] == list(rows) == [0, 4, 8, 10]
    for entry in history:
        row = rows[entry["step"]]
        assert entry[f"ansatz/{LAYER}/alignment"] == row["recorded_alignment"]
        assert entry.get(f"ansatz/{LAYER}/alignment_init_removed") == row["recorded_alignment_init_removed"]
    assert history[-1]["ansatz/overhead_percent"] > 0


@pytest.mark.filterwarnings("ignore:Importing from `tensorboard`")
def test_the_event_file_of_tensorboard_holds_what_the_rows_hold(text, tmp_path, monkeypatch):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="tensorboard is not installed; run `make integrations`",
    )
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "tb"))
    recorder = recorder_of(text)
    fit(text, tmp_path, recorder, report_to=["tensorboard"])
    assert len(list((tmp_path / "tb").iterdir())) == 1  # nothing was logged behind the end
    events = accumulator.EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    got = [(event.step, event.value) for event in events.Scalars(f"train/ansatz/{LAYER}/alignment")]
    wanted = [(row["step"], row["recorded_alignment"]) for row in recorder.compute().rows if row["layer"] == LAYER]
    assert [step for step, _ in got] == [step for step, _ in wanted]
    torch.testing.assert_close([value for _, value in got], [value for _, value in wanted], rtol=1e-6, atol=0)
    assert [event.step for event in events.Scalars("train/loss")] == [4, 8]


def test_accumulated_batches_are_one_step(text, tmp_path):
    recorder = recorder_of(text)
    fit(text, tmp_path, recorder, steps=5, gradient_accumulation_steps=2)
    assert sorted({row["step"] for row in rows_of(recorder)}) == [0, 4, 5]


def test_a_callback_that_is_only_passed_records_and_does_not_log(text, tmp_path):
    recorder = recorder_of(text)
    made = trainer(text, tmp_path, callbacks=[AnsatzCallback(recorder)])
    made.train()
    assert len({row["step"] for row in rows_of(recorder)}) == 4
    assert not any(name.startswith("ansatz/") for entry in made.state.log_history for name in entry)


def test_attaching_one_that_was_passed_does_not_add_it_twice(text, tmp_path):
    callback = AnsatzCallback(recorder_of(text))
    made = trainer(text, tmp_path, callbacks=[callback])
    assert callback.attach(made) is callback
    assert made.callback_handler.callbacks.count(callback) == 1


def test_a_failing_measurement_leaves_the_training_as_it_is(text, tmp_path, monkeypatch):
    plain = fit(text, tmp_path, None)

    def broken(*_, **__):
        raise RuntimeError("no luck")

    monkeypatch.setattr("ansatzlab.training.probe.measure", broken)
    recorder = recorder_of(text)
    with pytest.warns(MeasurementFailedWarning, match="RuntimeError: no luck"):
        watched = fit(text, tmp_path, recorder)
    assert [failure.step for failure in recorder.compute().failures] == [0, 4, 8, 10]
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, watched.model.state_dict()[name]), name


def test_loss_levels_are_looked_at_where_the_trainer_logs(text, tmp_path):
    recorder = recorder_of(text, schedule=AtLossLevels((4.9, 4.0)))
    made = fit(text, tmp_path, recorder, steps=20, logging_steps=2)
    logged = {entry["step"]: entry["loss"] for entry in made.state.log_history if "loss" in entry}
    wanted = [0, *(next(step for step, loss in logged.items() if loss <= level) for level in (4.9, 4.0)), 20]
    assert sorted({row["step"] for row in rows_of(recorder)}) == wanted


def test_a_training_that_a_callback_stops_is_measured_where_it_stopped(text, tmp_path):
    class Stop(TrainerCallback):
        def on_step_end(self, args, state, control, **event):  # noqa: ARG002
            control.should_training_stop = state.global_step == 6

    recorder = recorder_of(text)
    fit(text, tmp_path, recorder, callbacks=[Stop()])
    assert sorted({row["step"] for row in rows_of(recorder)}) == [0, 4, 6]


def test_the_best_model_is_not_taken_for_the_last_state(text, tmp_path):
    class StopLate(TrainerCallback):
        def on_epoch_end(self, args, state, control, **event):  # noqa: ARG002
            control.should_training_stop = True

    recorder = recorder_of(text, schedule=Every(100))
    callback = AnsatzCallback(recorder)
    made = trainer(
        text, tmp_path, steps=40, callbacks=[callback, StopLate()], save_strategy="epoch", load_best_model_at_end=False
    )
    made.args.load_best_model_at_end = True  # as if one had been found: nothing is loaded here
    made.train()
    assert recorder.last_step < 40
    assert sorted({row["step"] for row in rows_of(recorder)}) == [0]


def test_a_second_trainer_starts_a_recording_of_its_own(text, tmp_path):
    recorder = recorder_of(text, folder=tmp_path / "store")
    for steps in (5, 2):
        fit(text, tmp_path, recorder, steps=steps)
    assert len(Store.open(tmp_path / "store").finished()) == 2
    assert sorted({row["step"] for row in rows_of(recorder)}) == [0, 2]


def test_a_sharded_network_is_refused_before_the_training(text, tmp_path):
    made = trainer(text, tmp_path)
    AnsatzCallback(recorder_of(text)).attach(made)
    made.model.lm_head.weight.ds_id = 0
    with pytest.raises(ModelError, match="is sharded"):
        made.train()


def test_only_the_first_process_measures(text, tmp_path):
    recorder = recorder_of(text)
    made = trainer(text, tmp_path)
    callback, made.state.is_world_process_zero = AnsatzCallback(recorder), False
    for event in ("on_train_begin", "on_step_begin", "on_epoch_end", "on_train_end"):
        getattr(callback, event)(made.args, made.state, made.control, model=made.model)
    assert recorder.last_step is None


def test_a_recorder_without_a_probe_is_refused():
    with pytest.raises(InputError, match="without a probe"):
        AnsatzCallback(Recorder())
