"""Whether a death was the kernel's doing for memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from dctop.engine.training import wmem

V1_MOUNT = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"


def tree(root: Path, cgroup: str, mounts: str, **files: str) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(cgroup)
    (root / "proc/self/mountinfo").write_text(mounts)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name.replace("__", ".").replace("_SLASH_", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_v2_counts(tmp_path: Path) -> None:
    folder = "job_7_SLASH_"
    root = tree(
        tmp_path, "0::/job_7\n", V2_MOUNT.format(root="/"),
        **{
            folder + "memory__events": "low 0\nhigh 0\nmax 67\noom 1\noom_kill 2\n",
            folder + "memory__max": "734003200\n", folder + "memory__peak": "734000000\n",
        },
    )  # fmt: skip
    found = wmem.memory_cgroup(str(root))
    assert found == str(root / "sys/fs/cgroup/job_7")
    counts = wmem.memory_counts(found)
    assert (counts.oom_kill, counts.limit_bytes, counts.peak_bytes, counts.failcnt) == (
        2,
        734003200,
        734000000,
        67,
    )


def test_v2_without_a_limit_has_none(tmp_path: Path) -> None:
    root = tree(
        tmp_path, "0::/\n", V2_MOUNT.format(root="/"), memory__events="oom_kill 0\n", memory__max="max\n"
    )
    counts = wmem.memory_counts(wmem.memory_cgroup(str(root)))
    assert counts.oom_kill == 0 and counts.limit_bytes is None and counts.peak_bytes is None


@pytest.mark.parametrize("mount_root", ["/docker/abc", "/"])
def test_v1_in_a_container_is_found_where_it_is_mounted(tmp_path: Path, mount_root: str) -> None:
    files = {
        "memory_SLASH_memory__oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
        "memory_SLASH_memory__limit_in_bytes": "9223372036854771712\n",
    }
    mounts = V1_MOUNT.format(root=mount_root)
    root = tree(tmp_path, "9:cpu:/x\n4:memory:/docker/abc\n0::/\n", mounts, **files)
    counts = wmem.memory_counts(wmem.memory_cgroup(str(root)))
    assert counts.oom_kill == 5 and counts.limit_bytes is None and counts.failcnt is None


def test_no_memory_cgroup_is_none(tmp_path: Path) -> None:
    assert wmem.memory_cgroup(str(tmp_path)) is None
    assert wmem.memory_counts(None).oom_kill is None


def counts(inside: int | None, node: int | None, limit: int | None = 1 << 30) -> wmem.MemoryCounts:
    return wmem.MemoryCounts("/x", inside, node, limit, None, None)


@pytest.mark.parametrize(
    ("authoritative", "said", "after", "oom"),
    [
        (True, "cgroup", counts(1, 1), "cgroup"),
        (True, None, counts(1, 1), None),  # somebody else in the same group: the log would name us
        (False, None, counts(1, 1), "cgroup"),
        (False, None, counts(1, 1, limit=None), "node"),
        (False, None, counts(0, 1), "likely"),
        (False, None, counts(None, 1), "likely"),
        (False, None, counts(0, 0), None),
        (False, None, counts(None, None), None),
        (False, "node", counts(0, 1), "node"),
    ],
)
def test_the_log_decides_and_else_the_counters(
    monkeypatch: pytest.MonkeyPatch,
    authoritative: bool,
    said: str | None,
    after: wmem.MemoryCounts,
    oom: str | None,
) -> None:
    monkeypatch.setattr(wmem, "_PRINTK_S", 0.0)
    monkeypatch.setattr(wmem, "memory_counts", lambda _folder: counts(0, 0))
    watch = wmem.KillWatch()
    watch._log.authoritative = authoritative
    monkeypatch.setattr(watch._log, "killing_of", lambda _pid: said)
    monkeypatch.setattr(wmem, "memory_counts", lambda _folder: after)
    verdict = watch.judge(7)
    assert verdict.oom == oom and verdict.data.get("oom") == oom


def test_kills_long_before_the_death_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wmem, "memory_counts", lambda _folder: counts(0, 0))
    watch = wmem.KillWatch()
    watch._log.authoritative = False
    monkeypatch.setattr(watch._log, "killing_of", lambda _pid: None)
    monkeypatch.setattr(wmem, "memory_counts", lambda _folder: counts(3, 9))
    watch.look()
    assert watch.judge(7).oom == "cgroup"  # within the last two looks
    watch.look()
    assert watch.judge(7).oom is None


def test_the_victim_is_told_from_others() -> None:
    log = wmem.KernelLog.__new__(wmem.KernelLog)
    log._fd = -1
    assert log.killing_of(1) is None
    line = b"3,1,2,-;Memory cgroup out of memory: Killed process 18354 (python3) total-vm:1kB"
    match = wmem._VICTIM.search(line)
    assert match is not None and match[1] == b"18354"
    assert wmem._VICTIM.search(b"Out of memory: Killed process 12, UID 0, (x)") is not None
