"""Frames to snapshots: rates between samples, resets, missing values, processes."""

from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.derived import CATALOGUE, natural
from dctop.engine.metrics.model import Frame
from dctop.probes.base import Process, Sample, split_series
from dctop.probes.catalogue import BY_ID

SECOND = 1_000_000_000


def frame(seq: int, **samples: Sample) -> Frame:
    return Frame(seq, seq * SECOND, seq * SECOND, samples)


def sample(probe: str, t: float, values, processes=None) -> Sample:
    return Sample(probe, int(t * SECOND), int(t * SECOND), values, processes)


def process(pid=7, ticks=0, start=1, read=None) -> Process:
    return Process(
        pid, start, 1, 0, "root", "x", "x", "R", ticks, 1, 1, 0, 0, read, None, None, None, None, None, None
    )


def test_a_rate_is_the_difference_over_the_time_between_the_samples():
    b = SnapshotBuilder()
    b.push(frame(1, disk=sample("disk", 1.0, {"disk.read_bytes{disk=sda}": 1000})))
    snap = b.push(frame(2, disk=sample("disk", 3.0, {"disk.read_bytes{disk=sda}": 5000})))
    assert snap.num("disk.read_bytes_per_s{disk=sda}") == 2000.0
    assert snap.labels["disk.read_bytes_per_s"] == ("sda",)
    assert snap.frame.value("disk.read_bytes{disk=sda}") == 5000
    assert "disk.read_bytes{disk=sda}" not in snap.values


def test_the_first_reading_has_no_rate():
    snap = SnapshotBuilder().push(frame(1, disk=sample("disk", 1, {"disk.read_bytes{disk=sda}": 1})))
    assert snap.num("disk.read_bytes_per_s{disk=sda}") is None


def test_a_counter_that_goes_back_gives_no_rate_and_the_next_one_is_right():
    b = SnapshotBuilder()
    got = []
    for t, v in enumerate([100, 200, 50, 80]):
        got.append(b.push(frame(t, net=sample("network", t, {"net.rx_bytes{nic=e}": v}))))
    assert [s.num("net.rx_bytes_per_s{nic=e}") for s in got] == [None, 100, None, 30]


def test_a_slow_probe_repeats_its_rate_instead_of_zero_and_a_burst():
    b = SnapshotBuilder()
    first = sample("disk", 0, {"disk.reads{disk=a}": 0})
    second = sample("disk", 2, {"disk.reads{disk=a}": 20})
    for s in (first, first, second):
        snap = b.push(frame(1, disk=s))
    assert snap.num("disk.reads_per_s{disk=a}") == 10
    assert b.push(frame(2, disk=second)).num("disk.reads_per_s{disk=a}") == 10


def test_cpu_shares_add_up_and_leave_idle_and_iowait_out_of_use():
    names = ("user", "system", "iowait", "irq", "steal", "idle")
    b = SnapshotBuilder()
    b.push(frame(1, cpu=sample("cpu", 1, {f"cpu.{n}_ticks": 100 for n in names})))
    add = dict(zip(names, (30, 20, 10, 5, 5, 30)))
    snap = b.push(frame(2, cpu=sample("cpu", 2, {f"cpu.{n}_ticks": 100 + add[n] for n in names})))
    assert snap.num("cpu.util_pct") == 60
    assert [snap.num(f"cpu.{n}_pct") for n in names[:5]] == [30, 20, 10, 5, 5]


def test_iowait_that_goes_backwards_counts_as_no_time():
    names = ("user", "system", "iowait", "irq", "steal", "idle")
    b = SnapshotBuilder()
    b.push(frame(1, cpu=sample("cpu", 1, {f"cpu.{n}_ticks": 100 for n in names})))
    after = {f"cpu.{n}_ticks": 100 for n in names} | {
        "cpu.iowait_ticks": 90,
        "cpu.user_ticks": 150,
        "cpu.idle_ticks": 150,
    }
    assert b.push(frame(2, cpu=sample("cpu", 2, after))).num("cpu.util_pct") == 50


def test_missing_operands_leave_derived_values_missing():
    snap = SnapshotBuilder().push(
        frame(1, memory=sample("memory", 1, {"memory.total_bytes": 10, "memory.available_bytes": None}))
    )
    assert snap.values["memory.used_bytes"] is None
    assert snap.values["memory.used_pct"] is None


def test_a_probe_that_vanishes_takes_its_series_with_it():
    b = SnapshotBuilder()
    b.push(frame(1, disk=sample("disk", 1, {"disk.in_flight{disk=a}": 1})))
    snap = b.push(frame(2))
    assert not snap.values and not snap.labels


def test_process_cpu_is_per_core_and_a_reused_pid_starts_anew():
    b = SnapshotBuilder(tick_hz=100)
    b.push(frame(1, process=sample("process", 1, {}, [process(ticks=100), process(8, 5)])))
    snap = b.push(frame(2, process=sample("process", 2, {}, [process(ticks=250), process(8, 500, start=2)])))
    assert snap.process_cpu_pct == {7: 150.0}


def test_every_derived_series_is_declared():
    keys = {m.id: 1 for m in BY_ID.values() if not m.labels and m.kind != "info"}
    b = SnapshotBuilder()
    by_probe: dict[str, dict] = {}
    from dctop.probes.catalogue import PROBE_OF

    for m in BY_ID.values():
        key = m.id + ("{" + ",".join(f"{x}=l" for x in m.labels) + "}" if m.labels else "")
        by_probe.setdefault(PROBE_OF[m.id], {})[key] = 0 if m.id == "net.virtual" else 5
    assert keys
    b.push(Frame(1, SECOND, SECOND, {p: Sample(p, SECOND, SECOND, v) for p, v in by_probe.items()}))
    later = {
        p: Sample(p, 2 * SECOND, 0, {k: (x if k.startswith("net.virtual") else x * 2) for k, x in v.items()})
        for p, v in by_probe.items()
    }
    snap = b.push(Frame(2, 2 * SECOND, 0, later))
    made = {split_series(k)[0] for k in snap.values}
    assert made <= CATALOGUE.keys()
    declared = {m for m in CATALOGUE if m not in BY_ID or BY_ID[m].kind != "counter"}
    assert declared <= made


anything = (
    st.none()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)


@given(
    st.lists(st.dictionaries(st.sampled_from(sorted(BY_ID)), anything, max_size=40), min_size=2, max_size=4)
)
def test_no_value_however_strange_raises(readings):
    b = SnapshotBuilder()
    for t, values in enumerate(readings):
        b.push(frame(t, mixed=sample("mixed", t, values)))


def test_labels_sort_as_people_count():
    assert sorted(["nvme10", "nvme2", "sda", "nvme1n1"], key=natural) == ["nvme1n1", "nvme2", "nvme10", "sda"]
