from __future__ import annotations

import errno
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dctop.probes.base import KeptFile
from dctop.probes.sensors import SensorsProbe
from tests.fakes.nodes import check_declared, full_proc, full_sys, write_tree


def test_a_full_node_gives_every_declared_id(tmp_path: Path) -> None:
    probe = SensorsProbe(full_proc(tmp_path / "proc"), full_sys(tmp_path / "sys"))
    for _ in range(2):
        sample = probe.read()
        check_declared(sample, full=True)
    assert sample.problems == ()
    assert sample.values == {
        "cpu.freq_mhz{core=0}": 2400.0,
        "cpu.freq_mhz{core=1}": 2400.001,
        "cpu.temp_c{sensor=Package id 0}": 51.0,
        "cpu.temp_c{sensor=Package id 1}": 52.0,
        "cpu.energy_uj{package=package-0}": 123456789,
        "cpu.energy_uj{package=package-1}": 123456790,
    }
    probe.close()


def test_core_sensors_are_shown_where_no_package_has_one_and_told_apart(tmp_path: Path) -> None:
    sys = full_sys(tmp_path)
    for i in (1, 2):
        (sys / f"class/hwmon/hwmon{i}/temp1_label").unlink()
        (sys / f"class/hwmon/hwmon{i}/temp1_input").unlink()
    temps = {k: v for k, v in SensorsProbe(tmp_path, sys).read().values.items() if "temp_c" in k}
    assert temps == {"cpu.temp_c{sensor=Core 0 (1)}": 49.0, "cpu.temp_c{sensor=Core 0 (2)}": 49.0}


def test_without_cpufreq_the_clock_comes_from_cpuinfo(tmp_path: Path) -> None:
    sample = SensorsProbe(full_proc(tmp_path), tmp_path / "sys").read()
    assert sample.values == {"cpu.freq_mhz{core=0}": 2596.136} and sample.problems == ()


def test_a_node_without_sensors_has_no_series_and_no_complaint(tmp_path: Path) -> None:
    sample = SensorsProbe(tmp_path, tmp_path).read()
    assert sample.values == {} and sample.problems == ()


def test_a_sensor_that_fails_is_none_with_one_line_a_kind(tmp_path: Path) -> None:
    sys = full_sys(tmp_path)
    for i in range(2):  # a directory in its place: reading fails as it does on a sick device
        path = sys / f"class/powercap/intel-rapl:{i}/energy_uj"
        path.unlink()
        path.mkdir()
    probe = SensorsProbe(tmp_path, sys)
    sample = probe.read()
    assert sample.values["cpu.energy_uj{package=package-0}"] is None
    assert len(sample.problems) == 1 and "intel-rapl:0/energy_uj: Is a directory" in sample.problems[0]
    assert sample.values["cpu.freq_mhz{core=0}"] == 2400.0


def test_energy_only_root_may_read_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sys = full_sys(tmp_path)

    def refuse(self: KeptFile) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(KeptFile, "read", refuse)
    problems = SensorsProbe(tmp_path, sys).read().problems
    assert any(p.endswith("energy_uj: Permission denied (CPU power needs root)") for p in problems)


def test_the_real_node_is_read() -> None:
    check_declared(SensorsProbe().read())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=60), st.integers(-(10**30), 10**30).map(lambda n: str(n).encode())))
def test_no_content_whatever_raises(tmp_path: Path, content: bytes) -> None:
    sys = full_sys(tmp_path / "sys")
    for path in sorted(sys.rglob("*")):
        if path.is_file() and path.name not in ("meminfo",):
            path.write_bytes(content)
    write_tree(tmp_path, {"cpuinfo": b"processor : 0\ncpu MHz : " + content})
    check_declared(SensorsProbe(tmp_path, sys).read())
    for path in sorted(sys.rglob("name")):
        path.write_text("coretemp" if "hwmon" in str(path) else "package-0")
    check_declared(SensorsProbe(tmp_path, sys).read())
