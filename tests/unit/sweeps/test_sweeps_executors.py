from collections.abc import Iterator

import pytest
import torch

from ansatzlab.sweeps.batch import Batch
from ansatzlab.sweeps.executors import Executor, serial
from ansatzlab.sweeps.run import Rows
from ansatzlab.sweeps.spec import DataSpec, ModelSpec, RunSpec
from ansatzlab.training.dynamics import GradientFlow

BATCHES = [
    Batch(
        (
            RunSpec(
                experiment="try",
                data=DataSpec(name="digits"),
                model=ModelSpec(hidden=(2,)),
                dynamics=GradientFlow(flow_time=1.0),
                seed=seed,
            ),
        )
    )
    for seed in range(3)
]


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_serial_runs_on_one_thread_and_restores_the_count() -> None:
    during: list[int] = []

    def run(batch: Batch) -> Rows:
        during.append(torch.get_num_threads())
        return [{"seed": batch.specs[0].seed}]

    for batch, rows in serial(run, BATCHES):
        assert torch.get_num_threads() == 2, "between the runs too"
        assert rows == [{"seed": batch.specs[0].seed}]
    assert during == [1, 1, 1]
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_serial_restores_the_count_when_a_run_is_interrupted() -> None:
    def run(_: Batch) -> Rows:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(serial(run, BATCHES))
    assert torch.get_num_threads() == 2


def test_serial_keeps_the_order_and_hands_each_run_back_at_once() -> None:
    done: list[int] = []

    def run(batch: Batch) -> Rows:
        done.append(batch.specs[0].seed)
        return []

    assert isinstance(serial, Executor)
    executed = serial(run, BATCHES)
    assert next(executed)[0] == BATCHES[0]
    assert done == [0], "the second run has not begun"
    assert [batch.specs[0].seed for batch, _ in executed] == [1, 2]
