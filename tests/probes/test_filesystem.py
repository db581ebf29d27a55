"""Filesystems: real tmpfs filled up, out of inodes, made read-only; servers that do not answer."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.base import Sample, Value
from dctop.probes.filesystem import FilesystemProbe, measure
from tests.fakes.nodes import check_declared, write_tree

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to mount")


def facts(sample: Sample, mount: str) -> dict[str, Value]:
    end = f"{{mount={mount}}}"
    return {k[3 : -len(end)]: v for k, v in sample.values.items() if k.endswith(end)}


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A real tmpfs of 4 MiB and 64 inodes."""
    where = tmp_path / "full disk"
    where.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,nr_inodes=64", "dctop", str(where)], check=True)
    yield where
    subprocess.run(["umount", str(where)], check=True)


@as_root
def test_a_real_tmpfs_that_fills_up(tmpfs: Path) -> None:
    probe = FilesystemProbe()
    got = facts(probe.read(), str(tmpfs))
    assert got == {
        "size_bytes": 4 << 20, "used_bytes": 0, "avail_bytes": 4 << 20, "inodes": 64, "inodes_free": 63,
        "readonly": 0, "hung": 0, "type": "tmpfs", "device": "dctop",
    }  # fmt: skip
    with pytest.raises(OSError, match="No space left"), open(tmpfs / "f", "wb", buffering=0) as f:
        while True:
            f.write(bytes(65536))
    got = facts(probe.read(), str(tmpfs))
    assert got["used_bytes"] == 4 << 20 and got["avail_bytes"] == 0
    assert got["inodes_free"] == 62
    probe.close()


@as_root
def test_a_real_tmpfs_out_of_inodes(tmpfs: Path) -> None:
    probe = FilesystemProbe()
    with pytest.raises(OSError, match="No space left"):
        for i in range(100):
            (tmpfs / str(i)).touch()
    got = facts(probe.read(), str(tmpfs))
    assert got["inodes_free"] == 0
    assert int(got["avail_bytes"] or 0) > 3 << 20
    probe.close()


@as_root
def test_a_real_filesystem_that_becomes_read_only_and_back(tmpfs: Path) -> None:
    probe = FilesystemProbe()
    states = []
    for option in ("rw", "ro", "rw"):
        subprocess.run(["mount", "-o", f"remount,{option}", str(tmpfs)], check=True)
        states.append(facts(probe.read(), str(tmpfs))["readonly"])
    assert states == [0, 1, 0]
    probe.close()


def asking() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "dctop-statvfs"]


@as_root
def test_a_mount_that_comes_and_goes_is_read_while_it_is_there_and_leaves_no_thread(tmp_path: Path) -> None:
    where = tmp_path / "m"
    where.mkdir()
    probe = FilesystemProbe()
    probe.read()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "x", str(where)], check=True)
    try:
        assert facts(probe.read(), str(where))["size_bytes"] == 2 << 20
    finally:
        subprocess.run(["umount", str(where)], check=True)
    assert not facts(probe.read(), str(where))
    for thread in asking():
        thread.join(30)
        assert not thread.is_alive()
    probe.close()


def test_while_none_hangs_one_thread_asks_for_all_of_them_and_ends(tmp_path: Path) -> None:
    by: list[threading.Thread] = []

    def statvfs(path: str) -> os.statvfs_result:
        by.append(threading.current_thread())
        return numbers()

    mounts = {f"m{i}": "ext4" for i in range(20)}
    probe = FilesystemProbe(tree(tmp_path, **mounts), statvfs=statvfs, deadline_s=120)
    for n in (1, 2):
        probe.read()
        assert len(by) == 20 * n and len(set(by)) == n
        by[-1].join(30)
        assert not by[-1].is_alive()
    probe.close()


@pytest.mark.parametrize("slow", ["first", "last", "all but one"])
def test_however_many_hang_at_once_the_others_are_read_in_the_same_reading(tmp_path: Path, slow: str) -> None:
    names = [f"m{i}" for i in range(12)]
    hanging = {"first": names[:3], "last": names[-3:], "all but one": names[:-1]}[slow]
    go = threading.Event()
    calls: list[str] = []

    def statvfs(path: str) -> os.statvfs_result:
        calls.append(path)
        if path[1:] in hanging:
            go.wait()
        return numbers()

    probe = FilesystemProbe(tree(tmp_path, **dict.fromkeys(names, "nfs")), statvfs=statvfs, deadline_s=0.4)
    for n in (1, 2):
        sample = probe.read()
        hung = [name for name in names if facts(sample, f"/{name}")["hung"]]
        assert hung == hanging
        assert all(facts(sample, f"/{name}")["size_bytes"] for name in names if name not in hanging)
        assert [calls.count(f"/{name}") for name in hanging] == [1] * len(hanging), "asked, and once only"
        assert calls.count(f"/{next(name for name in names if name not in hanging)}") == n
    go.set()
    for thread in asking():
        thread.join(30)
    assert not any(facts(probe.read(), f"/{name}")["hung"] for name in names)
    probe.close()


def test_where_no_thread_can_be_started_that_is_said_and_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = FilesystemProbe(tree(tmp_path, data="ext4"), statvfs=lambda path: numbers())

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as m:
        m.setattr(threading.Thread, "start", refuse)
        sample = probe.read()
    assert facts(sample, "/data")["size_bytes"] is None and facts(sample, "/data")["hung"] == 0
    assert "can't start new thread" in sample.problems[0]
    assert facts(probe.read(), "/data")["size_bytes"]
    probe.close()


def test_the_root_filesystem_reads_as_psutil_says() -> None:
    probe = FilesystemProbe()
    got = facts(probe.read(), "/")
    peer = psutil.disk_usage("/")
    assert got["size_bytes"] == os.statvfs("/").f_blocks * os.statvfs("/").f_frsize
    assert int(got["used_bytes"] or 0) == pytest.approx(peer.used, rel=0.05)
    assert int(got["avail_bytes"] or 0) == pytest.approx(peer.free, rel=0.05)
    check_declared(probe.read(), full=True)
    probe.close()


# -- hanging ----------------------------------------------------------------------------------------------


def tree(root: Path, **mounts: str) -> Path:
    """A /proc with these mounts: name -> type, at /name."""
    text = "".join(
        f"{i} 1 9:{i} / /{name} rw - {fstype} srv:/{name} rw\n"
        for i, (name, fstype) in enumerate(mounts.items(), 30)
    )
    return write_tree(root, {"self/mountinfo": text})


class Server:
    """A statvfs whose answers for one path wait for an event."""

    def __init__(self, slow: str) -> None:
        self.slow = slow
        self.go = threading.Event()
        self.calls: list[str] = []
        self.answered = threading.Event()

    def statvfs(self, path: str) -> os.statvfs_result:
        self.calls.append(path)
        if path == self.slow:
            self.go.wait()
            self.answered.set()
        return os.statvfs("/")


def test_a_server_that_does_not_answer_stops_nobody_else(tmp_path: Path) -> None:
    server = Server("/nfs")
    root = tree(tmp_path, nfs="nfs4", data="ext4")
    probe = FilesystemProbe(root, statvfs=server.statvfs, deadline_s=0.05)
    for _ in range(3):
        sample = probe.read()
        hung, well = facts(sample, "/nfs"), facts(sample, "/data")
        assert (hung["hung"], well["hung"]) == (1, 0)
        assert {hung[k] for k in ("size_bytes", "used_bytes", "avail_bytes", "inodes", "inodes_free")} == {
            None
        }
        assert (hung["type"], hung["device"], hung["readonly"]) == ("nfs4", "srv:/nfs", 0)
        assert well["size_bytes"]
        assert len(sample.problems) == 1 and sample.problems[0].startswith("/nfs: no answer for")
        check_declared(sample)
    assert server.calls.count("/nfs") == 1, "no second call while one is out"
    assert server.calls.count("/data") == 3
    server.go.set()
    assert server.answered.wait(30)
    for watch in probe._watches:
        assert watch.done.wait(30)
    sample = probe.read()
    assert facts(sample, "/nfs")["hung"] == 0 and facts(sample, "/nfs")["size_bytes"]
    assert not sample.problems
    probe.close()


def test_closing_and_leaving_do_not_wait_for_a_call_that_is_out(tmp_path: Path) -> None:
    server = Server("/nfs")
    probe = FilesystemProbe(tree(tmp_path, nfs="nfs"), statvfs=server.statvfs, deadline_s=0.01)
    probe.read()
    (thread,) = asking()
    assert thread.daemon
    probe.close()
    assert thread.is_alive()
    server.go.set()
    thread.join(30)
    assert not thread.is_alive(), "it ends when its call comes back"


def test_only_the_first_reading_waits_for_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server("/nfs")
    probe = FilesystemProbe(tree(tmp_path, nfs="nfs"), statvfs=server.statvfs, deadline_s=0.01)
    probe.read()
    for watch in probe._watches:
        monkeypatch.setattr(watch.done, "wait", lambda s: pytest.fail("waited"))
    assert facts(probe.read(), "/nfs")["hung"] == 1
    server.go.set()
    probe.close()


@as_root
def test_a_real_mount_whose_server_never_answers(tmp_path: Path) -> None:
    """FUSE with nobody behind it: the kernel's statfs waits until the device is closed."""
    if not Path("/dev/fuse").exists():
        pytest.skip("needs FUSE in the kernel (/dev/fuse)")
    where = tmp_path / "dead"
    where.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode={stat.S_IFDIR:o},user_id=0,group_id=0"
    probe = FilesystemProbe(deadline_s=0.2)
    try:
        if libc.mount(b"deadsrv", os.fsencode(where), b"fuse", 0, options.encode()):
            raise OSError(ctypes.get_errno(), "mount")
        began = time.monotonic()
        sample = probe.read()
        got = facts(sample, str(where))
        assert (got["hung"], got["size_bytes"], got["device"]) == (1, None, "deadsrv")
        assert facts(sample, "/")["hung"] == 0 and facts(sample, "/")["size_bytes"]
        assert facts(probe.read(), str(where))["hung"] == 1
        assert time.monotonic() - began < 60, "it came back at all"
        (watch,) = (w for w in probe._watches if w.mount.path == str(where))
        os.close(device)
        device = -1
        assert watch.done.wait(30)
        sample = probe.read()
        got = facts(sample, str(where))
        assert (got["hung"], got["size_bytes"]) == (0, None)
        assert os.strerror(errno.ENOTCONN) in sample.problems[0]
    finally:
        if device >= 0:
            os.close(device)
        libc.umount2(os.fsencode(where), 2)
        probe.close()


# -- strange answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "error", [OSError(errno.EACCES, "Permission denied"), ValueError("embedded null byte")]
)
def test_a_call_that_fails_is_missing_and_said(tmp_path: Path, error: Exception) -> None:
    def fail(path: str) -> os.statvfs_result:
        raise error

    sample = FilesystemProbe(tree(tmp_path, data="xfs"), statvfs=fail).read()
    got = facts(sample, "/data")
    assert (got["hung"], got["size_bytes"]) == (0, None)
    assert len(sample.problems) == 1 and sample.problems[0].startswith("/data: ")
    check_declared(sample)


def numbers(**fields: int) -> os.statvfs_result:
    names = ("bsize", "frsize", "blocks", "bfree", "bavail", "files", "ffree", "favail", "flag", "namemax")
    usual = {"bsize": 4096, "frsize": 4096, "blocks": 100, "bfree": 40, "bavail": 35, "files": 9, "favail": 5}
    return os.statvfs_result([{**usual, **fields}.get(n, 0) for n in names])


def test_sizes_are_in_fragments_and_reserved_blocks_count_as_used_by_nobody() -> None:
    assert measure(numbers(bsize=1 << 20, frsize=512)) == (51200, 60 * 512, 35 * 512, 9, 5)


def test_a_filesystem_without_a_fixed_number_of_inodes_has_none() -> None:
    assert measure(numbers(files=0, favail=0))[3:] == (None, None)


def test_a_filesystem_that_does_not_know_its_size_has_none() -> None:
    assert measure(numbers(blocks=0, bfree=0, bavail=0))[:3] == (None, None, None)


@given(*[st.integers(0, 2**63)] * 4)
def test_any_answer_is_measured(blocks: int, free: int, avail: int, files: int) -> None:
    for value in measure(numbers(blocks=blocks, bfree=free, bavail=avail, files=files)):
        assert value is None or (type(value) is int and value >= 0)


@pytest.mark.parametrize("blocks", [0, 1, 256])
def test_a_tiny_tmpfs_is_not_storage(tmp_path: Path, blocks: int) -> None:
    probe = FilesystemProbe(tree(tmp_path, hidden="tmpfs"), statvfs=lambda path: numbers(blocks=blocks))
    assert not probe.read().values
    probe.close()


def test_names_with_blanks_and_braces_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    asked = []
    line = b"30 1 9:1 / /a\\040{b}=\xff,c rw - ext4 /dev/x rw\n"
    write_tree(tmp_path, {"self/mountinfo": line})

    def statvfs(path: str) -> os.statvfs_result:
        asked.append(os.fsencode(path))
        return numbers()

    sample = FilesystemProbe(tmp_path, statvfs=statvfs).read()
    assert asked == [b"/a {b}=\xff,c"]
    check_declared(sample)
    assert facts(sample, "/a _b__�_c")["size_bytes"] == 409600


def test_a_node_without_mountinfo_says_so(tmp_path: Path) -> None:
    sample = FilesystemProbe(tmp_path).read()
    assert not sample.values and "mountinfo" in sample.problems[0]


def test_unmounting_what_was_watched_leaves_no_open_file(tmp_path: Path) -> None:
    probe = FilesystemProbe()
    probe.read()
    probe.close()
    for path in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            assert not str(path.readlink()).endswith("mountinfo")
