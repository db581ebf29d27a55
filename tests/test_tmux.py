"""Keys typed into a real terminal multiplexer reach every function of the script inside it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

DCTOP = str(Path(sys.executable).with_name("dctop"))
VICTIM = "dctop-victim"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    folders = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "", "TMUX": "", **folders}


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[list[str]]:
    """A private server's command, as most people have it set up."""
    assert shutil.which("tmux"), "tmux is not installed (apt-get install tmux)"
    (tmp_path / "tmux.conf").write_text(
        "set -g status off\nset -g mouse on\nset -s escape-time 20\nset -g default-terminal tmux-256color\n"
    )
    command = ["tmux", "-S", str(tmp_path / "tmux"), "-f", str(tmp_path / "tmux.conf")]
    yield command
    subprocess.run([*command, "kill-server"], capture_output=True)


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    sleep = shutil.which("sleep")
    assert sleep is not None
    program = tmp_path / VICTIM
    shutil.copy(sleep, program)
    with subprocess.Popen([program, "600"]) as process:
        yield process
        process.kill()


def click(t: Terminal, word: str) -> None:
    """The left button on the first place where this stands."""
    row = next(i for i, line in enumerate(t.lines) if word in line)
    at = f"{t.lines[row].index(word) + 1};{row + 1}"
    t.send(f"\x1b[<0;{at}M", f"\x1b[<0;{at}m")


def test_keys_reach_views_panes_and_dialogs(tmux: list[str], home: dict[str, str]) -> None:
    with Terminal([*tmux, "new-session", DCTOP], 160, 50, home) as t:
        t.wait("LIVE", "─ CPU", "PROC", "─ NET", "─ TRAIN", "F10 quit")
        for key, title in (("f1", "help: PROC"), ("f2", "━ setup"), ("f6", "━ sort by"), (":", "━ palette")):
            t.send(key)
            t.wait(title)
            t.send("esc")
            t.wait(title, absent=True)
        t.send("t")
        t.wait("start training", "mnist-cnn")
        t.send("esc")
        t.wait("start training", absent=True)
        t.send("e")
        t.wait("─ CPU", absent=True)
        t.send("e")
        t.wait("─ CPU")
        t.send("1")
        t.wait("─ CPU", absent=True)
        t.send("1")
        t.wait("─ CPU")
        t.send("tab")
        t.wait("━ PROC", absent=True)
        t.send("space")
        t.wait("PAUSED")
        t.send("space")
        t.wait("PAUSED", absent=True)
        t.send("left")
        t.wait("LIVE", absent=True)
        t.send("z")
        t.wait("LIVE")
        for key, title in (("A", "ALERTS"), ("R", "RUNS"), ("P", "PROCESSES"), ("G", "GPUS")):
            t.send(key)
            t.wait(f"  {title}")
        t.send("D")
        t.wait("─ CPU", "PROC")
        t.send(":", "help", "enter")
        t.wait("help: ")
        t.send("esc")
        t.wait("help: ", absent=True)
        t.send("q")
        assert t.wait_exit() == 0


def test_a_process_is_found_reniced_and_ended_by_keys(
    tmux: list[str], home: dict[str, str], victim: subprocess.Popen[bytes]
) -> None:
    with Terminal([*tmux, "new-session", DCTOP], 160, 50, home) as t:
        t.wait("LIVE", "PROC", "F10 quit")
        t.send("f5")
        t.wait("tree")
        t.send("f5")
        t.send("f3", VICTIM, "enter")
        t.wait(f"{victim.pid} root" if os.geteuid() == 0 else str(victim.pid), "F10 quit")
        t.send("f7")
        t.wait("Select a process first")
        t.send("down", "f7")
        t.wait("━ renice")
        t.send("\x15", "7", "enter")
        t.wait("━ renice", absent=True)
        assert os.getpriority(os.PRIO_PROCESS, victim.pid) == 7
        t.send("f9")
        t.wait("15 SIGTERM")
        t.send("esc")
        t.wait("15 SIGTERM", absent=True)
        assert victim.poll() is None
        t.send("f9")
        t.wait("15 SIGTERM")
        t.send("enter")
        assert victim.wait(30) == -15
        t.send("q")
        assert t.wait_exit() == 0


def test_the_mouse_reaches_panes_and_the_footer(tmux: list[str], home: dict[str, str]) -> None:
    with Terminal([*tmux, "new-session", DCTOP], 160, 50, home) as t:
        t.wait("LIVE", "─ CPU", "━ PROC", "F10 quit")
        click(t, "─ CPU")
        t.wait("━ CPU", "─ PROC")
        click(t, "F10 quit")
        assert t.wait_exit() == 0


def test_what_is_recorded_is_replayed(tmux: list[str], home: dict[str, str]) -> None:
    with Terminal([*tmux, "new-session", DCTOP], 160, 50, home) as t:
        t.wait("LIVE", "F10 quit")
        t.send("r")
        t.wait("● REC")
        t.wait("● REC 0 kB", absent=True)
        t.send("r")
        t.wait("recording stopped")
        t.send("q")
        assert t.wait_exit() == 0
    (recording,) = Path(home["XDG_STATE_HOME"], "dctop/recordings").glob("*.dctop")
    with Terminal([*tmux, "new-session", DCTOP, "replay", str(recording)], 160, 50, home) as t:
        t.wait("REPLAY", "TIMELINE")
        t.send("end")
        t.wait("REPLAY", "─ CPU")
        t.send("q")
        assert t.wait_exit() == 0
