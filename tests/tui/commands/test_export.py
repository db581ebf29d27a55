"""`dctop export`: what a user types, and what is said when it cannot be done."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.tui.cli import main
from tests.fakes.recordings import session


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(tmp_path_factory.mktemp("rec") / "a.dctop", 70)


def test_metrics_go_to_standard_output_by_default(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["export", str(path), "--to", "csv", "--metric", "cpu.load1", "-b", "+10s", "-e", "+19s"]) == 0
    )
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "time,seq,mono_ns,cpu.load1" and len(lines) in (10, 11)


def test_a_directory_gets_a_file_a_table_for_the_owner_only(path: Path, tmp_path: Path) -> None:
    for to in ("csv", "parquet", "jsonl"):
        out = tmp_path / to
        assert main(["export", str(path), "--to", to, "--table", "all", "-o", str(out)]) == 0
        assert sorted(p.name for p in out.iterdir()) == [
            f"{t}.{to}" for t in ("events", "metrics", "processes", "steps")
        ]
        assert {stat.S_IMODE(p.stat().st_mode) for p in out.iterdir()} == {0o600}


def test_all_tables_as_json_lines_on_one_stream(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(path), "--to", "jsonl", "--table", "all"]) == 0
    tables = [json.loads(line)["table"] for line in capsys.readouterr().out.splitlines()]
    assert list(dict.fromkeys(tables)) == ["metrics", "processes", "steps", "events"]


@pytest.mark.parametrize(("argv", "said"), [
    (["--to", "parquet"], "name a file or a directory with -o"),
    (["--to", "csv", "--metric", "cpu.utl_pct"], "no series cpu.utl_pct in"),
    (["--to", "csv", "--table", "all"], "need a directory"),
    (["--to", "perfetto", "--table", "steps"], "leave it out"),
    (["--to", "csv", "-b", "yesterday-ish"], "not a moment"),
    (["--to", "csv", "-b", "+20s", "-e", "+10s"], "--begin is after --end"),
    (["--to", "csv", "-b", "+2h"], "nothing was recorded then"),
    (["--to", "csv", "-o", "/nowhere/x.csv"], "cannot be written"),
])  # fmt: skip
def test_mistakes_are_one_line(
    path: Path, argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(path), *argv]) in (1, 2)
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_the_recording_itself_is_never_overwritten(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = path.read_bytes()
    assert main(["export", str(path), "--to", "csv", "-o", str(path)]) == 2
    assert "is the recording itself" in capsys.readouterr().err and path.read_bytes() == before


def test_without_pyarrow_parquet_says_what_to_install(path: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pyarrow'] = None\nfrom dctop.tui.cli import main\n"
        f"sys.exit(main(['export', {str(path)!r}, '--to', 'parquet', '-o', {str(tmp_path / 'x.parquet')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "pip install 'dctop[export]'" in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_failed_export_leaves_no_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.dctop").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert main(["export", str(tmp_path / "x.dctop"), "--to", "csv", "-o", str(tmp_path / "out.csv")]) == 1
    assert not (tmp_path / "out.csv").exists() and capsys.readouterr().err.count("\n") == 1
