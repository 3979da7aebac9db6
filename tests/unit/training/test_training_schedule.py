import numpy as np
import pytest
import torch

from ansatzlab.training.schedule import EARLIEST, elapsed, log_spaced_steps, log_spaced_times, rate_factor


@pytest.mark.parametrize("end", [0.3, 50.0, 1e4])
@pytest.mark.parametrize("count", [2, 3, 10, 40])
def test_times_start_at_zero_and_end_at_the_end(end: float, count: int) -> None:
    times = log_spaced_times(end, count)
    assert len(times) == count
    assert (times[0], times[-1]) == (0.0, end)
    assert times == sorted(set(times))


def test_times_are_evenly_spaced_on_a_logarithmic_axis() -> None:
    times = np.array(log_spaced_times(7.0, 12))
    np.testing.assert_allclose(times[1], EARLIEST * 7.0, rtol=1e-15)
    ratios = times[2:] / times[1:-1]
    np.testing.assert_allclose(ratios, EARLIEST ** (-1 / 10))


@pytest.mark.parametrize("last", [1, 2, 5, 17, 300, 4000])
@pytest.mark.parametrize("count", [2, 3, 4, 20, 301])
def test_steps_start_at_zero_and_end_at_the_last_without_repeats(last: int, count: int) -> None:
    steps = log_spaced_steps(last, count)
    assert steps[0] == 0
    assert steps[-1] == last
    assert steps == sorted(set(steps))
    assert len(steps) <= count
    assert all(isinstance(step, int) for step in steps)


@pytest.mark.parametrize("count", [301, 302, 1000])
def test_more_snapshots_than_steps_give_every_step(count: int) -> None:
    assert log_spaced_steps(300, count) == list(range(301))


def test_steps_are_evenly_spaced_on_a_logarithmic_axis() -> None:
    assert log_spaced_steps(1000, 5) == [0, 1, 10, 100, 1000]


@pytest.mark.parametrize("steps", [1, 2, 7, 200])
def test_cosine_is_what_torch_calls_it(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for step in range(steps):
        assert 0.3 * rate_factor("cosine", step, steps) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-9)
        optimizer.step()
        scheduler.step()
    assert rate_factor("cosine", 0, steps) == 1.0
    assert rate_factor("cosine", steps, steps) == 0.0


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_elapsed_is_the_sum_of_the_rates_before(schedule: str) -> None:
    total = 0.0
    for step in range(31):
        assert elapsed(schedule, step, 30) == pytest.approx(total, rel=1e-13)
        total += rate_factor(schedule, step, 30)
    assert rate_factor("constant", 17, 30) == 1.0
