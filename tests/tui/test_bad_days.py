"""The real dashboard over this node, in terminals as people have them."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.terminal import Terminal

START = "import pathlib, sys; from dctop.tui.app import run_dashboard; sys.exit(run_dashboard({}))"
RUN = START.format("")
ROOT = Path(__file__).parents[2]


def dashboard(columns: int = 120, rows: int = 40, code: str = RUN, **env: str) -> Terminal:
    return Terminal(
        [sys.executable, "-c", code], columns, rows, env={"TERM": "xterm-256color", **env}, cwd=ROOT
    )


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 60), (400, 120)])
def test_it_shows_this_node_at_every_size(columns: int, rows: int) -> None:
    with dashboard(columns, rows) as t:
        text = t.wait("LIVE", "CPU", "GPU", "MEM", "NET", "DISK", "PROC", "TRAIN", "F10 quit")
        assert os.uname().nodename[:8] in text
        t.send("f10")
        assert t.wait_exit() == 0


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (20, 3), (19, 30), (20, 5), (40, 10), (0, 0)])
def test_it_survives_terminals_that_are_too_small(columns: int, rows: int) -> None:
    with dashboard(columns, rows) as t:
        t.pump(2.5)
        assert t.process.poll() is None
        t.resize(100, 30)
        t.wait("LIVE", "CPU", "PROC")
        t.send("q")
        assert t.wait_exit() == 0


@pytest.mark.parametrize("stream", ["stdin", "stdout"])
def test_without_a_terminal_it_says_what_to_do(stream: str) -> None:
    master, slave = pty.openpty()
    streams = {"stdin": slave, "stdout": slave, stream: subprocess.DEVNULL}
    done = subprocess.run(
        [sys.executable, "-c", RUN],
        **streams,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,  # type: ignore[call-overload]
    )
    os.close(master)
    os.close(slave)
    assert done.returncode == 2
    lines = done.stderr.decode().splitlines()
    assert len(lines) == 1
    assert "needs a terminal" in lines[0]
    assert "dctop snapshot --json" in lines[0]


@pytest.mark.parametrize(
    ("env", "ascii_only", "colours"),
    [
        ({"TERM": "dumb"}, True, False),
        ({"TERM": "linux"}, True, True),
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "screen-256color"}, False, True),
        ({"TERM": "tmux-256color"}, False, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"LC_ALL": "C"}, True, True),
        ({"LC_ALL": "en_US.ISO-8859-1", "PYTHONIOENCODING": "latin-1"}, True, True),
    ],
    ids=["dumb", "console", "16", "screen", "tmux", "no-color", "C", "latin1"],
)
def test_glyphs_and_colours_follow_the_terminal(env: dict[str, str], ascii_only: bool, colours: bool) -> None:
    with dashboard(100, 32, **{"COLORTERM": "", **env}) as t:
        text = t.wait("LIVE", "PROC")
        t.send("f1")
        t.wait("help")
        t.send("esc")
        t.wait("help:", absent=True)
        text = t.text
        cells = [t.screen.buffer[y][x] for y in range(32) for x in range(100)]
        t.send("f10")
        assert t.wait_exit() == 0
    assert text.isascii() == ascii_only
    assert any(c.fg != "default" or c.bg != "default" for c in cells) == colours
    assert any(c.bold for c in cells)


def test_options_that_do_not_exist_are_named_with_those_that_do() -> None:
    for option, value in (
        ("theme", "nope"),
        ("graph", "dots"),
        ("paint", "quick"),
        ("panes", ["cpu", "sound"]),
    ):
        with dashboard(code=START.format(f"{option}={value!r}")) as t:
            assert t.wait_exit() == 2
            assert "there are:" in t.text.replace("\n", "")


def test_panes_theme_and_paint_can_be_chosen() -> None:
    call = (
        "run_dashboard(panes=['cpu', 'processes'], theme='light', paint='safe', graph='block', readonly=True)"
    )
    with dashboard(code=f"import sys; from dctop.tui.app import run_dashboard; sys.exit({call})") as t:
        text = t.wait("LIVE", "read-only", "PROC")
        assert "MEM" not in text.replace("MEM%", "")
        assert t.screen.buffer[0][0].bg in ("ffffff", "eeeeee", "fbfbf9")
        t.send("f10")
        assert t.wait_exit() == 0


def test_a_file_that_is_no_recording_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.dctop").write_bytes(b"not a recording")
    with dashboard(code=START.format(f"replay=pathlib.Path({str(tmp_path / 'x.dctop')!r})")) as t:
        assert t.wait_exit() == 1
        assert "Traceback" not in t.text
        assert "dctop:" in t.text


def test_the_dashboard_loads_no_torch_plotext_or_numpy() -> None:
    code = (
        "import sys; import dctop.tui.app; assert 'textual' not in sys.modules; "
        "from dctop.tui.app import pane_models; import dctop.tui.application; pane_models(); "
        "import dctop.tui.help, dctop.tui.palette, dctop.tui.dialogs.setup; "
        "bad = {'torch', 'plotext', 'numpy'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
