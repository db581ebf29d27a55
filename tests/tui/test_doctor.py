"""`dctop doctor`: says what works here without changing anything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dctop.engine import paths
from dctop.probes.base import Sample
from dctop.tui import cli
from dctop.tui.commands import doctor
from dctop.tui.commands.doctor import Finding


def test_json_is_one_document_with_stable_ids(capsys: pytest.CaptureFixture[str]) -> None:
    status = cli.main(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is (status == 0)
    ids = [c["id"] for c in document["checks"]]
    assert len(ids) == len(set(ids))
    always = (
        "python textual terminal probe.cpu probe.gpu cgroup psi kmsg torch data state sqlite config others"
    )
    assert set(ids) >= set(always.split())
    assert not [c for c in document["checks"] if c["status"] == "fail"]


def test_nothing_is_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CONFIG", "STATE", "CACHE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name))
    assert cli.main(["doctor"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "checks, 0 failed" in capsys.readouterr().out


def test_what_hangs_is_told_within_the_deadline() -> None:
    release = threading.Event()

    def hang() -> Finding:
        release.wait()
        return Finding("ok", "")

    result = doctor.run_check("mount", hang, deadline_s=0.05)
    release.set()
    assert result.status == "fail"
    assert "no answer within 0.05 s" in result.text


def test_a_check_that_breaks_is_a_finding() -> None:
    result = doctor.run_check("x", lambda: Finding("ok", str(1 // 0)))
    assert result.status == "fail"
    assert "ZeroDivisionError" in result.text


class Broken:
    period_s, lane = 1.0, "proc"

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> Sample:
        raise PermissionError(13, "Permission denied")

    def close(self) -> None:
        pass


def test_a_probe_that_fails_is_a_warning_unless_nothing_works_without_it() -> None:
    assert doctor.read_probe(Broken("network")).status == "warn"
    found = doctor.read_probe(Broken("memory"))
    assert found.status == "fail"
    assert "Permission denied" in found.text


def test_a_broken_configuration_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.toml"
    file.write_text("x = 1\n")
    assert cli.main(["doctor", "--config", str(file)]) == 1
    assert f"{file}:1: unknown key" in capsys.readouterr().out


def test_a_read_only_state_directory_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    found = doctor.state()
    assert found.status == "warn"
    assert "not writable" in found.text


@pytest.mark.parametrize(
    ("version", "affected"),
    [((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 6), False), ((3, 44, 5), True),
     ((3, 50, 7), False), ((3, 50, 6), True), ((3, 51, 2), True), ((3, 51, 3), False), ((3, 52, 0), False)],
)  # fmt: skip
def test_versions_with_the_wal_reset_bug(version: tuple[int, int, int], affected: bool) -> None:
    assert doctor.wal_reset_bug(version) is affected


def test_the_template_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--config-template"]) == 0
    assert "# interval = 1.0" in capsys.readouterr().out
    assert not paths.config_file().exists()


def test_a_gpu_in_trouble_is_a_warning_that_names_it(tmp_path: Path) -> None:
    from tests.fakes.standin import State

    state = State(tmp_path / "gpus", 2)
    state.fault("* 1 error 15")
    found = subprocess.run(
        [sys.executable, "-c", "from dctop.tui.cli import main; main(['doctor'])"],
        env={**os.environ, **state.env()}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    (line,) = [line for line in found.stdout.splitlines() if "probe.gpu " in line]
    assert line.startswith("warn") and "GPU is lost (15)" in line


def test_mistakes_of_the_configuration_are_a_line_each(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "dctop.toml"
    file.write_text("[rules.mine]\nwhen = 'gpu.utl_pct < 3'\n[rules.iowait]\nwarn = 3\n")
    assert cli.main(["doctor", "--config", str(file)]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "dctop.toml:" in line]
    assert [line.partition("dctop.toml:")[2][:2] for line in lines] == ["2:", "4:"]


def test_it_tells_where_alerts_go_but_no_secret(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "dctop.toml"
    file.write_text("[alerts]\nwebhook = 'https://hooks.example.org/secret'\ncommand = ['/nowhere/page']\n")
    cli.main(["doctor", "--config", str(file)])
    out = capsys.readouterr().out
    assert "/nowhere/page is not found" in out
    file.write_text("[alerts]\nwebhook = 'https://hooks.example.org/secret'\n")
    cli.main(["doctor", "--config", str(file)])
    out = capsys.readouterr().out
    assert "told to hooks.example.org" in out and "secret" not in out


def test_a_test_alert_is_sent_or_refused_in_a_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "dctop.toml"
    file.write_text("[alerts]\ncommand = ['true']\n")
    assert cli.main(["doctor", "--test-alert", "--config", str(file)]) == 0
    assert "taken" in capsys.readouterr().out
    file.write_text("[alerts]\ncommand = ['false']\n")
    assert cli.main(["doctor", "--test-alert", "--config", str(file)]) == 1
    assert "exit status 1" in capsys.readouterr().out
    file.write_text("")
    assert cli.main(["doctor", "--test-alert", "--config", str(file)]) == 1
    assert "neither" in capsys.readouterr().err
