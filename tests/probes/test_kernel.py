from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.probes.base import KernelEvent
from dctop.probes.kernel import KernelProbe
from dctop.probes.kmsg import Collector, Record, classify, parse_record
from tests.fakes.cgroups import group, run_inside
from tests.fakes.nodes import check_declared, write_tree

KMSG = Path("/dev/kmsg")


def events_of(*lines: str) -> list[KernelEvent]:
    collector = Collector()
    for i, line in enumerate(lines):
        record = parse_record(f"4,{i},{i * 1000},-;{line}\n".encode())
        if record is not None:
            collector.feed(record, i)
    return collector.drain() + collector.drain()


LINES = [
    (
        "NVRM: Xid (PCI:0000:3b:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.",
        "xid",
        {"code": "79", "pci": "0000:3b:00", "detail": "GPU has fallen off the bus."},
    ),
    (
        "NVRM: Xid (PCI:0000:AF:00): 31, pid=4711, name=python3, Ch 00000008, intr 10000000. MMU Fault: "
        "ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f32_40000000. Fault is of type FAULT_PDE",
        "xid",
        {"code": "31", "pci": "0000:af:00", "pid": "4711", "task": "python3"},
    ),
    ("NVRM: Xid (0000:01:00): 13, Graphics Exception: ESR 0x404490=0x80000001", "xid", {"code": "13"}),
    ("NVRM: Xid (PCI:0000:18:00): 94, Contained: SM (0x1). RST: No, D-RST: No", "xid", {"code": "94"}),
    (
        "NVRM: GPU 0000:3b:00.0: GPU has fallen off the bus.",
        "other",
        {"about": "gpu-lost", "pci": "0000:3b:00.0"},
    ),
    (
        "nvidia-nvswitch3: SXid (PCI:0000:c1:00.0): 20034, Fatal, Link 30 LTSSM Fault Up",
        "other",
        {"about": "sxid", "code": "20034", "severity": "Fatal"},
    ),
    (
        "Out of memory: Killed process 1234 (python3) total-vm:8123456kB, anon-rss:7654321kB, file-rss:12kB, "
        "shmem-rss:0kB, UID:1000 pgtables:15000kB oom_score_adj:0",
        "oom-kill",
        {"pid": "1234", "task": "python3", "anon_rss": "7654321kB", "uid": "1000", "scope": "Out of memory"},
    ),
    (
        "Killed process 77 (my (odd) name) total-vm:100kB, anon-rss:5kB, file-rss:0kB, shmem-rss:0kB",
        "oom-kill",
        {"pid": "77", "task": "my (odd) name", "total_vm": "100kB"},
    ),
    (
        "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,"
        "task_memcg=/user.slice/session-1.scope,task=a,pid=b,pid=12,uid=0",
        "oom-kill",
        {
            "constraint": "CONSTRAINT_NONE",
            "task": "a,pid=b",
            "pid": "12",
            "memcg": "/user.slice/session-1.scope",
        },
    ),
    (
        "INFO: task kworker/u8:1:123 blocked for more than 120 seconds.",
        "hung-task",
        {"task": "kworker/u8:1", "pid": "123", "seconds": "120"},
    ),
    (
        "INFO: task python3:99 blocked in I/O wait for more than 245 seconds.",
        "hung-task",
        {"task": "python3", "pid": "99", "seconds": "245"},
    ),
    (
        "watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [python3:1234]",
        "soft-lockup",
        {"cpu": "3", "seconds": "22", "task": "python3", "pid": "1234"},
    ),
    (
        "NMI watchdog: BUG: soft lockup - CPU#0 stuck for 23s! [kworker/0:1:5]",
        "soft-lockup",
        {"task": "kworker/0:1"},
    ),
    ("NMI watchdog: Watchdog detected hard LOCKUP on cpu 7", "soft-lockup", {"variant": "hard", "cpu": "7"}),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", "soft-lockup", {"variant": "rcu-stall"}),
    ("rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "soft-lockup", {"variant": "rcu-stall"}),
    ("mce: [Hardware Error]: Machine check events logged", "mce", {"severity": "corrected"}),
    (
        "mce: [Hardware Error]: CPU 12: Machine Check Exception: 5 Bank 4: be00000000800400",
        "mce",
        {"cpu": "12", "bank": "4"},
    ),
    ("{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0", "mce", {}),
    (
        "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#1_DIMM#0 (channel:1 slot:0)",
        "mce",
        {"controller": "MC0", "count": "1", "severity": "corrected"},
    ),
    ("EDAC MC1: 1 UE memory scrubbing error on unknown label", "mce", {"severity": "uncorrected"}),
    (
        "blk_update_request: I/O error, dev sda, sector 123456 op 0x0:(READ) flags 0x80700 phys_seg 1",
        "io-error",
        {"device": "sda", "sector": "123456", "op": "0x0:(READ)"},
    ),
    ("I/O error, dev nvme0n1, sector 0 op 0x1:(WRITE) flags 0x0", "io-error", {"device": "nvme0n1"}),
    ("critical medium error, dev sdb, sector 999 op 0x0:(READ)", "io-error", {"what": "critical medium"}),
    ("Buffer I/O error on dev dm-0, logical block 0, async page read", "io-error", {"device": "dm-0"}),
    ("nvme nvme0: I/O 12 QID 3 timeout, aborting", "io-error", {"device": "nvme0", "what": "aborting"}),
    ("nvme nvme1: I/O tag 12 (100c) opcode 0x2 (I/O Cmd) QID 3 timeout, reset controller", "io-error", {}),
    (
        "EXT4-fs error (device sda1): ext4_find_entry:1455: inode #2: comm ls: reading",
        "io-error",
        {"device": "sda1"},
    ),
    ("XFS (dm-3): metadata I/O error in xfs_trans_read_buf_map", "io-error", {"device": "dm-3"}),
    ("EXT4-fs (sda1): Remounting filesystem read-only", "fs-readonly", {"device": "sda1", "fs": "EXT4-fs"}),
    ("BTRFS info (device sdb1: state E): forced readonly", "fs-readonly", {"device": "sdb1"}),
    (
        "XFS (sdc1): Corruption of in-memory data detected.  Shutting down filesystem",
        "fs-readonly",
        {"device": "sdc1"},
    ),
    ("BUG: unable to handle page fault for address: ffffffffc0000000", "other", {"about": "kernel-fault"}),
]


@pytest.mark.parametrize(("line", "kind", "fields"), LINES, ids=[line[:40] for line, _, _ in LINES])
def test_lines_that_matter(line: str, kind: str, fields: dict[str, str]) -> None:
    (event,) = events_of(line)
    assert event.kind == kind and event.text == line
    assert fields.items() <= event.fields.items(), event.fields


@pytest.mark.parametrize(
    "line",
    [
        "EXT4-fs (vda): mounted filesystem with ordered data mode. Quota mode: none.",
        "EXT4-fs (vda): re-mounted. Opts: errors=remount-ro read-only",
        "mce: CPU0: Thermal monitoring enabled (TM1)",
        "mce: [Hardware Error]: TSC 0 ADDR fef1",
        "EDAC MC: Ver: 3.0.0",
        "NVRM: loading NVIDIA UNIX x86_64 Kernel Module  535.104.05",
        "nvidia-nvlink: Nvlink Core is being initialized, major device number 237",
        "rcu: Hierarchical RCU implementation.",
        "oom_reaper: reaped process 12 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
        "x: NVRM: Xid (PCI:0000:3b:00): 79, quoted by a driver",
        "",
    ],
)
def test_lines_that_do_not(line: str) -> None:
    assert events_of(line) == []


def test_the_lines_of_one_kill_become_one_event() -> None:
    lines = [
        "python3 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/job,"
        "task_memcg=/job/step,task=python3,pid=42,uid=1000",
        "Memory cgroup out of memory: Killed process 42 (python3) total-vm:99kB, anon-rss:88kB, "
        "file-rss:7kB, shmem-rss:0kB, UID:1000 pgtables:15kB oom_score_adj:0",
        "oom_reaper: reaped process 42 (python3), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB",
    ]
    (event,) = events_of(*lines)
    assert event.seq == 2 and event.text == lines[2]
    wanted = {
        "constraint": "CONSTRAINT_MEMCG",
        "oom_memcg": "/job",
        "memcg": "/job/step",
        "pid": "42",
        "uid": "1000",
        "anon_rss": "88kB",
    }
    assert wanted.items() <= event.fields.items()


def test_a_first_line_without_its_second_is_not_lost() -> None:
    line = "oom-kill:constraint=CONSTRAINT_MEMCG,oom_memcg=/j,task_memcg=/j,task=x,pid=1,uid=0"
    collector = Collector()
    collector.feed(Record(1, 1, line, None), 5)
    assert collector.drain() == [], "the second line may come with the next reading"
    assert [e.fields["pid"] for e in collector.drain()] == ["1"]
    collector.feed(Record(2, 1, line, None), 5)
    collector.feed(Record(3, 1, line.replace("pid=1", "pid=2"), None), 6)
    collector.feed(Record(4, 1, "Killed process 2 (x) total-vm:9kB, anon-rss:1kB", None), 7)
    assert [(e.seq, e.fields["pid"]) for e in collector.drain()] == [(2, "1"), (4, "2")]


def test_only_the_kernel_facility_counts() -> None:
    text = b"NVRM: Xid (PCI:0000:3b:00): 79, forged\n"
    assert parse_record(b"3,1,1,-;" + text) is not None
    for priority in (8, 11, 14, 24, 2047, -3):
        assert parse_record(b"%d,1,1,-;" % priority + text) is None


def test_escapes_device_lines_and_further_header_fields() -> None:
    record = parse_record(
        b"3,7,5140900,-,caller=T1;I/O error, dev sda\\x0aforged, \\xe2\n SUBSYSTEM=block\n DEVICE=b8:0\n"
    )
    assert record == Record(7, 5140900, "I/O error, dev sda forged,", "b8:0")


# -- the reader, on a pipe that keeps records apart as /dev/kmsg does ---------------------------------------


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    r, w = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    yield r, w
    os.close(r)
    os.close(w)


def test_a_source_that_cannot_seek_is_refused_with_a_line(pipe: tuple[int, int]) -> None:
    sample = KernelProbe(kmsg=f"/proc/self/fd/{pipe[0]}").read()
    assert sample.values == {"kernel.records": None} and "Illegal seek" in sample.problems[0]


def test_no_device_and_no_permission_are_said(tmp_path: Path) -> None:
    sample = KernelProbe(kmsg=tmp_path / "kmsg").read()
    check_declared(sample)
    assert sample.values == {"kernel.records": None}
    assert sample.problems == (f"{tmp_path}/kmsg: not available (container?); kernel events are not seen",)
    # An unprivileged child: root would be let in.
    write_tree(tmp_path, {"sys/kernel/dmesg_restrict": "1\n"})
    code = f"""
    import json
    from dctop.probes.kernel import KernelProbe
    probe = KernelProbe(proc={os.fspath(tmp_path)!r})
    os.chmod({os.fspath(tmp_path)!r}, 0o755)
    import ctypes
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
    s = probe.read()
    print(json.dumps([s.values, s.problems]))
    """
    values, problems = json.loads(run_inside([], code))
    if Path("/proc/sys/kernel/dmesg_restrict").read_text().strip() == "1":
        assert values == {"kernel.records": None}
        assert problems[0].startswith(
            "/dev/kmsg: not permitted (run as root, or with the capability CAP_SYSLOG"
        )
    else:
        assert values == {"kernel.records": 0} and problems == []


def test_a_users_record_in_the_real_log_is_ignored() -> None:
    probe = KernelProbe()
    probe.read()
    for text in ("NVRM: Xid (PCI:0000:3b:00): 79, forged", "<0>I/O error, dev sda, sector 1"):
        fd = os.open(KMSG, os.O_WRONLY)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    sample = probe.read()
    check_declared(sample, full=True)
    assert not any("forged" in e.text or "dev sda" in e.text for e in sample.events)
    probe.close()


def test_a_real_kill_in_a_cgroup_becomes_one_event_with_its_time_and_later_an_old_one() -> None:
    probe = KernelProbe()
    probe.read()
    began = time.time_ns()
    code = """
    pid = os.fork()
    if pid == 0:
        open("/proc/self/oom_score_adj", "w").write("1000")
        hog = [bytearray(1 << 20) for _ in range(400)]
        os._exit(0)
    os.wait()
    print(pid)
    """
    with group("memory", memory__limit_in_bytes=str(64 << 20)) as g:
        pid = run_inside([g], code).strip()
        name = g.name
    sample = probe.read()
    events = [*sample.events, *probe.read().events]
    (event,) = [e for e in events if e.fields.get("pid") == pid]
    assert event.kind == "oom-kill"
    assert event.fields["constraint"] == "CONSTRAINT_MEMCG"
    assert event.fields["memcg"] == event.fields["oom_memcg"] == f"/{name}"
    assert event.fields["task"].startswith("python") and event.fields["uid"] == "0"
    assert int(event.fields["anon_rss"].removesuffix("kB")) > 30_000
    assert "old" not in event.fields
    assert began <= event.wall_ns <= time.time_ns()
    count = probe.read().values["kernel.records"]
    assert isinstance(count, int) and count >= 1
    probe.close()

    later = KernelProbe()
    first = later.read()
    (old,) = [e for e in first.events if e.fields.get("pid") == pid and e.fields.get("memcg") == f"/{name}"]
    assert old.fields["old"] == "1" and old.seq == event.seq
    assert abs(old.wall_ns - event.wall_ns) < 30_000_000_000
    new = [e for e in first.events if "old" not in e.fields]
    assert first.values["kernel.records"] == len(new), "what was before does not count as new"
    assert not any(e.fields.get("pid") == pid for e in later.read().events), "handed out once"
    later.close()


@settings(max_examples=400, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.tuples(
            st.sampled_from([line for line, _, _ in LINES]), st.integers(0, 200), st.binary(max_size=4)
        ).map(lambda t: b"3,1,1,-;" + t[0].encode()[: t[1]] + t[2] + t[0].encode()[t[1] :]),
    )
)
def test_no_record_whatever_raises(data: bytes) -> None:
    record = parse_record(data)
    if record is None:
        return
    assert record.text.isprintable()
    collector = Collector(old=True)
    collector.feed(record, 0)
    for event in collector.drain():
        assert all(isinstance(k, str) and isinstance(v, str) for k, v in event.fields.items())
        assert all(v.isprintable() for v in event.fields.values())


@given(st.text(max_size=300))
def test_no_text_whatever_raises(text: str) -> None:
    classify(text)
