"""`dctop report`, `dctop plot` and `dctop rec` as they are typed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from dctop.probes.base import Sample
from dctop.tui.cli import main
from tests.fakes.recordings import Session, damage, session
from tests.terminal import Terminal


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(tmp_path_factory.mktemp("rec") / "a.dctop")


def said(capsys: pytest.CaptureFixture[str], argv: list[str], status: int) -> str:
    """The one line on standard error."""
    assert main(argv) == status
    err = capsys.readouterr().err
    assert err.count("\n") == 1, err
    return err


# -- report -------------------------------------------------------------------------------------------------


def test_the_name_says_the_format(path: Path, tmp_path: Path) -> None:
    for name, first in (
        ("r.html", "<!doctype html>"),
        ("r.md", "# Post-mortem: "),
        ("r.htm", "<!doctype html>"),
    ):
        assert main(["report", str(path), "-o", str(tmp_path / name)]) == 0
        assert (tmp_path / name).read_text().startswith(first)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_markdown_goes_to_standard_output(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(path)]) == 0
    assert "## Contributing factors" in capsys.readouterr().out


def test_a_report_never_replaces_the_recording_or_names_no_format(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "name it .md or .html" in said(capsys, ["report", str(path), "-o", str(tmp_path / "r.pdf")], 2)
    assert "recording itself" in said(capsys, ["report", str(path), "--to", "md", "-o", str(path)], 2)
    assert "cannot be written" in said(capsys, ["report", str(path), "-o", "/nowhere/r.md"], 1)
    assert "does not exist" in said(capsys, ["report", str(tmp_path / "none.dctop")], 1)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_is_written_to_and_not_replaced(path: Path, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    assert main(["report", str(path), "-o", str(pipe), "--to", "md"]) == 0
    reader.join(30)
    assert read[0].startswith("# ") and pipe.is_fifo()


def test_a_link_stays_and_its_target_is_written(path: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "kept.md", tmp_path / "link.md"
    target.write_text("old")
    link.symlink_to(target)
    assert main(["report", str(path), "-o", str(link)]) == 0
    assert link.is_symlink() and target.read_text().startswith("# ")


def test_a_report_loads_neither_textual_nor_numpy(path: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom dctop.tui.cli import main\n"
        f"main(['report', {str(path)!r}, '-o', {str(tmp_path / 'r.html')!r}])\n"
        "print([m for m in ('textual', 'torch', 'numpy', 'plotext', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("[]"), done.stdout[-300:] + done.stderr


# -- plot ---------------------------------------------------------------------------------------------------


def test_without_a_terminal_a_plot_is_plain_text(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(path), "cpu.util_pct", "train.loss", "--size", "90x20"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("UTC") and len(lines) == 3 and all(len(line) <= 90 for line in lines)
    assert lines[1].startswith("cpu.util_pct") and " %, mean " in lines[1] and "\x1b" not in "".join(lines)
    assert lines[2].startswith("train.loss{run=run-7}")


def test_of_a_pattern_only_what_was_read_is_plotted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Session(tmp_path / "a.dctop")
    for frame in store.stream.take(60):
        values = {f"fs.used_bytes{{mount=/{'old' if frame.seq <= 20 else 'new'}}}": frame.seq}
        frame.samples["filesystem"] = Sample("filesystem", frame.mono_ns, frame.wall_ns, values)
        store._write(frame)
    path = store.close()
    old, new = "fs.used_bytes{mount=/old}", "fs.used_bytes{mount=/new}"
    for asked, shown in ((["fs.used_bytes"], [new]), ([old, "fs.used_bytes"], [old, new])):
        assert main(["plot", str(path), *asked, "-b", "+40s"]) == 0
        lines = capsys.readouterr().out.splitlines()[1:]
        assert [line.split()[0] for line in lines] == shown
    assert lines[0].endswith("nothing was read")


def test_in_a_terminal_it_is_a_chart_of_its_size(path: Path) -> None:
    argv = [sys.executable, "-m", "dctop.tui.cli", "plot", str(path), "cpu.util_pct", "process.count"]
    with Terminal(argv, 100, 30) as terminal:
        terminal.wait("cpu.util_pct", "process.count", "UTC")
        assert terminal.wait_exit() == 0


@pytest.mark.parametrize("part", [["-b", "-60s"], ["--begin", "-1m"], ["--begin=-60s"], ["-b=-60s"]])
def test_a_moment_may_begin_with_a_dash(
    path: Path, part: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(path), "cpu.load1", *part]) == 0, capsys.readouterr().err


def test_a_moment_is_plotted_with_what_is_around_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(path), "cpu.util_pct", "--at", "+100s", "--span", "10s"]) == 0
    begin, _, end = capsys.readouterr().out.splitlines()[0].partition(" to ")
    assert begin[-8:-3] == end[11:16] or int(end[17:19]) < 30


@pytest.mark.parametrize(("argv", "words"), [
    (["nosuch.metric"], "no series nosuch.metric"),
    (["cpu.context_switches"], "is a counter: plot its rate, cpu.context_switches_per_s"),
    (["cpu"], "are too many for one chart"),
    (["cpu.load1", "--at", "+1h"], "nothing was recorded around +1h"),
    (["cpu.load1", "--at", "+10s", "-b", "+5s"], "exclude each other"),
    (["cpu.load1", "--size", "9"], "is not a size"),
])  # fmt: skip
def test_plots_that_cannot_be(
    path: Path, argv: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(path), *argv]) in (1, 2)
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


# -- rec ----------------------------------------------------------------------------------------------------


def test_info_tells_all_that_is_in_it(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rec", "info", str(path)]) == 0
    out = capsys.readouterr().out
    assert "run       run-7: failed, 400 steps recorded" in out and "alerts    1 disk-fill" in out
    assert main(["rec", "info", str(path), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["alerts"] == {"disk-fill": 1} and document["series"]["cpu"] > 10
    assert document["runs"] == [{"id": "run-7", "workload": "mnist-cnn", "status": "failed", "steps": 400}]


def test_cut_redact_and_repair_make_new_files_beside_the_old(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "a.dctop"
    mine.write_bytes(path.read_bytes())
    before = mine.read_bytes()
    assert main(["rec", "cut", str(mine), "-b", "+20s", "-e", "+50s"]) == 0
    assert main(["rec", "redact", str(mine)]) == 0
    out = capsys.readouterr().out
    assert "replaced  " in out and "the words of 2 markers and notes" in out
    damage(mine, "chunk", "proc", 0)
    assert main(["rec", "repair", str(mine)]) == 0
    assert "left out  processes of frames 1-60" in capsys.readouterr().out
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"a.dctop", "a.cut.dctop", "a.redact.dctop", "a.repair.dctop"}
    assert {stat.S_IMODE((tmp_path / n).stat().st_mode) for n in names - {"a.dctop"}} == {0o600}
    assert len(before) == len(mine.read_bytes())
    assert "exists" in said(capsys, ["rec", "redact", str(mine)], 1)


def test_a_cut_needs_a_range(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cut which range?" in said(capsys, ["rec", "cut", str(path)], 2)
    assert "cannot be written" in said(capsys, ["rec", "repair", str(path), "-o", "/nowhere/x.dctop"], 1)


def test_a_cut_is_judged_and_replayed(path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "c.dctop"
    assert main(["rec", "cut", str(path), "-b", "+20s", "-e", "+50s", "-o", str(out)]) == 0
    capsys.readouterr()
    assert main(["check", str(out), "--json"]) in (0, 1)
    assert json.loads(capsys.readouterr().out)["source"] == str(out)


# -- without names ------------------------------------------------------------------------------------------

NAMES = ("annlee", "gpu-node-17", "moonshot", "10.20.30.40", "991234", "trainllm", "gossip")


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go."""
    made = tmp_path / "scratch"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.fixture
def named(path: Path, tmp_path: Path) -> Path:
    """A recording whose own name tells something."""
    return shutil.copy(path, tmp_path / "gossip.dctop")


@pytest.mark.parametrize("to", ["md", "html"])
def test_a_redacted_report_tells_the_story_without_a_name(
    named: Path, scratch: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    assert main(["report", str(named), "--to", to, "--redact"]) == 0
    out, err = capsys.readouterr()
    assert [n for n in NAMES if n in out] == []
    assert "host-1" in out and "91 % full" in out and "dctop replay redacted.dctop --at +" in out
    assert "dctop-redact" not in out
    assert "markers and notes were kept" in err
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("to", ["csv", "jsonl", "perfetto", "openmetrics", "parquet"])
def test_a_redacted_export_holds_no_name(
    named: Path, scratch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], to: str
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    table = ["--table", "all"] if to in ("csv", "jsonl", "parquet") else []
    assert main(["export", str(named), "--to", to, *table, "-o", str(out), "--redact"]) == 0
    text = "".join(p.read_bytes().decode("latin-1") for p in out.iterdir())
    assert [n for n in NAMES if n in text] == []
    assert list(scratch.iterdir()) == []


def test_of_a_redacted_export_series_are_chosen_by_their_own_names(
    tmp_path: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Session(tmp_path / "a.dctop")
    for frame in store.stream.take(5):
        frame.samples["filesystem"] = Sample(
            "filesystem", frame.mono_ns, frame.wall_ns, {"fs.used_bytes{mount=/home/annlee}": 5}
        )
        store._write(frame)
    path = store.close()
    asked = ["--metric", "fs.*{mount=/home/ann*}"]
    assert main(["export", str(path), "--to", "csv", *asked, "--redact"]) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert head.startswith("time,seq,mono_ns,fs.used_bytes{mount=/home/") and "annlee" not in head


def test_a_redacted_plot_names_neither_mounts_nor_people(
    tmp_path: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Session(tmp_path / "a.dctop")
    for frame in store.stream.take(30):
        values = {"fs.used_bytes{mount=/home/annlee/moonshot}": frame.seq << 30}
        frame.samples["filesystem"] = Sample("filesystem", frame.mono_ns, frame.wall_ns, values)
        store._write(frame)
    path = store.close()
    asked = ["fs.used_bytes{mount=/home/annlee/*}", "cpu.load1", "train.loss"]
    assert main(["plot", str(path), *asked]) == 0
    plain = capsys.readouterr().out
    assert main(["plot", str(path), *asked, "--redact"]) == 0
    out = capsys.readouterr().out
    assert "mount=/home/annlee/moonshot" in plain
    assert [n for n in NAMES if n in out] == [] and "fs.used_bytes{mount=/home/" in out
    assert [line.rpartition("  ")[2] for line in out.splitlines()[1:]] == [
        line.rpartition("  ")[2] for line in plain.splitlines()[1:]
    ]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_redacted_copy_is_the_owner_s_and_gone_when_interrupted(
    path: Path, tmp_path: Path, number: signal.Signals
) -> None:
    pipe, scratch = tmp_path / "pipe", tmp_path / "scratch"
    os.mkfifo(pipe)  # nobody reads: the report waits with its copy beside it
    scratch.mkdir()
    code = "import sys; from dctop.tui.cli import main; sys.exit(main(sys.argv[1:]))"
    argv = [sys.executable, "-c", code, "report", str(path), "--to", "md", "-o", str(pipe), "--redact"]
    with subprocess.Popen(argv, env={**os.environ, "TMPDIR": str(scratch)}, umask=0) as process:
        while not (copies := list(scratch.glob("*/*.dctop"))) and process.poll() is None:
            time.sleep(0.01)
        (copy,) = copies
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        assert stat.S_IMODE(copy.parent.stat().st_mode) == 0o700
        process.send_signal(number)
        assert process.wait(60) == (130 if number == signal.SIGINT else 128 + number)
    assert list(scratch.iterdir()) == []


def test_a_redacted_copy_that_finds_no_room_says_so(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "set TMPDIR" in said(capsys, ["report", str(path), "--redact"], 1)
