from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.cpu import CpuProbe, read_model
from tests.fakes.nodes import check_declared, full_proc, stat_text, write_tree

ANY_BYTES = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def test_a_full_node_gives_every_declared_id(tmp_path: Path) -> None:
    probe = CpuProbe(full_proc(tmp_path, cores=3))
    sample = probe.read()
    check_declared(sample, full=True)
    assert sample.problems == ()
    v = sample.values
    # Columns of core 0 are 100..109: user nice system idle iowait irq softirq steal guest guest_nice.
    assert v["cpu.core.user_ticks{core=0}"] == 100 + 101
    assert v["cpu.core.system_ticks{core=0}"] == 102
    assert v["cpu.core.idle_ticks{core=0}"] == 103
    assert v["cpu.core.iowait_ticks{core=0}"] == 104
    assert v["cpu.core.irq_ticks{core=0}"] == 105 + 106
    assert v["cpu.core.steal_ticks{core=0}"] == 107
    assert v["cpu.user_ticks"] == 100 + 101 + 200 + 201 + 300 + 301
    assert v["cpu.nice_ticks"] == 101 + 201 + 301
    assert v["cpu.count"] == 3
    assert (v["cpu.interrupts"], v["cpu.context_switches"], v["cpu.forks"]) == (238840, 465553, 10557)
    assert (v["cpu.running"], v["cpu.blocked"]) == (3, 1)
    assert (v["cpu.load1"], v["cpu.load5"], v["cpu.load15"]) == (0.11, 0.10, 0.06)
    assert v["cpu.model"] == "Fake CPU @ 2.00GHz"


def test_the_real_node_agrees_with_the_operating_system() -> None:
    probe = CpuProbe()
    before = os.times()
    sample = probe.read()
    check_declared(sample)
    assert sample.problems == ()
    assert sample.values["cpu.count"] == os.sysconf("SC_NPROCESSORS_ONLN")
    hz = os.sysconf("SC_CLK_TCK")
    user = sample.values["cpu.user_ticks"]
    assert isinstance(user, int) and user / hz >= before.user, "all cores together did at least what we did"
    cores = sum(
        n for k, n in sample.values.items() if k.startswith("cpu.core.idle_ticks") and isinstance(n, int)
    )
    idle = sample.values["cpu.idle_ticks"]
    assert isinstance(idle, int) and abs(cores - idle) <= 2 * len(os.sched_getaffinity(0)) + 2


def test_both_ways_of_parsing_agree(tmp_path: Path) -> None:
    proc = full_proc(tmp_path, cores=5)
    fast = CpuProbe(proc).read().values
    text = stat_text(5).replace("cpu3 ", "cpu3  ", 1).replace("cpu1 ", "cpu1\t", 1)
    write_tree(proc, {"stat": text.replace("cpu4 500", "cpu4 500 ", 1) + "cpuX 1 2 3\n"})
    assert CpuProbe(proc).read().values == fast


def test_a_core_that_goes_offline_and_comes_back(tmp_path: Path) -> None:
    proc = full_proc(tmp_path, cores=4)
    probe = CpuProbe(proc)
    assert probe.read().values["cpu.count"] == 4
    lines = stat_text(4).split("\n")
    write_tree(proc, {"stat": "\n".join(line for line in lines if not line.startswith("cpu2 "))})
    values = probe.read().values
    assert values["cpu.count"] == 3
    assert "cpu.core.idle_ticks{core=2}" not in values
    assert values["cpu.core.idle_ticks{core=3}"] == 403
    write_tree(proc, {"stat": stat_text(4)})
    assert probe.read().values["cpu.core.idle_ticks{core=2}"] == 303


def test_a_node_of_256_cores_with_a_30_kb_interrupt_line(tmp_path: Path) -> None:
    proc = full_proc(tmp_path, cores=256)
    text = stat_text(256, irqs=6000)
    assert len(text[text.index("intr") : text.index("ctxt")]) > 30_000
    write_tree(proc, {"stat": text})
    values = CpuProbe(proc).read().values
    assert values["cpu.count"] == 256
    assert values["cpu.core.steal_ticks{core=255}"] == 25607
    assert values["cpu.blocked"] == 1


def test_an_old_kernel_with_fewer_columns_leaves_the_missing_ones_none(tmp_path: Path) -> None:
    proc = write_tree(tmp_path, {"stat": "cpu  1 2 3 4 5\ncpu0 1 2 3 4 5\nctxt 7\n"})
    values = CpuProbe(proc).read().values
    assert values["cpu.user_ticks"] == 3 and values["cpu.iowait_ticks"] == 5
    assert values["cpu.steal_ticks"] is None and values["cpu.irq_ticks"] is None
    assert values["cpu.context_switches"] == 7


@pytest.mark.parametrize(
    "content", [b"", b"cpu", b"\0\xff\xfe", b"cpu  a b c d e f g h i j\n", b"cpu  -1 2 3 4 5 6 7 8 9 10\n"]
)
def test_strange_content_is_none_and_a_line_that_says_so(tmp_path: Path, content: bytes) -> None:
    sample = CpuProbe(write_tree(tmp_path, {"stat": content, "loadavg": content})).read()
    check_declared(sample)
    assert sample.values["cpu.user_ticks"] is None
    assert any("loadavg" in p for p in sample.problems)


def test_missing_files_are_none_and_named(tmp_path: Path) -> None:
    sample = CpuProbe(tmp_path).read()
    check_declared(sample)
    assert set(sample.values.values()) == {None}
    assert [p.rpartition("/")[2] for p in sample.problems] == [
        "stat: No such file or directory",
        "loadavg: No such file or directory",
    ]


@ANY_BYTES
@given(
    stat=st.one_of(
        st.binary(max_size=400),
        st.text("cpu intr0123456789 \n-_.", max_size=400).map(str.encode),
        st.integers(0, 2000).map(lambda n: stat_text(3).encode()[:n]),
        st.tuples(st.integers(0, 300), st.binary(max_size=3)).map(
            lambda t: stat_text(2).encode()[: t[0]] + t[1] + stat_text(2).encode()[t[0] :]
        ),
    ),
    other=st.binary(max_size=100),
)
def test_no_content_whatever_raises(tmp_path: Path, stat: bytes, other: bytes) -> None:
    write_tree(tmp_path, {"stat": stat, "loadavg": other, "cpuinfo": other})
    probe = CpuProbe(tmp_path)
    check_declared(probe.read())
    check_declared(probe.read())
    probe.close()


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("processor : 0\nmodel name : AMD EPYC\n", "AMD EPYC"),
        ("processor : 0\nBogoMIPS : 50\nCPU part : 0xd40\n", None),
        ("cpu\t\t: POWER9, altivec supported\n", "POWER9, altivec supported"),
        ("", None),
    ],
)
def test_the_model_name_is_found_or_missing(tmp_path: Path, text: str, model: str | None) -> None:
    assert read_model(write_tree(tmp_path, {"cpuinfo": text}) / "cpuinfo") == model
