"""Two real processes against one: the same sums, or an error in both, and never a wait without end."""

import importlib.util
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from ansatzlab.errors import InputError
from ansatzlab.measurement.distributed import process_group, reduce_measurement, shard
from ansatzlab.measurement.result import Measurement
from ansatzlab.testing.compare import assert_close

SCRIPT = Path(__file__).with_name("distributed_worker.py")
PATIENCE = 240
"""Seconds until a process counts as hanging."""

GONE = "another process ended, failed or did not arrive before the sums were added up"


def load_worker():
    spec = importlib.util.spec_from_file_location("distributed_worker", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = load_worker()


def environment(**more):
    return {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **more}


def start(scenario, rank, port):
    where = environment(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE="2")
    return subprocess.Popen(
        [sys.executable, str(SCRIPT), scenario],
        env=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run(scenario, *, wait_for=(0, 1)):
    """Start both processes; return exit codes, outputs and errors of those that are waited for."""
    port = free_port()
    processes = [start(scenario, rank, port) for rank in (0, 1)]
    try:
        found = [processes[rank].communicate(timeout=PATIENCE) for rank in wait_for]
        return [(processes[rank].returncode, *texts) for rank, texts in zip(wait_for, found, strict=True)]
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def reduced(tmp_path_factory):
    """What each of two processes under torchrun returns, by the kind of measurement."""
    folder = tmp_path_factory.mktemp("reduced")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*launcher, str(SCRIPT), "equal", str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {name: [Measurement.load(folder / f"{name}.{rank}") for rank in (0, 1)] for name in worker.parts(0, 1)}


@pytest.fixture(scope="module")
def alone():
    return worker.parts(0, 1)


@pytest.mark.parametrize("name", ["gram", "factor", "start", "convolutions"])
def test_two_processes_equal_one(name, reduced, alone):
    for whole in reduced[name]:
        assert list(whole) == list(alone[name])
        assert whole.skipped == alone[name].skipped
        for layer, wanted in alone[name].items():
            compare(whole[layer], wanted)


def compare(got, wanted):
    for centered in (False, True):
        moment = wanted.sums.mean_gram(centered=centered)
        scale = float(wanted.sums.mean_gram().norm())
        assert_close(got.sums.mean_gram(centered=centered), moment, what=f"K of {wanted.name}", scale=scale)
    assert_close(got.sums.by_output, wanted.sums.by_output, what="sums by output")
    assert got.sums.is_factor == wanted.sums.is_factor
    assert got.sums.examples == wanted.sums.examples == 33
    assert got.sums.weight_total == pytest.approx(wanted.sums.weight_total, rel=1e-14)
    assert got.sums.position_total == pytest.approx(wanted.sums.position_total, rel=1e-14)
    assert torch.equal(got.blocks, wanted.blocks)
    for exponent in (0.5, 1.0):
        assert got.alignment(exponent).value == pytest.approx(wanted.alignment(exponent).value, abs=1e-10)
    assert got.fit_exponent().value == pytest.approx(wanted.fit_exponent().value, rel=1e-9)
    # every example of 33 is in the sample, so the errors agree too, to their single precision
    assert got.alignment(0.5).error == pytest.approx(wanted.alignment(0.5).error, rel=1e-3, abs=1e-6)
    assert (got.start is None) == (wanted.start is None)
    if wanted.start is not None:
        compare(got.start, wanted.start)


def test_the_cases_cover_a_start_weights_and_positions(alone):
    assert alone["start"]["0"].start is not None
    assert alone["gram"]["0"].sums.weight_total != 33
    assert alone["convolutions"]["0"].positions == 16
    assert alone["convolutions"]["2"].groups == 2


@pytest.mark.parametrize("name", ["gram", "factor", "start", "convolutions", "signs"])
def test_both_processes_return_the_same_to_a_bit(name, reduced):
    first, second = reduced[name]
    for layer in first:
        assert torch.equal(first[layer].sums.second_moment, second[layer].sums.second_moment)
        assert torch.equal(first[layer].sums.by_output, second[layer].sums.by_output)
        assert repr(first[layer].alignment(0.5)) == repr(second[layer].alignment(0.5))
        assert first[layer].seeds == second[layer].seeds


def test_as_many_examples_are_sampled_as_in_one_process(reduced, alone):
    for layer in reduced["signs"][0]:
        sample, wanted = reduced["signs"][0][layer].sums.sample, alone["signs"][layer].sums.sample
        assert len(sample.places) == len(sample.weights) == len(sample.rows)
        assert len(sample.places) == len(wanted.places) == 512
        got, one = (found["signs"][layer].alignment(0.5) for found in ({"signs": reduced["signs"][0]}, alone))
        assert got.value == pytest.approx(one.value, abs=6 * (one.error**2 + got.error**2) ** 0.5)  # other signs
        assert 0.5 < got.error / one.error < 2


@pytest.mark.slow
def test_parts_that_do_not_fit_are_refused_in_both_processes():
    for code, output, errors in run("refused"):
        assert code == 0, errors
        lines = output.splitlines()
        assert "rank 0 measured the layers ['0', '2', '4'] and rank 1 ['0']; wanted the same" in lines[0]
        assert "layer '0': rank 1 and rank 0 differ in weights" in lines[1]
        assert "rank 1 and rank 0 differ in accumulation (factor and gram)" in lines[2]
        assert "got Signs with the seeds [0] in 2 processes; wanted one for each" in lines[3]
        assert "rank 1 and rank 0 differ in initial weights" in lines[4]
        assert lines[5:] == ["33 examples"]


@pytest.mark.slow
def test_a_process_that_was_killed_makes_the_other_fail_with_a_message():
    (code, _, errors), (killed, _, _) = run("killed")
    assert killed == 9
    assert code == 1
    assert f"ansatzlab.errors.AnsatzError: reduce_measurement: {GONE}" in errors


@pytest.mark.slow
def test_a_process_that_does_not_come_makes_the_other_fail_after_the_timeout():
    ((code, _, errors),) = run("late", wait_for=(0,))
    assert code == 1
    assert GONE in errors


@pytest.mark.slow
def test_a_process_without_a_batch_says_to_use_fewer_and_the_other_fails_with_a_message():
    (code, _, errors), (without, _, cause) = run("empty")
    assert without == 1
    assert "shard: there is no batch for rank 1 of 2 processes" in cause
    assert "use fewer processes" in cause
    assert code == 1
    assert GONE in errors


@pytest.mark.slow
def test_a_process_that_finds_no_other_says_so():
    process = start("alone", 0, free_port())
    _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "ansatzlab.errors.AnsatzError: process_group: the 2 processes did not find each other within 3 s" in errors


# --- one process ----------------------------------------------------------------------------------------------------


def test_shares_are_disjoint_and_whole():
    batches = list(torch.arange(10).split(2))
    for kind in (list, tuple, iter):
        shares = [list(shard(kind(batches), rank, 3)) for rank in range(3)]
        assert [len(share) for share in shares] == [2, 2, 1]
        assert sorted(int(x) for share in shares for batch in share for x in batch) == list(range(10))
        assert [int(batch[0]) for batch in shares[1]] == [2, 8]


def test_a_single_tensor_is_one_batch():
    assert len(list(shard(torch.ones(4, 2), 0, 2))) == 1
    with pytest.raises(InputError, match="there is no batch for rank 1 of 2 processes"):
        list(shard(torch.ones(4, 2), 1, 2))


def test_a_rank_must_be_below_the_number_of_processes():
    with pytest.raises(InputError, match="got rank 2 of 2 processes; wanted 0 to 1"):
        shard([], 2, 2)


def test_one_process_needs_no_group(monkeypatch, alone):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with process_group() as place:
        assert place == (0, 1)
        assert not dist.is_initialized()
        assert reduce_measurement(alone["gram"]) is alone["gram"]


def test_a_group_of_one_that_is_there_is_used_and_left(tmp_path, alone):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        with process_group() as place:
            assert place == (0, 1)
            assert reduce_measurement(alone["gram"]) is alone["gram"]
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()
