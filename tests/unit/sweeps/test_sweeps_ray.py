"""Sweeps by Ray, on a cluster of two nodes on this machine."""

import importlib.util
import os
import secrets
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ansatzlab.errors import InputError
from ansatzlab.store.parquet import Store
from ansatzlab.sweeps.batch import Batch, run_batch
from ansatzlab.sweeps.executors import serial
from ansatzlab.sweeps.processes import Processes
from ansatzlab.sweeps.ray import Ray
from ansatzlab.sweeps.spec import DataSpec, RunSpec
from ansatzlab.sweeps.sweep import sweep
from ansatzlab.testing.contracts import check_executor

SCRIPT = Path(__file__).parents[2] / "truth" / "sweep_driver.py"
PATIENCE = 120
"""Seconds until something counts as hanging."""


def load_driver():
    spec = importlib.util.spec_from_file_location("sweep_driver", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


driver = load_driver()
ONE = [Batch((driver.specs(1)[0],))]


@pytest.fixture(scope="module", autouse=True)
def token(tmp_path_factory):
    """Every cluster here asks for one token, which is not that of the home folder."""
    path = tmp_path_factory.mktemp("ray") / "token"
    path.write_text(secrets.token_hex(32))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "token")
        patch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        yield


@pytest.fixture(scope="module")
def cluster():
    """A cluster of a head and a worker node, one core each."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'ansatzlab[ray]'")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()


def swept(folder, executor, count):
    table = sweep(driver.specs(count), store=Store.open(folder), executor=executor, batch_size=1)
    return table.drop_columns(["wall_seconds"])


def executions(folder):
    return [run for _, *runs in driver.logged(folder) for run in runs]


@pytest.mark.slow
def test_ray_keeps_the_contract(cluster):
    check_executor(Ray(cluster.address), driver.specs(3))


@pytest.mark.slow
def test_serial_processes_and_ray_give_the_same_table(cluster, tmp_path):
    one, two, three = (
        swept(tmp_path / name, executor, 8)
        for name, executor in (("serial", serial), ("processes", Processes(2)), ("ray", Ray(cluster.address)))
    )
    assert set(one["status"].to_pylist()) == {"finished", "diverged", "failed"}
    assert one.equals(two)
    assert one.equals(three)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["worker", "node"])
def test_a_killed_worker_or_node_costs_one_more_execution_of_its_batch(cluster, tmp_path, what):
    victims = []

    def kill():
        """Kill what executes the first batch that is seen on the worker node."""
        node = next(iter(cluster.worker_nodes))
        raylet = node.all_processes["raylet"][0].process.pid
        deadline = time.monotonic() + PATIENCE
        while not victims and time.monotonic() < deadline:
            for pid, run in driver.logged(tmp_path):
                stat = Path(f"/proc/{pid}/stat")
                if stat.exists() and int(stat.read_text().rpartition(")")[2].split()[1]) == raylet:
                    victims[:] = [run]
                    break
            time.sleep(0.01)
        if what == "worker":
            os.kill(int(pid), signal.SIGKILL)
        else:
            cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    logged = driver.Logged(Ray(cluster.address, workers=2), tmp_path / "log", 2.0)
    table = swept(tmp_path / "out", logged, 6)
    killer.join()
    if what == "node":
        cluster.add_node(num_cpus=1)
    (victim,) = victims
    counts = dict.fromkeys((spec.run_id for spec in driver.specs(6)), 1) | {victim: 2}
    assert {run: executions(tmp_path).count(run) for run in counts} == counts
    assert table.equals(swept(tmp_path / "undisturbed", serial, 6))


@pytest.mark.slow
def test_what_is_running_when_the_sweep_stops_is_ended(cluster, tmp_path):
    begun, done = tmp_path / "log", tmp_path / "done"
    work = partial(driver.write_down, partial(driver.write_down, run_batch, done, 0.0), begun, 1.0)
    batches = [Batch((spec,)) for spec in driver.specs(6)]
    results = Ray(cluster.address)(work, batches)
    next(results)
    results.close()
    pids = {int(pid) for pid, _ in driver.logged(tmp_path)}
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(done.read_text().splitlines()) <= 2, "at most those that both nodes had begun at first"
    assert len(driver.logged(tmp_path)) <= 4


@pytest.mark.slow
def test_data_are_found_by_the_same_relative_path_as_here(cluster, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("mine.npz", inputs=np.eye(4), targets=np.eye(4)[:, :2])
    spec = RunSpec(**{**driver.specs(1)[0].model_dump(), "data": DataSpec.of("mine.npz")})
    ((_, rows),) = Ray(cluster.address)(run_batch, [Batch((spec,))])
    assert {row["status"] for row in rows} == {"finished"}, rows[0]["error"]


@pytest.mark.slow
def test_a_connection_of_the_program_is_used_and_stays_open(cluster):
    import ray

    ray.init(address=cluster.address, log_to_driver=False)
    try:
        ((batch, _),) = Ray("127.0.0.1:9")(run_batch, ONE)
        assert batch is ONE[0]
        assert ray.is_initialized()
    finally:
        ray.shutdown()


@pytest.mark.slow
def test_without_an_address_ray_is_started_here_and_shut_down_again():
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'ansatzlab[ray]'")
    results = Ray(workers=1)(run_batch, ONE)
    _, rows = next(results)
    assert {row["run_id"] for row in rows} == {ONE[0].specs[0].run_id}
    assert ray.cluster_resources()["CPU"] == 1
    assert list(results) == []
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("127.0.0.1:9", "Connection refused"),
        ("ray://127.0.0.1:9", "Connection refused"),
        ("127.0.0.1:head", "invalid literal"),
    ],
)
def test_a_cluster_that_is_not_there_is_said(address, reason):
    pytest.importorskip("ray", reason="needs Ray: pip install 'ansatzlab[ray]'")
    with pytest.raises(InputError, match=rf"Ray: got address = '{address}', which cannot be reached \(.*{reason}"):
        next(Ray(address)(run_batch, ONE))


@pytest.mark.parametrize(("before", "after"), [(None, "0"), ("1", "1")])
def test_usage_is_not_reported_unless_the_environment_says_so(monkeypatch, before, after):
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "")
    monkeypatch.delenv("RAY_USAGE_STATS_ENABLED")
    if before is not None:
        monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", before)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError):
        next(Ray()(run_batch, ONE))
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == after


def test_without_ray_the_command_that_installs_it_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(
        InputError, match=r"^Ray: is not installed; install it with `pip install 'ansatzlab\[ray\]'`, or"
    ):
        next(Ray()(run_batch, ONE))


def test_no_batches_need_no_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert list(Ray()(run_batch, [])) == []
