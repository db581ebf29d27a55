"""Recordings of every format there was are read by this version: opened, replayed, judged, reported,
exported.

The golden files are never made anew, only added to, with the version that brings a format:
`python -m tests.fakes.golden tests/engine/recording/golden`.
"""

from __future__ import annotations

import csv
import gzip
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.recording.reader import Recording, open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.schema import MAJOR, MINOR
from dctop.tui.cli import main
from tests.fakes.golden import facts

GOLDEN = Path(__file__).parent / "golden"
FORMATS = sorted(p.name.removesuffix(".dctop.gz") for p in GOLDEN.glob("*.gz"))
KNOWN = {name: json.loads((GOLDEN / f"{name}.json").read_text()) for name in FORMATS}


@pytest.fixture(params=FORMATS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def unpacked(name: str, folder: Path) -> Path:
    path = folder / f"{name}.dctop"
    path.write_bytes(gzip.decompress((GOLDEN / f"{name}.dctop.gz").read_bytes()))
    return path


@pytest.fixture
def path(name: str, tmp_path: Path) -> Path:
    return unpacked(name, tmp_path)


@pytest.fixture
def recording(path: Path) -> Iterator[Recording]:
    with open_recording(path) as opened:
        yield opened


def test_the_format_that_is_written_has_its_golden_file() -> None:
    assert {"format-1.0", f"format-{MAJOR}.{MINOR}"} <= set(FORMATS)


def test_everything_comes_out_that_was_put_in(name: str, recording: Recording) -> None:
    recording.check()
    assert recording.info.problems == () and recording.info.bad_chunks == 0 and recording.info.closed
    known = KNOWN[name]
    found = facts(recording, known["process"])
    for a, b in zip(found.pop("alerts"), known["alerts"], strict=True):  # type: ignore[call-overload]
        _is_part(b, a)  # later versions know more of an alert
    assert found == {key: value for key, value in known.items() if key != "alerts"}


def _is_part(less: Any, more: Any) -> None:
    if isinstance(less, dict):
        for key, value in less.items():
            _is_part(value, more[key])
    elif isinstance(less, list):
        for a, b in zip(less, more, strict=True):
            _is_part(a, b)
    else:
        assert less == more


def test_it_is_replayed_frame_by_frame_in_both_languages(name: str, path: Path) -> None:
    for lang in ("en", "zh"):
        source = ReplaySource(path, lang=lang)
        seen = 1
        while source.step(1):
            seen += 1
            snap = source.snapshot()
            assert snap is not None and snap.num("cpu.util_pct") is not None
        assert seen == KNOWN[name]["frames"]
        assert source.window("cpu.util_pct", 30)[-1] >= 0.0
        assert [r.id for r in source.runs()] == [run[0] for run in KNOWN[name]["runs"]]
        assert source.events() and source.alerts()
        assert source.seek(source.t0_ns) and source.at_start
        source.close()


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_it_is_reported_in_both_languages(
    name: str, path: Path, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for to in ("md", "html"):
        assert main(["report", str(path), "--to", to, "--lang", lang]) == 0
        out = capsys.readouterr().out
        assert all(a["rule"] in out for a in KNOWN[name]["alerts"])


@pytest.mark.parametrize("to", ["csv", "jsonl", "parquet", "perfetto", "openmetrics"])
def test_it_is_exported(name: str, path: Path, to: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    table = ["--table", "all"] if to in ("csv", "jsonl", "parquet") else []
    assert main(["export", str(path), "--to", to, *table, "-o", str(out)]) == 0
    assert len(list(out.iterdir())) == (4 if table else 1)
    assert all(p.stat().st_size for p in out.iterdir())
    if to == "csv":
        with (out / "metrics.csv").open() as f:
            assert len(list(csv.DictReader(f))) == KNOWN[name]["frames"]
        with (out / "steps.csv").open() as f:
            assert len(list(csv.DictReader(f))) == sum(run[3] for run in KNOWN[name]["runs"])


def test_it_is_judged_again(name: str, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(path), "--json"]) in (0, 1)
    found = json.loads(capsys.readouterr().out)
    assert found["source"] == str(path)
    if KNOWN[name]["begun"]:
        # Judged by real rules when it was made, in mid-session: so they find it again, opened as it was.
        told = {(f["rule"], f["entity"]) for f in found["findings"]}
        assert {(a["rule"], a["entity"]) for a in KNOWN[name]["alerts"]} <= told


@pytest.mark.parametrize("action", ["cut", "redact", "repair"])
def test_copies_of_it_hold_all_of_it(
    name: str, path: Path, action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rec", "info", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == KNOWN[name]["frames"]
    made = tmp_path / "made.dctop"
    part = ["-b", "+0s"] if action == "cut" else []
    assert main(["rec", action, str(path), *part, "-o", str(made)]) == 0
    with open_recording(made) as copy:
        copy.check()
        assert copy.info.problems == () and copy.info.frames == KNOWN[name]["frames"]
        assert [a.rule for a in copy.every_alert()] == [a["rule"] for a in KNOWN[name]["alerts"]]


def test_the_first_format_holds_what_it_held(tmp_path: Path) -> None:
    with open_recording(unpacked("format-1.0", tmp_path)) as recording:
        assert [f.seq for f in recording.frames(0, 1 << 60)] == list(range(1, 131))
        frame = recording.frame(130)
        assert frame is not None and struct.pack("<d", float(str(frame.value("cpu.load5")))).hex()
        assert frame.value("cpu.context_switches") == (1 << 63) + 130_000
        (run,) = recording.runs_at_seq(130)
        assert len(run.columns["step"]) == 520 and recording.alerts_at_seq(130)[0].count == 13
