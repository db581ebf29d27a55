from __future__ import annotations

import os
from pathlib import Path

import psutil
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.host import HostProbe
from tests.fakes.nodes import check_declared, full_proc, write_tree

SESSION = "UID=1000\nUSER=mara\nACTIVE=1\nSTATE={}\nCLASS={}\nTYPE=tty\n"


def test_a_full_node_gives_every_declared_id(tmp_path: Path) -> None:
    run = write_tree(
        tmp_path / "run",
        {
            "systemd/sessions/1": SESSION.format("active", "user"),
            "systemd/sessions/2": SESSION.format("online", "user"),
            "systemd/sessions/3": SESSION.format("closing", "user"),
            "systemd/sessions/4": SESSION.format("active", "manager"),
            "systemd/sessions/c1": SESSION.format("active", "greeter"),
            "systemd/sessions/1.ref": "",
        },
    )
    sample = HostProbe(full_proc(tmp_path / "proc"), run=run).read()
    check_declared(sample, full=True)
    assert sample.problems == ()
    assert sample.values == {
        "host.name": "gpu-07",
        "host.kernel": "6.1.0-18-amd64",
        "host.boot_id": "77ea3d27-48ef-4ae7-a2bd-c7de6f495535",
        "host.uptime_s": 1905.68,
        "host.users": 2,
    }


def test_the_real_node_agrees_with_uname() -> None:
    sample = HostProbe().read()
    check_declared(sample)
    uname = os.uname()
    assert (sample.values["host.name"], sample.values["host.kernel"]) == (uname.nodename, uname.release)
    if Path("/run/utmp").exists():
        assert sample.values["host.users"] == len(psutil.users())


def test_users_nobody_keeps_a_record_of_are_none_and_not_zero(tmp_path: Path) -> None:
    sample = HostProbe(full_proc(tmp_path / "proc"), run=tmp_path).read()
    assert sample.values["host.users"] is None
    assert "neither" in sample.problems[0]


def test_missing_files_are_none_and_named(tmp_path: Path) -> None:
    sample = HostProbe(tmp_path, run=tmp_path).read()
    check_declared(sample)
    assert set(sample.values.values()) == {None}
    assert "host.name, host.kernel, host.uptime_s cannot be read" in sample.problems[0]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=120))
def test_no_content_whatever_raises(tmp_path: Path, content: bytes) -> None:
    names = ("uptime", "sys/kernel/hostname", "sys/kernel/osrelease", "sys/kernel/random/boot_id")
    write_tree(tmp_path, dict.fromkeys((*names, "systemd/sessions/1"), content))
    check_declared(HostProbe(tmp_path, run=tmp_path).read())
