from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.gpujoin import GpuJoin, XidJoin
from dctop.probes.base import GpuProcess, KernelEvent, Process, Sample
from tests.fakes.frames import process as a_process

S = 1_000_000_000


def table(*rows: Process, at: int = 1) -> Sample:
    return Sample("process", at * S, at * S, {}, list(rows))


def gpus(*rows: GpuProcess, space: str = "own", at: int = 1) -> Sample:
    return Sample("gpu", at * S, at * S, {"gpu.pid_space": space}, gpu_processes=list(rows))


def joined(join: GpuJoin, processes: Sample, gpu: Sample | None) -> Sample:
    samples = {"process": processes} | ({} if gpu is None else {"gpu": gpu})
    join.apply(samples)
    return samples["process"]


def test_a_process_has_the_memory_and_share_of_all_its_gpus() -> None:
    rows = (GpuProcess(7, "A", "C", 100, 60), GpuProcess(7, "B", "C", 50, 70), GpuProcess(8, "A", "G", None))
    out = joined(GpuJoin(), table(a_process(7), a_process(8), a_process(9)), gpus(*rows)).processes
    assert out is not None
    assert [(p.pid, p.gpu_mem_bytes, p.gpu_sm_pct) for p in out] == [
        (7, 150, 130.0), (8, None, None), (9, None, None),
    ]  # fmt: skip


def test_rows_that_did_not_change_are_the_same_objects_and_a_table_is_joined_once() -> None:
    join, p, q = GpuJoin(), a_process(7), a_process(9)
    row = GpuProcess(7, "A", "C", 100, 60)
    first_table = table(p, q)
    first = joined(join, first_table, gpus(row))
    assert joined(join, first_table, gpus(GpuProcess(7, "A", "C", 200, 1), at=2)) is first
    second = joined(join, table(p, q, at=2), gpus(row, at=2))
    assert first.processes and second.processes and second is not first
    assert second.processes[0] is first.processes[0] and second.processes[1] is q


def test_pids_of_the_host_are_nobody_here() -> None:
    processes = table(a_process(7))
    assert joined(GpuJoin(), processes, gpus(GpuProcess(7, "A", "C", 1), space="host")) is processes
    assert joined(GpuJoin(), processes, None) is processes


def xid(seq: int, code: int, source: str = "", pci: str = "0000:3b:00", at: float = 100) -> KernelEvent:
    fields = {"code": str(code), "pci": pci} | ({"source": source} if source else {})
    return KernelEvent(seq, int(at * S), "xid", "text", fields)


def test_the_driver_and_the_log_tell_of_one_xid_once_whoever_is_first() -> None:
    log, nvml = xid(1, 79), xid(9, 79, "nvml", "0000:3B:00.0")
    join = XidJoin()
    assert join.apply([nvml], True) == ()
    assert join.apply([log], True) == (log,)
    assert join.apply([], True) == ()
    join = XidJoin()
    assert join.apply([log], True) == (log,)
    assert join.apply([nvml], True) == () and join.apply([], True) == ()
    join = XidJoin()
    assert join.apply([nvml, log], True) == (log,) and join.apply([], True) == ()


def test_without_the_log_the_drivers_is_told_at_once_and_with_a_silent_one_a_tick_later() -> None:
    nvml = xid(9, 79, "nvml")
    assert XidJoin().apply([nvml], False) == (nvml,)
    join = XidJoin()
    assert join.apply([nvml], True) == () and join.apply([], True) == (nvml,)
    assert join.apply([xid(1, 79)], True) == (), "the log that comes later is its double"


def test_two_of_a_kind_and_other_devices_are_several() -> None:
    join = XidJoin()
    first, second, other = xid(1, 31), xid(2, 31), xid(3, 31, pci="0000:5e:00")
    assert join.apply([first, second, other], True) == (first, second, other)
    doubles = [xid(n, 31, "nvml") for n in (1, 2, 3)]
    assert join.apply(doubles, True) == ()
    assert len(join.apply([], True)) == 1, "three of the driver, two of the log: one more"
    late = xid(9, 31, "nvml", at=200)
    assert join.apply([late], False) == (late,)


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 30)), max_size=30), st.booleans())
def test_no_event_is_told_twice_or_made_up(kinds: list[tuple[int, bool, int]], read: bool) -> None:
    join = XidJoin()
    events = [xid(i, code, "nvml" if n else "", at=at) for i, (code, n, at) in enumerate(kinds)]
    out = [*join.apply(events, read), *join.apply([], read), *join.apply([], read)]
    assert len({id(e) for e in out}) == len(out) and all(any(e is f for f in events) for e in out)
    for code in range(3):
        of_code = [e for e in events if e.fields["code"] == str(code)]
        told = sum(e.fields["code"] == str(code) for e in out)
        by_log = sum("source" not in e.fields for e in of_code)
        assert max(by_log, len(of_code) - by_log) <= told <= len(of_code)
