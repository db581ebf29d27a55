"""`dctop check` and `dctop rules`: what they print, and how they end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.engine.rules.engine import RuleEngine
from dctop.tui.cli import main
from tests.fakes.judged import record


@pytest.fixture(scope="module")
def bad_day(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RuleEngine]:
    path = tmp_path_factory.mktemp("rec") / "bad.dctop"
    return path, record(path, True)


def test_a_recording_is_judged_as_the_node_was(
    bad_day: tuple[Path, RuleEngine], capsys: pytest.CaptureFixture[str]
) -> None:
    path, live = bad_day
    assert main(["check", str(path), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    found = {(f["id"], f["rule"], f["entity"], f["opened_ns"], f["severity"]) for f in document["findings"]}
    lived = {(a.id, a.rule, a.entity, a.opened_wall_ns, a.severity) for a in live.alerts()}
    assert found == lived
    rules = {f["rule"]: f for f in document["findings"]}
    assert {"psi-memory", "kernel-hung", "disk-fill", "loss-nonfinite", "oom-killed"} <= rules.keys()
    assert rules["worker-crashed"]["suppressed_by"] == "oom-killed"
    assert rules["loss-nonfinite"]["evidence"][0]["value"] == "nan"


def test_findings_as_text(bad_day: tuple[Path, RuleEngine], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bad_day[0])]) == 1
    out = capsys.readouterr().out
    assert "CRITICAL  oom-killed  run-1" in out
    assert "limit 1 GiB -> 1.2 GiB" in out
    assert "symptoms of it: worker-crashed run-1" in out
    assert "Not checked:" in out


def test_findings_in_chinese(bad_day: tuple[Path, RuleEngine], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bad_day[0]), "--lang", "zh"]) == 1
    assert "内存不足" in capsys.readouterr().out


def test_a_healthy_recording_has_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path / "well.dctop", False)
    assert main(["check", str(tmp_path / "well.dctop")]) == 0
    assert "No findings." in capsys.readouterr().out


def test_a_file_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.dctop").write_bytes(b"hello")
    for name in ("x.dctop", "missing.dctop"):
        assert main(["check", str(tmp_path / name)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("dctop: ")
        assert err.count("\n") == 1


def test_this_node_is_judged(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--for", "2", "--json"]) in (0, 1)
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "live"
    assert {"rule": "cpu-steal", "needs": "20 min of readings"} in document["not_checked"]


def test_thresholds_of_the_configuration_hold(
    bad_day: tuple[Path, RuleEngine], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "dctop.toml"
    config.write_text("[rules.psi-memory]\nsome_pct = 60\n[rules.disk-fill]\nnonsense = 1\n")
    main(["check", str(bad_day[0]), "--json", "--config", str(config)])
    document = json.loads(capsys.readouterr().out)
    assert "psi-memory" not in {f["rule"] for f in document["findings"]}
    assert main(["rules", "psi-memory", "--config", str(config)]) == 0
    captured = capsys.readouterr()
    assert "some_pct = 60   (default 20)" in captured.out
    assert "disk-fill has no threshold nonsense" in captured.err


def test_rules_lists_and_explains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules"]) == 0
    assert "disk-fill" in capsys.readouterr().out
    assert main(["rules", "disk-fill"]) == 0
    out = capsys.readouterr().out
    assert "warn_pct = 10" in out
    assert "Netdata" in out
    assert main(["rules", "disk-fill", "--lang", "zh"]) == 0
    assert "条件" in capsys.readouterr().out
    assert main(["rules", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len({r["id"] for r in document["rules"]}) == len(document["rules"]) > 40


def test_an_unknown_rule_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rules", "disk-fil"]) == 2
    assert "did you mean `disk-fill`?" in capsys.readouterr().err


def test_neither_loads_textual_or_torch() -> None:
    code = (
        "import sys; from dctop.tui.cli import main; main(['rules', 'xid']); main(['check', '--for', '1']);"
        "print([m for m in ('textual', 'torch', 'numpy', 'plotext') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.strip().endswith("[]")
