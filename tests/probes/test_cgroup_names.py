"""Which container, which job: the forms the runtimes make."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.cgroup_names import NOWHERE, parse_cgroup

ID = "0123456789ab" + "c" * 52
POD = "7d1b4a3e-2c5f-4a6b-8e9d-0a1b2c3d4e5f"
UNDER = POD.replace("-", "_")
SHORT = ID[:12]


@pytest.mark.parametrize(
    ("path", "container", "job"),
    [
        (f"/docker/{ID}", SHORT, None),
        (f"/system.slice/docker-{ID}.scope", SHORT, None),
        (f"/system.slice/docker-{ID}.scope/init", SHORT, None),
        (f"/docker/{'f' * 64}/docker/{ID}", SHORT, None),
        (f"/machine.slice/libpod-{ID}.scope/container", SHORT, None),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope", SHORT, None),
        (f"/machine.slice/libpod-conmon-{ID}.scope", None, None),
        (f"/kubepods.slice/crio-conmon-{ID}.scope", None, None),
        (f"/kubepods/burstable/pod{POD}/{ID}", SHORT, f"k8s:{POD}"),
        (f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{UNDER}.slice/cri-containerd-{ID}.scope",
         SHORT, f"k8s:{POD}"),
        (f"/kubepods.slice/kubepods-pod{UNDER}.slice/crio-{ID}.scope", SHORT, f"k8s:{POD}"),
        (f"/system.slice/containerd.service/kubepods-besteffort-pod{UNDER}.slice:cri-containerd:{ID}",
         SHORT, f"k8s:{POD}"),
        (f"/kubelet.slice/kubelet-kubepods-pod{'a' * 32}.slice", None, f"k8s:{'a' * 32}"),
        ("/lxc/web-1", "web-1", None),
        ("/lxc.payload.web-1/system.slice/x.service", "web-1", None),
        ("/lxc.payload/web-1/init.scope", "web-1", None),
        ("/lxc.monitor.web-1", None, None),
        ("/machine.slice/systemd-nspawn@debian.service/payload", "debian", None),
        ("/slurm/uid_1000/job_4242/step_batch/task_0", None, "slurm:4242"),
        ("/slurm_node7/uid_1000/job_4242/step_0", None, "slurm:4242"),
        ("/system.slice/slurmstepd.scope/job_123456/step_0/user/task_0", None, "slurm:123456"),
        ("/system.slice/node7_slurmstepd.scope/job_9/step_extern", None, "slurm:9"),
        (f"/system.slice/slurmstepd.scope/job_5/step_0/docker-{ID}.scope", SHORT, "slurm:5"),
        ("/user.slice/user-1000.slice/session-3.scope", None, None),
        ("/system.slice/cups.service", None, None),
        ("/home/job_7", None, None),
        ("/", None, None),
    ],
)  # fmt: skip
def test_container_and_job_of_a_path(path: str, container: str | None, job: str | None) -> None:
    placed = parse_cgroup(f"0::{path}\n".encode())
    assert placed == (path, container, job)


def test_v1_shows_the_memory_controllers_path_and_looks_for_the_job_in_all() -> None:
    text = (
        b"12:pids:/user.slice\n11:cpuset,cpu:/slurm/uid_0/job_8/step_0\n"
        b"9:memory:/slurm/uid_0/job_8/step_0/task_3\n1:name=systemd:/system.slice/slurmd.service\n0::/system.slice\n"
    )
    assert parse_cgroup(text) == ("/slurm/uid_0/job_8/step_0/task_3", None, "slurm:8")


def test_a_path_may_hold_colons_and_a_removed_group_is_known_by_its_name() -> None:
    assert parse_cgroup(b"0::/a:b:c (deleted)\n").cgroup == "/a:b:c"


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_a_placement(data: bytes) -> None:
    for text in (data, b"0::/" + data, b"4:memory:/slurm/job_" + data, b"0::/docker/" + data):
        placed = parse_cgroup(text)
        assert all(v is None or (v and v.isprintable()) for v in placed)


def test_nothing_is_nowhere() -> None:
    assert parse_cgroup(b"") == NOWHERE
    assert parse_cgroup(b"garbage\n") == NOWHERE
