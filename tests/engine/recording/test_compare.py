"""What differs between two moments."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.recording.compare import change, compare
from dctop.probes.base import Process, Sample, Value
from tests.fakes.frames import process

S = 10**9


def snaps(values: dict[str, Value], at: int, procs: tuple[Process, ...] = (), n: int = 3) -> list[Snapshot]:
    builder = SnapshotBuilder()
    out = []
    for i in range(n):
        mono = (at + i) * S
        samples = {
            "memory": Sample("memory", mono, mono, values),
            "process": Sample("process", mono, mono, {}, procs),
        }
        out.append(builder.push(Frame(at + i, mono, mono, samples, (), {})))
    return out


def test_what_changed_most_comes_first_and_what_did_not_is_counted() -> None:
    a = snaps({"memory.free_bytes": 100 << 30, "memory.cached_bytes": 50 << 30, "memory.dirty_bytes": 7}, 10)
    b = snaps({"memory.free_bytes": 90 << 30, "memory.cached_bytes": 500 << 30, "memory.dirty_bytes": 7}, 90)
    d = compare(a, b)
    assert [c.key for c in d.metrics][:2] == ["memory.cached_bytes", "memory.free_bytes"]
    assert (d.metrics[0].before, d.metrics[0].after) == (50 << 30, 500 << 30)
    assert "memory.dirty_bytes" not in [c.key for c in d.metrics] and d.unchanged >= 1


def test_the_earlier_moment_is_left_whichever_was_named_first() -> None:
    a, b = snaps({"memory.free_bytes": 1}, 10), snaps({"memory.free_bytes": 9}, 90)
    assert compare(a, b) == compare(b, a)


def test_what_came_or_went_whole_is_one_row() -> None:
    gone: dict[str, Value] = {f"fs.{name}_bytes{{mount=/x}}": 1 << 30 for name in ("size", "used", "avail")}
    d = compare(snaps({"memory.free_bytes": 1, **gone}, 10), snaps({"memory.free_bytes": 1}, 90))
    assert [(c.key, c.before, c.after) for c in d.metrics] == [("fs.*{mount=/x}", "4 series", None)]


def test_processes_that_came_went_and_grew() -> None:
    old, kept, new = process(10), process(20, rss_bytes=1 << 20), process(30)
    d = compare(snaps({}, 10, (old, kept)), snaps({}, 90, (kept._replace(rss_bytes=3 << 30), new)))
    assert {(p.pid, p.what) for p in d.processes} == {(10, "gone"), (20, "changed"), (30, "new")}
    assert d.processes[0].pid == 20


def test_one_odd_tick_is_no_change() -> None:
    a = snaps({"memory.free_bytes": 100}, 10)
    b = [*snaps({"memory.free_bytes": 100}, 80, n=5), *snaps({"memory.free_bytes": 9}, 90, n=1)]
    assert "memory.free_bytes" not in [c.key for c in compare(a, b).metrics]


values = st.one_of(st.none(), st.text(max_size=3), st.integers(), st.floats(-1e9, 1e9))


@given(values, values, st.sampled_from(["%", "B"]))
def test_a_change_is_between_nothing_and_all(x: Value, y: Value, unit: str) -> None:
    assert 0.0 <= change(x, y, unit) <= 1.0
    assert change(x, x, unit) == 0.0
