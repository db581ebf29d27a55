"""`dctop record` and `dctop rec info` as a user runs them: own process, signals, a terminal, pipes."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import termios
import time
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

import pytest

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.recorder import Recorder
from dctop.tui.commands.record import PLAIN_S, _Console, _Stop, size, span
from tests.terminal import Terminal

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path / "state"),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
    }


def start(env: dict[str, str], *argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DCTOP, "record", "--interval", "0.2", *argv],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, env=env,
    )  # fmt: skip


def wait_for_frames(path: Path, n: int) -> None:
    """Until the live file holds `n` frames, as a reader sees it."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if path.exists() and path.stat().st_size:
            try:
                with open_recording(path) as recording:
                    if recording.info.frames >= n:
                        return
            except ValueError:
                pass  # it is being laid out
        time.sleep(0.05)
    raise AssertionError("no frames came")


def test_in_the_background_of_a_script_no_signal_is_named_that_does_nothing(
    tmp_path: Path, env: dict[str, str]
) -> None:
    path = tmp_path / "a.dctop"
    command = " ".join([*DCTOP, "record", "--interval", "0.2", "-o", str(path)])
    script = f"{command} & echo $!; wait $!"
    shell = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, text=True, env=env)
    assert shell.stdout is not None
    pid = int(shell.stdout.readline())
    wait_for_frames(path, 3)
    os.kill(pid, signal.SIGINT)  # a shell without job control has it ignored
    os.kill(pid, signal.SIGTERM)
    out, _ = shell.communicate(timeout=30)
    assert out.splitlines()[0] == f"recording to {path}; stop with SIGTERM"
    assert out.splitlines()[-1].endswith(", SIGTERM")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_closes_the_file_cleanly(
    tmp_path: Path, env: dict[str, str], number: signal.Signals
) -> None:
    path = tmp_path / "a.dctop"
    child = start(env, "-o", str(path))
    wait_for_frames(path, 4)
    child.send_signal(number)
    out, err = child.communicate(timeout=30)
    assert child.returncode == 0 and err == ""
    assert out.splitlines()[0] == f"recording to {path}; stop with SIGINT or SIGTERM"
    assert out.splitlines()[-1].endswith(f", {number.name}")
    assert [f.name for f in tmp_path.glob("a.dctop*")] == ["a.dctop"]
    with open_recording(path) as recording:
        recording.check()
        info = recording.info
        assert info.closed and info.close_reason == number.name and info.problems == () and info.frames >= 4
        assert info.interval_s == 0.2 and info.host == os.uname().nodename and info.meta["kernel"]
        frame = list(recording.frames(0, 1 << 60))[-1]
        assert frame.value("cpu.user_ticks") and frame.processes
        assert any(p.cmdline and "record" in p.cmdline for p in frame.processes) or len(frame.processes) >= 20


def test_a_signal_saves_a_copy_of_the_flight_recorder(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "ring.dctop"
    child = start(env, "-o", str(path), "--ring", "10m")
    wait_for_frames(path, 2)
    child.send_signal(signal.SIGUSR1)
    assert child.stdout is not None
    line = next(text for text in child.stdout if text.startswith("saved "))
    child.send_signal(signal.SIGTERM)
    _, err = child.communicate(timeout=30)
    assert child.returncode == 0 and err == ""
    (copy,) = tmp_path.glob("ring-*-SIGUSR1.dctop")
    assert str(copy) in line and stat.S_IMODE(copy.stat().st_mode) == 0o600
    with open_recording(copy) as saved, open_recording(path) as ring:
        assert saved.info.closed and saved.info.close_reason == "SIGUSR1" and saved.info.frames >= 2
        assert ring.info.close_reason == "SIGTERM"


def test_it_ends_by_itself_and_says_nothing_when_asked(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "a.dctop"
    child = start(env, "-o", str(path), "--duration", "1.5s", "--quiet")
    out, err = child.communicate(timeout=30)
    assert (child.returncode, out, err) == (0, "", "")
    with open_recording(path) as recording:
        assert recording.info.close_reason == "duration over" and 3 <= recording.info.frames <= 12


def test_without_a_name_it_is_named_by_host_and_time_and_private(tmp_path: Path, env: dict[str, str]) -> None:
    child = start(env, "--duration", "0.5")
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 0
    (path,) = (tmp_path / "state/dctop/recordings").glob("*.dctop")
    assert re.fullmatch(rf"{re.escape(os.uname().nodename)}-\d{{8}}-\d{{6}}\.dctop", path.name)
    assert str(path) in out
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_on_a_terminal_it_shows_its_progress_on_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "a.dctop"
    with Terminal([*DCTOP, "record", "-o", str(path)], env=env) as terminal:
        terminal.wait("0:00:02, ", "iB")
        terminal.send("ctrl+c")
        assert terminal.wait_exit() == 0
        assert "SIGINT" in terminal.text and terminal.text.count("0:00:0") == 1  # progress wrote over itself
    with open_recording(path) as recording:
        assert recording.info.closed


def test_keys_on_a_terminal_mark_save_and_stop(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "ring.dctop"
    words = ["record", "--interval", "0.2", "-o", str(path), "--ring", "10m"]
    with Terminal([*DCTOP, *words], env=env) as terminal:
        terminal.wait("s saves the ring")
        wait_for_frames(path, 2)
        terminal.send("m")
        terminal.wait("marked")
        terminal.send("s")
        terminal.wait("saved ")
        terminal.send("q")
        assert terminal.wait_exit() == 0
    with open_recording(path) as ring:
        assert [e.kind for e in ring.events("marker")] == ["marker"]
    assert len(list(tmp_path.glob("ring-*-key.dctop"))) == 1


def test_keys_come_singly_again_after_the_job_was_stopped_and_continued(
    tmp_path: Path, env: dict[str, str]
) -> None:
    words = ["record", "--interval", "0.2", "-o", str(tmp_path / "a.dctop")]
    with Terminal([*DCTOP, *words], env=env) as terminal:
        terminal.wait("m marks")
        terminal.send("m")
        terminal.wait("marked")
        modes = termios.tcgetattr(terminal.master)
        modes[3] |= termios.ICANON  # what a shell does when it takes the terminal back
        termios.tcsetattr(terminal.master, termios.TCSANOW, modes)
        terminal.process.send_signal(signal.SIGCONT)
        terminal.send("q")
        assert terminal.wait_exit() == 0
        assert "stopped" in terminal.text


@pytest.mark.parametrize(
    ("tty", "quiet", "duration", "seconds"),
    [
        (False, True, None, None),
        (False, False, None, PLAIN_S - 10.0),
        (False, True, 90.0, 70.0),
        (False, False, 25.0, 5.0),
        (True, False, None, 1.0),
    ],
)
def test_it_sleeps_until_there_is_something_to_say(
    tmp_path: Path, tty: bool, quiet: bool, duration: float | None, seconds: float | None
) -> None:
    recorder = Recorder(tmp_path / "a.dctop", interval_s=1.0, meta={})
    console = _Console(recorder, Namespace(quiet=quiet, interval=1.0), _Stop())
    console.tty = tty
    end = None if duration is None else 80.0 + duration
    assert console._pause(now=100.0, told=90.0, end=end) == seconds


def test_an_existing_file_is_refused_and_left_alone(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "a.dctop"
    path.write_text("precious")
    child = start(env, "-o", str(path))
    out, err = child.communicate(timeout=30)
    assert child.returncode == 1 and out == ""
    assert err.count("\n") == 1 and "exists" in err and "Traceback" not in err
    assert path.read_text() == "precious"


def test_a_missing_directory_is_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    child = start(env, "-o", str(tmp_path / "no" / "a.dctop"))
    _, err = child.communicate(timeout=30)
    assert child.returncode == 1 and err.count("\n") == 1 and "does not exist" in err


def test_a_file_that_vanishes_ends_it_with_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "a.dctop"
    child = start(env, "-o", str(path), "--quiet")
    wait_for_frames(path, 2)
    for file in list(tmp_path.glob("a.dctop*")):
        file.unlink()
    _, err = child.communicate(timeout=30)
    assert child.returncode == 1 and err.count("\n") == 1 and "was removed" in err


def test_it_loads_neither_textual_nor_torch(tmp_path: Path, env: dict[str, str]) -> None:
    code = (
        "import sys; from dctop.tui import cli; "
        "cli.main(['record', '-o', sys.argv[1], '--duration', '0.5', '--interval', '0.2', '--quiet']); "
        "print([m for m in ('textual', 'torch', 'numpy', 'plotext') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.dctop")],
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    assert out.stdout == "[]\n"


# -- rec info -----------------------------------------------------------------------------------------


def info(env: dict[str, str], *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*DCTOP, "rec", "info", *argv], capture_output=True, text=True, env=env)


def test_info_tells_what_a_recording_holds(tmp_path: Path, env: dict[str, str]) -> None:
    path = tmp_path / "a.dctop"
    child = start(env, "-o", str(path))
    wait_for_frames(path, 3)
    live = json.loads(info(env, str(path), "--json").stdout)
    assert live["live"] is True and live["closed"] is False and live["frames"] >= 3
    child.kill()
    child.wait()
    assert "not closed, 0 bad chunks" in info(env, str(path)).stdout
    killed = json.loads(info(env, str(path), "--json").stdout)
    assert killed["live"] is False and killed["recovered"].startswith("recovered: ends ")
    assert killed["problems"] == [] and killed["gaps"] == [] and killed["schema"] == 1
    assert killed["frames"] >= live["frames"] and killed["host"] == os.uname().nodename


def test_info_of_what_is_none_is_one_line(tmp_path: Path, env: dict[str, str]) -> None:
    (tmp_path / "x").write_text("no")
    for name in ("x", "missing"):
        out = info(env, str(tmp_path / name), "--json")
        assert out.returncode == 1 and out.stdout == "" and out.stderr.count("\n") == 1
        assert "Traceback" not in out.stderr


@pytest.mark.parametrize(
    ("text", "n"), [("5m", 5 << 20), ("1.5G", 3 << 29), ("2GiB", 2 << 30), ("2097152", 2 << 20)]
)
def test_sizes(text: str, n: int) -> None:
    assert size(text) == n


@pytest.mark.parametrize("text", ["", "x", "-1G", "1k", "5 apples", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        size(text)


@pytest.mark.parametrize(("text", "s"), [("90", 90.0), ("10m", 600.0), ("1h30m", 5400.0), ("7d", 604800.0)])
def test_spans(text: str, s: float) -> None:
    assert span(text) == s


@pytest.mark.parametrize("text", ["", "x", "0", "-5", "10x"])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ArgumentTypeError):
        span(text)
