"""The driver in a real pseudo-terminal: it sleeps, hears every key, and leaves the terminal as it was."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from dctop.tui.driver import PatientFile, SleepingDriver
from dctop.tui.theme import THEMES
from tests.terminal import Terminal

ROOT = Path(__file__).parents[2]
SELECTED = THEMES["dctop-dark"].select.removeprefix("#")
ENV = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}


def program(*args: str, columns: int = 100, rows: int = 32, env: dict[str, str] | None = None) -> Terminal:
    command = [sys.executable, "-m", "tests.tui.program", *args]
    return Terminal(command, columns, rows, env={**ENV, **(env or {})}, cwd=ROOT)


@pytest.fixture
def app() -> Iterator[Terminal]:
    with program("--ticks", "3") as t:
        t.wait("node-07", "command 3")
        yield t


def until(t: Terminal, condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, f"{what}\n{t.text}"
        t.pump(0.05)


def cpu_ms(pid: int) -> float:
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])
    return total / 1e6


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_an_idle_app_reads_its_terminal_only_when_there_is_something_to_read(tmp_path: Path) -> None:
    stats = tmp_path / "stats.json"
    with program("--ticks", "2", "--stats", str(stats)) as t:
        t.wait("node-07")
        t.pump(3.0)  # a polling driver would wake 30 times
        t.send("q")
        assert t.wait_exit() == 0
    wakeups = json.loads(stats.read_text())["wakeups"]
    assert 1 <= wakeups <= 6  # answers to its queries, the key, leaving


def test_a_lone_escape_is_heard(app: Terminal) -> None:
    app.send("f1")
    app.wait("help: PROC")
    app.send("esc")
    app.wait("help: PROC", absent=True)


def test_escape_sequences_in_pieces_are_one_key(app: Terminal) -> None:
    app.send("\x1b")
    app.send("OP")
    app.wait("help: PROC")


def test_a_paste_goes_into_the_filter_line_and_runs_nothing(app: Terminal) -> None:
    app.send("/")
    app.wait("filter PROC:")
    app.send("\x1b[200~pasted q text\x1b[201~")
    app.wait("--with pasted q text")
    app.send("esc")
    app.wait("--with arguments")


def test_resizes_in_a_storm_end_at_the_last_size(app: Terminal) -> None:
    for columns, rows in [(80, 24), (1, 1), (200, 60), (20, 3), (0, 0), (400, 120), (60, 20), (120, 40)] * 3:
        app.resize(columns, rows)

    def redrawn() -> bool:
        app.send("\x0c")  # redraw what the emulator lost while its size was changed around it
        app.pump(0.3)
        return len(app.lines[0]) > 105 and app.lines[-1].startswith(" F3")

    until(app, redrawn, "not at 120x40")
    assert app.lines[-2].endswith("╯")


def test_clicks_and_wheel_but_no_motion_are_asked_for(app: Terminal) -> None:
    raw = bytes(app.raw)
    assert b"\x1b[?1000h" in raw
    assert b"\x1b[?1002h" in raw
    assert b"\x1b[?1006h" in raw
    assert b"\x1b[?1003h" not in raw


def test_a_click_focuses_a_pane_and_the_footer_is_clickable(app: Terminal) -> None:
    app.send("\x1b[<0;3;2M", "\x1b[<0;3;2m")
    app.wait("┏━ CPU")
    column = app.lines[-1].index("help") + 1
    app.send(f"\x1b[<0;{column};32M", f"\x1b[<0;{column};32m")
    app.wait("help: CPU")


def test_the_wheel_scrolls_what_it_is_over(app: Terminal) -> None:
    def selected() -> list[int]:
        return [y for y in range(32) if app.screen.buffer[y][30].bg == SELECTED]

    before = selected()
    app.send("\x1b[<65;10;28M")
    until(app, lambda: selected() == [before[0] + 3], "the selection did not move")


@pytest.mark.parametrize("how", [["q"], ["f10"], ["ctrl+c"]])
def test_leaving_restores_the_terminal(how: list[str]) -> None:
    with program("--ticks", "1") as t:
        t.wait("node-07")
        t.send(*how)
        assert t.wait_exit() == 0
        assert_restored(t)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_cleanly(app: Terminal, number: int) -> None:
    os.kill(app.process.pid, number)
    assert app.wait_exit() == 0
    assert_restored(app)


def assert_restored(t: Terminal) -> None:
    tail = bytes(t.raw)[-400:]
    for sequence in (b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l", b"\x1b[?1002l", b"\x1b[?2004l"):
        assert sequence in tail
    assert b"Traceback" not in t.raw


def test_a_terminal_that_vanishes_ends_it_without_spinning() -> None:
    with program("--interval", "0.1") as t:
        t.wait("node-07")
        os.close(t.master)
        t.master = -1
        t.process.wait(20)
        assert t.process.returncode in (0, -signal.SIGHUP)


def test_a_terminal_that_takes_no_output_stops_nothing_and_costs_nothing() -> None:
    with program("--interval", "0.05") as t:
        t.wait("node-07")
        time.sleep(2.0)  # nobody reads: the pty's buffer fills, the writer blocks
        spent = cpu_ms(t.process.pid)
        time.sleep(2.0)
        assert cpu_ms(t.process.pid) - spent < 500
        t.wait("node-07")  # reads again
        t.send("f1")
        t.wait("help: PROC")


def test_a_stuck_terminal_does_not_keep_it_from_ending() -> None:
    with program("--interval", "0.05") as t:
        t.wait("node-07")
        time.sleep(1.5)
        os.kill(t.process.pid, signal.SIGTERM)
        t.process.wait(20)


def test_ctrl_z_stops_it_and_fg_brings_it_back() -> None:
    with Terminal(["bash", "--norc", "-i"], 100, 32, env={**ENV, "PS1": "ready> "}, cwd=ROOT) as t:
        t.wait("ready>")
        t.send(f"{sys.executable} -m tests.tui.program --interval 0.2\r")
        t.wait("node-07")
        t.send("ctrl+z")
        t.wait("Stopped")
        t.screen.reset()
        t.send("fg\r")
        t.wait("node-07", "PROC")
        t.send("f1")
        t.wait("help: PROC")
        t.send("esc")
        t.wait("help: PROC", absent=True)
        t.screen.reset()
        t.send("q")
        t.wait("ready>")


def test_ctrl_z_without_a_shell_is_refused(app: Terminal) -> None:
    app.send("ctrl+z")
    app.wait("no shell to go back to")
    assert state(app.process.pid) != "T"


def test_output_goes_to_the_terminal_even_where_stderr_is_a_file(tmp_path: Path) -> None:
    command = f"{sys.executable} -m tests.tui.program --ticks 1 2>{tmp_path / 'err'}"
    with Terminal(["sh", "-c", f"{command}; :"], 100, 32, env=ENV, cwd=ROOT) as t:
        t.wait("node-07")
        t.send("q")
        assert t.wait_exit() == 0
    assert (tmp_path / "err").read_text() == ""


def test_what_the_terminal_does_not_take_at_once_follows_in_order() -> None:
    r, w = os.pipe2(os.O_NONBLOCK)
    text = "a" + "é" * 50_000  # more than a pipe holds, and cut in the middle of a character
    driver = SimpleNamespace(_direct=w, _encoding="utf-8")
    rest = SleepingDriver._at_once(driver, text)  # type: ignore[arg-type]
    assert 0 < len(rest) < 100_001 and rest[0] == 0xA9
    taken = os.read(r, 200_000)
    os.set_blocking(w, True)
    with open(w, "w", encoding="utf-8", newline="") as out:
        file = PatientFile(out, lambda: None)
        file.write(rest)
        file.write("after")
        assert file.done == 0
        file.flush()
        assert file.done == 2
        taken += os.read(r, 200_000)
    os.close(r)
    assert taken.decode() == text + "after"
