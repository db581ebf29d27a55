from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.cgroups import UNIFIED, locate, parse_cgroup, parse_mounts
from dctop.probes.container import ContainerProbe
from tests.fakes.cgroups import group, run_inside
from tests.fakes.nodes import check_declared, write_tree

V2_MOUNT = "31 23 0:28 {root} /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"


def v2_group(folder: str, **changed: str) -> dict[str, str]:
    files = {
        "memory.max": "max\n",
        "memory.current": "700000000\n",
        "memory.peak": "900000000\n",
        "memory.stat": "anon 5\nfile 6\nworkingset_inactive_file 1\ninactive_file 200000000\n",
        "memory.events": "low 0\nhigh 0\nmax 67\noom 2\noom_kill 1\noom_group_kill 0\n",
        "cpu.max": "max 100000\n",
        "cpu.stat": "usage_usec 5000000\nnr_periods 100\nnr_throttled 40\nthrottled_usec 123456\n",
        "pids.current": "17\n",
        "pids.max": "max\n",
    } | {k.replace("__", "."): v for k, v in changed.items()}
    return {f"fs/cgroup/{folder}/{name}".replace("//", "/"): text for name, text in files.items()}


def v2_node(tmp_path: Path, own: str, groups: dict[str, str], root: str = "/") -> ContainerProbe:
    write_tree(
        tmp_path / "proc", {"self/cgroup": f"0::{own}\n", "self/mountinfo": V2_MOUNT.format(root=root)}
    )
    write_tree(tmp_path / "sys", groups)
    return ContainerProbe(tmp_path / "proc", tmp_path / "sys")


def test_v2_gives_every_declared_id(tmp_path: Path) -> None:
    limits = v2_group("job", memory__max="1000000000\n", cpu__max="150000 100000\n", pids__max="64\n")
    sample = v2_node(tmp_path, "/job", limits).read()
    check_declared(sample, full=True)
    assert sample.problems == ()
    v = {k.removeprefix("container."): x for k, x in sample.values.items()}
    assert v["cgroup_version"] == "v2" and v["path"] == "/job"
    assert (v["memory_limit_bytes"], v["memory_bytes"], v["memory_max_bytes"]) == (
        10**9,
        7 * 10**8,
        9 * 10**8,
    )
    assert (v["inactive_file_bytes"], v["oom_kills"], v["memory_failcnt"]) == (2 * 10**8, 1, 67)
    assert (v["cpu_quota_cores"], v["cpu_usage_us"], v["cpu_throttled_us"]) == (1.5, 5000000, 123456)
    assert (v["cpu_periods"], v["cpu_throttled_periods"], v["pids"], v["pids_limit"]) == (100, 40, 17, 64)


def test_v2_takes_the_tightest_limit_above_and_the_use_that_belongs_to_it(tmp_path: Path) -> None:
    groups = v2_group("slurm", memory__max="9000000000\n", memory__current="8\n")
    groups |= v2_group("slurm/job_7", memory__max="4000000000\n", memory__current="3000000000\n")
    groups |= v2_group("slurm/job_7/step", memory__max="max\n", memory__current="5\n")
    groups |= v2_group("slurm/job_7/step/task:0", memory__max="6000000000\n", memory__current="1\n")
    values = v2_node(tmp_path, "/slurm/job_7/step/task:0", groups).read().values
    assert values["container.path"] == "/slurm/job_7/step/task:0"
    assert values["container.memory_limit_bytes"] == 4_000_000_000
    assert values["container.memory_bytes"] == 3_000_000_000
    assert values["container.cpu_quota_cores"] is None


def test_v2_without_limits_on_the_host_is_unlimited_not_zero(tmp_path: Path) -> None:
    write_tree(tmp_path / "sys", {"fs/cgroup/cpu.stat": "usage_usec 77\nuser_usec 1\nsystem_usec 2\n"})
    sample = v2_node(tmp_path, "/", {}).read()
    check_declared(sample)
    assert sample.problems == ()
    assert sample.values["container.cgroup_version"] == "v2"
    assert sample.values["container.memory_limit_bytes"] is None
    assert sample.values["container.memory_bytes"] is None
    assert sample.values["container.cpu_usage_us"] == 77
    assert sample.values["container.cpu_throttled_us"] is None


def test_a_limit_that_is_changed_while_running_is_seen(tmp_path: Path) -> None:
    probe = v2_node(tmp_path, "/a", v2_group("a", memory__max="100\n"))
    assert probe.read().values["container.memory_limit_bytes"] == 100
    write_tree(tmp_path / "sys", {"fs/cgroup/a/memory.max": "200\n"})
    assert any(probe.read().values["container.memory_limit_bytes"] == 200 for _ in range(25))


def test_a_move_to_another_cgroup_is_seen(tmp_path: Path) -> None:
    probe = v2_node(tmp_path, "/a", v2_group("a") | v2_group("b", memory__max="5\n"))
    assert probe.read().values["container.memory_limit_bytes"] is None
    write_tree(tmp_path / "proc", {"self/cgroup": "0::/b\n"})
    values = [probe.read().values for _ in range(25)][-1]
    assert values["container.memory_limit_bytes"] == 5 and values["container.path"] == "/b"


@pytest.mark.parametrize(
    ("own", "root", "seen"),
    [
        ("/", "/", True),  # cgroup namespace, its own mount
        ("/docker/abc", "/docker/abc", True),  # no namespace, bind mount of the container's part
        ("/docker/abc/sub", "/docker/abc", True),
        ("/../other", "/", True),  # joined the namespaces, not the cgroup: the container's limits
        ("/", "/../..", False),  # the host's hierarchy mounted into a namespace: own place unknown
        ("/docker/abc", "/docker/xyz", False),
        ("/docker/abcd", "/docker/abc", False),
    ],
)
def test_cgroup_namespaces_and_partial_mounts(tmp_path: Path, own: str, root: str, seen: bool) -> None:
    groups = v2_group("", memory__max="123\n") | v2_group("sub", memory__max="456\n")
    sample = v2_node(tmp_path, own, groups, root).read()
    check_declared(sample)
    if seen:
        assert sample.values["container.memory_limit_bytes"] == 123
        assert sample.problems == ()
    else:
        assert sample.values["container.memory_limit_bytes"] is None
        assert sample.values["container.cgroup_version"] == "none"
        assert len(sample.problems) == 1 and "/sys/fs/cgroup" in sample.problems[0]


def test_v1_units_and_sentinels(tmp_path: Path) -> None:
    mounts = "".join(
        f"3{i} 31 0:{i} / /sys/fs/cgroup/{m} rw - cgroup cgroup rw,{m}\n"
        for i, m in enumerate(("memory", "cpu,cpuacct", "pids"))
    )
    write_tree(
        tmp_path / "proc",
        {
            "self/cgroup": "4:memory:/k8s/pod:1\n2:cpu,cpuacct:/k8s\n7:pids:/k8s\n1:name=systemd:/x\n0::/y\n",
            "self/mountinfo": mounts,
        },
    )
    write_tree(
        tmp_path / "sys/fs/cgroup",
        {
            "memory/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/k8s/memory.limit_in_bytes": "2000\n",
            "memory/k8s/memory.usage_in_bytes": "1500\n",
            "memory/k8s/memory.max_usage_in_bytes": "1999\n",
            "memory/k8s/memory.failcnt": "3\n",
            "memory/k8s/memory.stat": "inactive_file 1\ntotal_inactive_file 400\n",
            "memory/k8s/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
            "memory/k8s/pod:1/memory.limit_in_bytes": "9223372036854771712\n",
            "memory/k8s/pod:1/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n",
            "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "cpu,cpuacct/k8s/cpu.cfs_quota_us": "250000\n",
            "cpu,cpuacct/k8s/cpu.cfs_period_us": "100000\n",
            "cpu,cpuacct/k8s/cpu.stat": "nr_periods 10\nnr_throttled 4\nthrottled_time 7000000\n",
            "cpu,cpuacct/k8s/cpuacct.usage": "123456789\n",
            "pids/k8s/pids.current": "9\n",
            "pids/k8s/pids.max": "max\n",
        },
    )
    sample = ContainerProbe(tmp_path / "proc", tmp_path / "sys").read()
    check_declared(sample)
    assert sample.problems == ()
    v = {k.removeprefix("container."): x for k, x in sample.values.items()}
    assert v["cgroup_version"] == "v1" and v["path"] == "/k8s/pod:1"
    assert (v["memory_limit_bytes"], v["memory_bytes"], v["inactive_file_bytes"]) == (2000, 1500, 400)
    assert v["oom_kills"] == 7, "v1 counts where the victim was: own cgroup and the one with the limit"
    assert (v["cpu_quota_cores"], v["cpu_throttled_us"], v["cpu_usage_us"]) == (2.5, 7000, 123456)
    assert (v["pids"], v["pids_limit"]) == (9, None)


def test_hybrid_takes_each_controller_from_the_hierarchy_that_has_it() -> None:
    paths = parse_cgroup(b"4:memory:/m:x\n1:cpu,cpuacct:/c\n9:name=systemd:/s\n0::/u/v\n")
    assert paths == {"memory": "/m:x", "cpu": "/c", "cpuacct": "/c", "name=systemd": "/s", UNIFIED: "/u/v"}


def test_mount_points_with_escapes_and_optional_fields() -> None:
    mounts = parse_mounts(
        b"22 27 0:21 / /proc rw - proc proc rw\n"
        b"32 31 0:29 /a\\040b /sys/fs/cg\\134x rw shared:1 master:2 - cgroup none rw,cpu,cpuacct\n"
        b"broken line - cgroup\n31 1 0:1 / /u rw - cgroup2 none rw\n"
    )
    assert [(m.v2, m.root, m.point) for m in mounts] == [(True, "/", "/u"), (False, "/a b", "/sys/fs/cg\\x")]
    assert {"cpu", "cpuacct"} <= mounts[1].controllers


def test_no_control_groups_is_said_so(tmp_path: Path) -> None:
    write_tree(tmp_path, {"self/cgroup": "", "self/mountinfo": ""})
    sample = ContainerProbe(tmp_path, tmp_path).read()
    assert sample.values["container.cgroup_version"] == "none" and sample.problems == ()
    sample = ContainerProbe(tmp_path / "nothing", tmp_path).read()
    assert set(sample.values.values()) == {None} and "self/cgroup" in sample.problems[0]


def test_this_node_is_read() -> None:
    sample = ContainerProbe().read()
    check_declared(sample)
    assert sample.values["container.cgroup_version"] in ("v1", "v2", "none")


REPORT = """
    import json
    from dctop.probes.container import ContainerProbe
    probe = ContainerProbe()
    probe.read()
    {work}
    s = probe.read()
    print(json.dumps([s.values, s.problems]))
"""


def inside(groups: list[Path], work: str = "") -> dict[str, object]:
    values, problems = json.loads(run_inside(groups, REPORT.format(work=work)))
    assert problems == []
    return {k.removeprefix("container."): v for k, v in values.items()}


def test_a_real_memory_limit_is_read_inside_its_cgroup() -> None:
    with group("memory", memory__limit_in_bytes=str(256 << 20)) as g:
        inner = g / "step"
        inner.mkdir()
        v = inside([inner])
    assert v["cgroup_version"] == "v1"
    assert v["path"] == f"/{g.name}/step"
    assert v["memory_limit_bytes"] == 256 << 20, "the limit is the parent's"
    assert isinstance(v["memory_bytes"], int) and 0 < v["memory_bytes"] < 256 << 20
    assert v["oom_kills"] == 0


def test_a_real_cpu_quota_throttles_and_the_counters_say_so() -> None:
    work = "import time; end = time.process_time() + 0.1\n    while time.process_time() < end: pass"
    with group("cpu", cpu__cfs_period_us="100000", cpu__cfs_quota_us="20000") as g:
        v = inside([g], work)
    assert v["cpu_quota_cores"] == 0.2
    assert isinstance(v["cpu_throttled_periods"], int) and v["cpu_throttled_periods"] >= 2
    assert isinstance(v["cpu_periods"], int) and v["cpu_periods"] >= v["cpu_throttled_periods"]
    # 100 ms of work at 20 ms a period: held back most of at least three periods, in µs and not in ns.
    assert isinstance(v["cpu_throttled_us"], int) and 100_000 < v["cpu_throttled_us"] < 60_000_000


def test_a_real_out_of_memory_kill_raises_the_counters() -> None:
    work = """
    if os.fork() == 0:
        open("/proc/self/oom_score_adj", "w").write("1000")
        hog = [bytearray(1 << 20) for _ in range(400)]
        os._exit(0)
    status = os.wait()[1]
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == 9
    """
    with group("memory", memory__limit_in_bytes=str(96 << 20)) as g:
        v = inside([g], work)
    assert v["oom_kills"] == 1
    assert isinstance(v["memory_failcnt"], int) and v["memory_failcnt"] > 0
    assert isinstance(v["memory_max_bytes"], int) and v["memory_max_bytes"] > 90 << 20


def test_a_real_task_limit_is_read() -> None:
    with group("pids", pids__max="50") as g:
        v = inside([g])
    assert v["pids_limit"] == 50 and v["pids"] == 1


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(own=st.binary(max_size=80), mounts=st.binary(max_size=120), content=st.binary(max_size=60))
def test_no_content_whatever_raises(tmp_path: Path, own: bytes, mounts: bytes, content: bytes) -> None:
    probe = v2_node(tmp_path, "/job", v2_group("job"))
    for name in ("memory.max", "memory.stat", "cpu.max", "cpu.stat", "pids.current", "memory.current"):
        (tmp_path / "sys/fs/cgroup/job" / name).write_bytes(content)
    check_declared(probe.read())
    write_tree(tmp_path / "proc", {"self/cgroup": b"0::/job" + own, "self/mountinfo": mounts})
    for _ in range(21):
        check_declared(probe.read())
    write_tree(tmp_path / "proc", {"self/cgroup": own})
    check_declared(ContainerProbe(tmp_path / "proc", tmp_path / "sys").read())
    probe.close()


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_parsers_take_any_bytes(cgroup: bytes, mounts: bytes) -> None:
    paths = parse_cgroup(cgroup)
    for controller in ("memory", UNIFIED, *paths):
        locate(controller, paths, parse_mounts(mounts), Path(os.devnull))
