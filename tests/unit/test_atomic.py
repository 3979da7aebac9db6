import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ansatzlab import atomic
from ansatzlab.atomic import is_temporary, remove_stale_temporaries, write_atomically
from ansatzlab.errors import StoreError


def names(folder):
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture
def dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def temporary_name(pid, host=None):
    return f".writing.{atomic._host() if host is None else host}.{pid}.0123456789abcdef.tmp"


def test_writes_and_replaces_the_whole_content(tmp_path):
    path = tmp_path / "file"
    write_atomically(path, b"a longer first content")
    write_atomically(path, b"second")
    assert path.read_bytes() == b"second"
    assert names(tmp_path) == ["file"]


def test_the_name_is_given_only_after_the_content_is_on_disk(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []
    fsync = os.fsync

    def spy(descriptor):
        is_folder = Path(f"/dev/fd/{descriptor}").is_dir()
        temporaries = [file.read_bytes() for file in tmp_path.iterdir() if is_temporary(file.name)]
        seen.append((is_folder, path.read_bytes(), temporaries))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(path, b"new")
    assert seen == [(False, b"old", [b"new"]), (True, b"new", [])]


def test_the_permissions_are_those_of_any_new_file(tmp_path):
    write_atomically(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    assert (tmp_path / "ours").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_keeps_the_old_content_and_leaves_no_temporary(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreError, match=r"file: cannot be written \(No space left on device\); check that"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_an_interrupt_passes_and_leaves_no_temporary(tmp_path, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "file", b"new")
    assert names(tmp_path) == []


def test_a_path_that_is_a_folder_is_refused(tmp_path):
    (tmp_path / "sub").mkdir()
    with pytest.raises(StoreError, match=r"sub: cannot be written \(Is a directory\)"):
        write_atomically(tmp_path / "sub", b"new")
    assert names(tmp_path) == ["sub"]


def test_a_folder_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "plain").touch()
    with pytest.raises(StoreError, match=r"plain/file: cannot be written \(Not a directory\)"):
        write_atomically(tmp_path / "plain" / "file", b"new")


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"none/file: cannot be written \(No such file or directory\)"):
        write_atomically(tmp_path / "none" / "file", b"new")


def test_only_stale_temporaries_are_removed(tmp_path, dead_pid):
    stale = temporary_name(dead_pid)
    kept = [temporary_name(os.getpid()), temporary_name(dead_pid, host="another-host"), ".notes.tmp", "run.parquet"]
    for name in [stale, *kept]:
        (tmp_path / name).touch()
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == sorted(kept)


def test_the_temporary_of_another_users_process_stays(tmp_path, dead_pid, monkeypatch):
    def refused(pid, number):
        assert (pid, number) == (dead_pid, 0)
        raise PermissionError

    (tmp_path / temporary_name(dead_pid)).touch()
    monkeypatch.setattr(os, "kill", refused)
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == [temporary_name(dead_pid)]


def test_clearing_what_cannot_be_listed_is_refused(tmp_path):
    with pytest.raises(StoreError, match=r"none: cannot be cleared of stale temporaries \(No such file or directory\)"):
        remove_stale_temporaries(tmp_path / "none")


def test_the_temporary_names_of_one_process_differ_and_are_recognised(tmp_path, monkeypatch):
    seen = []

    def spy(_):
        seen.extend(name for name in names(tmp_path) if name != "file")

    monkeypatch.setattr(os, "fsync", spy)
    write_atomically(tmp_path / "file", b"1")
    write_atomically(tmp_path / "file", b"2")
    assert len(set(seen)) == 2
    assert all(is_temporary(name) and f".{os.getpid()}." in name for name in seen)


@pytest.mark.parametrize("host", ["node.cluster.example", "höst (1)", "", "x" * 300])
def test_a_temporary_is_recognised_on_any_host(tmp_path, monkeypatch, host):
    monkeypatch.setattr("platform.node", lambda: host)
    seen = []
    monkeypatch.setattr(os, "fsync", lambda _: seen.extend(names(tmp_path)))
    write_atomically(tmp_path / "file", b"")
    assert is_temporary(seen[0])


@pytest.mark.parametrize(
    "name", ["store.json", "a.parquet", ".tmp", ".writing.host.pid.0a.tmp", "x.writing.host.1.0a.tmp"]
)
def test_other_names_are_not_temporaries(name):
    assert not is_temporary(name)


def test_a_writer_killed_before_the_name_is_given_leaves_a_temporary_that_is_cleared(tmp_path):
    code = (
        "import os, sys, time\nfrom pathlib import Path\nfrom ansatzlab.atomic import write_atomically\n"
        "def hang(descriptor):\n    print('content written', flush=True)\n    time.sleep(60)\n"
        "os.fsync = hang\nwrite_atomically(Path(sys.argv[1]) / 'file', b'x' * 100_000)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "content written\n"
        before = names(tmp_path)
        assert len(before) == 1
        assert is_temporary(before[0])
        remove_stale_temporaries(tmp_path)
        assert names(tmp_path) == before  # its writer lives
        process.send_signal(signal.SIGKILL)
    assert names(tmp_path) == before
    remove_stale_temporaries(tmp_path)
    assert names(tmp_path) == []
