from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.base import KeptFile
from dctop.probes.pressure import PressureProbe
from tests.fakes.nodes import PSI, check_declared, full_proc, write_tree


def test_a_full_node_gives_every_declared_id(tmp_path: Path) -> None:
    sample = PressureProbe(full_proc(tmp_path)).read()
    check_declared(sample, full=True)
    assert sample.problems == ()
    assert sample.values["pressure.io.some_avg10_pct"] == 1.5
    assert sample.values["pressure.memory.full_avg10_pct"] == 0.5
    assert sample.values["pressure.cpu.some_us"] == 14691021


def test_the_real_node_is_read_or_said_to_be_not_available() -> None:
    sample = PressureProbe().read()
    check_declared(sample)
    if not sample.problems:
        text = Path("/proc/pressure/cpu").read_text()
        total = sample.values["pressure.cpu.some_us"]
        assert (
            isinstance(total, int) and 0 <= int(text.split()[4].removeprefix("total=")) - total < 10_000_000
        )
    else:
        assert all("not available" in p for p in sample.problems)


def test_no_full_line_for_cpu_on_old_kernels_is_none(tmp_path: Path) -> None:
    proc = write_tree(full_proc(tmp_path), {"pressure/cpu": PSI.split("\n")[0] + "\n"})
    sample = PressureProbe(proc).read()
    assert sample.values["pressure.cpu.some_avg10_pct"] == 1.5
    assert sample.values["pressure.cpu.full_avg10_pct"] is None
    assert sample.values["pressure.cpu.full_us"] is None
    assert sample.problems == ()


def test_without_psi_it_is_not_available_and_looked_for_again(tmp_path: Path) -> None:
    probe = PressureProbe(tmp_path)
    sample = probe.read()
    check_declared(sample)
    assert set(sample.values.values()) == {None}
    assert len(sample.problems) == 3 and all("not available" in p for p in sample.problems)
    full_proc(tmp_path)
    assert any(not probe.read().problems for _ in range(40))


def test_psi_switched_off_at_boot_says_how_to_switch_it_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # psi=0: the files are there and answer EOPNOTSUPP; no file of a test tree can.
    def refuse(self: KeptFile) -> bytes:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(KeptFile, "read", refuse)
    sample = PressureProbe(full_proc(tmp_path)).read()
    assert set(sample.values.values()) == {None}
    assert sample.problems[0].endswith("pressure/cpu: not available (switched off; boot with psi=1)")


@pytest.mark.parametrize("bad", ["nan", "inf", "-1.00", "1e999", "x", ""])
def test_a_number_that_is_none_stays_none(tmp_path: Path, bad: str) -> None:
    proc = write_tree(full_proc(tmp_path), {"pressure/io": PSI.replace("avg60=0.25", f"avg60={bad}")})
    sample = PressureProbe(proc).read()
    check_declared(sample)
    assert sample.values["pressure.io.some_avg60_pct"] is None
    assert sample.values["pressure.io.some_avg10_pct"] == 1.5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("somefulavgt=0123456789. \n-", max_size=200).map(str.encode),
        st.integers(0, 110).map(lambda n: PSI.encode()[:n]),
    )
)
def test_no_content_whatever_raises(tmp_path: Path, content: bytes) -> None:
    write_tree(tmp_path, {"pressure/cpu": content, "pressure/memory": content, "pressure/io": content})
    check_declared(PressureProbe(tmp_path).read())
