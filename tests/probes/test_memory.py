from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.memory import MemoryProbe
from tests.fakes.nodes import MEMINFO, VMSTAT, check_declared, full_proc, full_sys, write_tree


def test_a_full_node_gives_every_declared_id(tmp_path: Path) -> None:
    probe = MemoryProbe(full_proc(tmp_path / "proc"), full_sys(tmp_path / "sys"), shm=tmp_path)
    for _ in range(3):
        sample = probe.read()
        check_declared(sample, full=True)
        assert sample.problems == ()
    v = sample.values
    assert v["memory.total_bytes"] == 24682416 * 1024
    assert v["memory.available_bytes"] == 24283392 * 1024
    assert v["memory.hugepages_total"] == 64 and v["memory.hugepage_bytes"] == 2048 * 1024
    assert (v["memory.swap_in_pages"], v["memory.swap_out_pages"]) == (11, 22)
    assert (v["memory.major_faults"], v["memory.oom_kills"]) == (33, 4)
    assert v["memory.node.free_bytes{node=1}"] == 5644140 * 1024


def test_the_real_node_agrees_with_free() -> None:
    probe = MemoryProbe()
    before = probe.read()
    check_declared(before)
    done = subprocess.run(["free", "-b"], capture_output=True, text=True, check=True)
    words = done.stdout.split("\n")[1].split()
    after = probe.read()
    assert before.values["memory.total_bytes"] == int(words[1])
    seen = [s.values["memory.available_bytes"] for s in (before, after)]
    low, high = (pick(n for n in seen if isinstance(n, int)) for pick in (min, max))
    assert low - (64 << 20) <= int(words[6]) <= high + (64 << 20)


def test_shared_memory_is_what_statvfs_says(tmp_path: Path) -> None:
    fs = os.statvfs("/dev/shm")
    values = MemoryProbe().read().values
    assert values["memory.shm_total_bytes"] == fs.f_blocks * fs.f_frsize
    sample = MemoryProbe(full_proc(tmp_path), tmp_path, shm=tmp_path / "nothing").read()
    assert sample.values["memory.shm_used_bytes"] is None
    assert any("nothing: No such file" in p for p in sample.problems)


@pytest.mark.parametrize("gone", ["MemAvailable", "Shmem", "HugePages_Free", "MemTotal"])
def test_a_missing_field_is_none_and_the_others_stay(tmp_path: Path, gone: str) -> None:
    text = "\n".join(line for line in MEMINFO.split("\n") if not line.startswith(gone + ":"))
    proc = full_proc(tmp_path / "proc")
    probe = MemoryProbe(proc, tmp_path)
    full = probe.read().values
    write_tree(proc, {"meminfo": text})
    missing = {k for k, v in probe.read().values.items() if v is None and full[k] is not None}
    assert len(missing) == 1
    write_tree(proc, {"meminfo": MEMINFO})
    assert probe.read().values == full


def test_memory_without_the_fields_of_newer_kernels_is_never_made_up(tmp_path: Path) -> None:
    proc = write_tree(tmp_path, {"meminfo": "MemTotal: 1000 kB\nMemFree: 400 kB\n", "vmstat": "pswpin 1\n"})
    values = MemoryProbe(proc, tmp_path).read().values
    assert values["memory.available_bytes"] is None and values["memory.oom_kills"] is None
    assert values["memory.free_bytes"] == 400 * 1024 and values["memory.swap_in_pages"] == 1


def test_counters_are_found_wherever_the_kernel_moves_their_lines(tmp_path: Path) -> None:
    proc = full_proc(tmp_path)
    probe = MemoryProbe(proc, tmp_path)
    probe.read()
    filler = "".join(f"nr_thing_{i} {i}\n" for i in range(500))
    for text in (
        filler + VMSTAT,
        VMSTAT + filler,
        VMSTAT,
        "oom_kill 4\npgmajfault 33\npswpin 11\npswpout 22",
    ):
        write_tree(proc, {"vmstat": text})
        values = probe.read().values
        assert (values["memory.swap_in_pages"], values["memory.oom_kills"]) == (11, 4)


def test_a_numa_node_that_is_unplugged_leaves(tmp_path: Path) -> None:
    sys = full_sys(tmp_path / "sys")
    probe = MemoryProbe(full_proc(tmp_path / "proc"), sys)
    assert "memory.node.total_bytes{node=1}" in probe.read().values
    (sys / "devices/system/node/node1/meminfo").unlink()
    (sys / "devices/system/node/node1").rmdir()
    for _ in range(60):
        sample = probe.read()
    assert "memory.node.total_bytes{node=1}" not in sample.values
    assert sample.values["memory.node.total_bytes{node=0}"] == 5988932 * 1024


def test_missing_files_are_none_and_named(tmp_path: Path) -> None:
    sample = MemoryProbe(tmp_path, tmp_path, shm=tmp_path / "shm").read()
    check_declared(sample)
    assert set(sample.values.values()) == {None}
    assert len(sample.problems) == 3


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=300),
        st.integers(0, 600).map(lambda n: MEMINFO.encode()[:n]),
        st.text("MemTotal: kB0123456789\n-", max_size=200).map(str.encode),
        st.tuples(st.integers(0, 500), st.binary(max_size=4)).map(
            lambda t: MEMINFO.encode()[: t[0]] + t[1] + MEMINFO.encode()[t[0] :]
        ),
    )
)
def test_no_content_whatever_raises(tmp_path: Path, content: bytes) -> None:
    files = {"meminfo": content, "vmstat": content, "devices/system/node/node0/meminfo": content}
    probe = MemoryProbe(full_proc(tmp_path), tmp_path)
    probe.read()
    write_tree(tmp_path, files)
    for _ in range(5):
        check_declared(probe.read())
    check_declared(MemoryProbe(tmp_path, tmp_path).read())
