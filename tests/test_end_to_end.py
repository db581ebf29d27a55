"""The whole way a new user goes, in a real terminal: see the node, train, get alerted, record, replay."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.terminal import Terminal

DCTOP = [str(Path(sys.executable).with_name("dctop"))]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """Environment of a user who has never run dctop: nothing is compiled yet, and may be."""
    folders = {f"XDG_{name}_HOME": str(tmp_path / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "", **folders}


def run(home: dict[str, str], *arguments: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **home}
    command = [*DCTOP, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)


def stop_runs(home: dict[str, str]) -> None:
    run(home, "runs", "stop", "last")


def test_see_train_be_alerted_record_and_replay(home: dict[str, str]) -> None:
    with Terminal(DCTOP, 160, 50, home) as t:
        t.wait("LIVE", "No training run")
        t.send("r")
        t.wait("REC")
        t.send("t")
        t.wait("start training", "mnist-cnn")
        t.send("enter")
        t.wait("running", "step", timeout=60)
        stop_runs(home)
        t.wait("stopped", timeout=60)
        assert (
            run(home, "train", "mnist-cnn", "--detach", "--fault", "nan@12", "--epochs", "1").returncode == 0
        )
        t.wait("failed", timeout=90)
        t.wait("■ 1")
        t.send("A")
        t.wait("DIAGNOSIS", "loss-nonfinite", "DO")
        t.send("r")
        t.wait("REC", absent=True)
        t.send("q")
        assert t.wait_exit() == 0
    (recording,) = Path(home["XDG_STATE_HOME"], "dctop/recordings").glob("*.dctop")
    assert run(home, "rec", "info", str(recording)).returncode == 0
    with Terminal([*DCTOP, "replay", str(recording)], 160, 50, home) as t:
        t.wait("REPLAY", "TIMELINE")
        t.send("end")
        t.wait("failed", "NaN")
        t.send("A")
        t.wait("DIAGNOSIS", "loss-nonfinite")
        t.send("q")
        assert t.wait_exit() == 0


def test_killing_dctop_leaves_the_run_going_and_a_new_dctop_finds_it(home: dict[str, str]) -> None:
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait("LIVE")
        assert run(home, "train", "mnist-cnn", "--detach").returncode == 0
        t.wait("running", timeout=60)
        os.kill(t.process.pid, signal.SIGKILL)
        t.process.wait(10)
    try:
        with Terminal(DCTOP, 120, 40, home) as t:
            t.wait("LIVE", "● running", timeout=30)
            before = run(home, "runs", "show", "last", "--json").stdout
            t.pump(1.5)
            assert run(home, "runs", "show", "last", "--json").stdout != before
            t.send("q")
            assert t.wait_exit() == 0
    finally:
        stop_runs(home)


def test_a_full_disk_raises_an_alert(home: dict[str, str], tmp_path: Path) -> None:
    mount = tmp_path / "full"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    try:
        (mount / "ballast").write_bytes(b"x" * 4_190_000)
        with Terminal(DCTOP, 160, 50, home) as t:
            t.wait("■ 1", "full", timeout=60)
            t.send("A")
            t.wait("disk-fill", timeout=60)
            t.send("q")
            assert t.wait_exit() == 0
    finally:
        subprocess.run(["umount", mount], check=True)


def test_two_dctops_at_once_see_the_same_node_and_record_apart(home: dict[str, str]) -> None:
    with Terminal(DCTOP, 120, 40, home) as a, Terminal(DCTOP, 80, 24, home) as b:
        for t in (a, b):
            t.wait("LIVE")
        a.send("r")
        a.wait("REC")
        time.sleep(1.1)  # recordings are named by the second they begin in
        b.send("r")
        b.wait("REC")
        for t in (a, b):
            t.send("q")
            assert t.wait_exit() == 0
    assert len(list(Path(home["XDG_STATE_HOME"], "dctop/recordings").glob("*.dctop"))) == 2


@pytest.mark.parametrize("sig", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_dctop_with_the_terminal_restored(home: dict[str, str], sig: signal.Signals) -> None:
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait("LIVE")
        t.send("r")
        t.wait("REC")
        os.kill(t.process.pid, sig)
        t.wait_exit()
        assert b"\x1b[?1049l" in t.raw and b"\x1b[?25h" in t.raw
    (recording,) = Path(home["XDG_STATE_HOME"], "dctop/recordings").glob("*.dctop")
    assert not list(recording.parent.glob("*-wal"))


def test_keys_typed_while_it_starts_are_kept_and_not_written_into_the_picture(home: dict[str, str]) -> None:
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait_written(b"STARTING")
        t.send("f1")
        t.wait("help: PROC")
        assert b"^[OP" not in t.raw
        t.send("esc")
        t.wait("help: PROC", absent=True)
        t.send("q")
        assert t.wait_exit() == 0


@pytest.mark.parametrize("sig", [signal.SIGHUP, signal.SIGTERM])
def test_a_signal_while_it_starts_leaves_the_terminal_as_it_was(
    home: dict[str, str], sig: signal.Signals
) -> None:
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait_written(b"STARTING")
        os.kill(t.process.pid, sig)
        assert t.wait_exit() == 0
        assert t.raw.rstrip().endswith(b"\x1b[?1049l")
        assert termios.tcgetattr(t.master)[3] & termios.ECHO


def test_suspended_and_resumed_it_draws_everything_again(home: dict[str, str]) -> None:
    shell = ["bash", "--norc", "-i"]
    with Terminal(shell, 120, 40, {**home, "PS1": "ready> "}) as t:
        t.wait("ready>")
        t.send(" ".join(DCTOP) + "\r")
        t.wait("LIVE", "CPU")
        t.send("ctrl+z")
        t.wait("Stopped")
        t.send("fg\r")
        t.wait("LIVE", "CPU", "NET")
        t.send("q")
        t.wait("ready>")


def test_stopped_and_continued_by_signals_it_goes_on(home: dict[str, str]) -> None:
    shell = ["bash", "--norc", "-i"]
    with Terminal(shell, 120, 40, {**home, "PS1": "ready> "}) as t:
        t.wait("ready>")
        t.send(" ".join(DCTOP) + "\r")
        t.wait("LIVE", "CPU")
        (child,) = Path(f"/proc/{t.process.pid}/task/{t.process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGTSTP)
        t.wait("Stopped")
        os.kill(int(child), signal.SIGCONT)
        t.send("fg\r")
        t.wait("LIVE", "CPU", "NET")
        t.send("q")
        t.wait("ready>")


def test_resizing_between_extremes_never_kills_it(home: dict[str, str]) -> None:
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait("LIVE")
        for columns, rows in ((1, 1), (20, 3), (400, 120), (0, 0), (80, 24), (19, 60), (300, 2), (120, 40)):
            t.resize(columns, rows)
            t.pump(0.3)
        t.wait("LIVE", "CPU", "PROC")
        t.send("q")
        assert t.wait_exit() == 0


@pytest.mark.parametrize("size", [(0, 0), (1, 1), (20, 3), (80, 24), (400, 120)])
def test_it_starts_at_any_size_and_quits(home: dict[str, str], size: tuple[int, int]) -> None:
    with Terminal(DCTOP, *size, home) as t:
        t.pump(3.0)
        assert t.process.poll() is None
        t.send("q")
        assert t.wait_exit() == 0


@pytest.mark.parametrize(
    "environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {"LANG": "C", "LC_ALL": "C"}, {"TERM": "vt100"}]
)
def test_poor_terminals_get_a_plain_screen(home: dict[str, str], environment: dict[str, str]) -> None:
    with Terminal(DCTOP, 120, 40, {**home, **environment}) as t:
        t.wait("LIVE", "CPU", "MEM")
        if "LANG" in environment:
            assert t.text.isascii()
        if "NO_COLOR" in environment:
            attributes = {
                a for sgr in re.findall(rb"\x1b\[([0-9;]*)m", bytes(t.raw)) for a in sgr.split(b";")
            }
            assert attributes <= {b"", b"0", b"1", b"2", b"4", b"7", b"22", b"24", b"27"}
        t.send("q")
        assert t.wait_exit() == 0


def test_without_a_terminal_it_says_so_in_one_line(home: dict[str, str]) -> None:
    done = run(home)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "terminal" in done.stderr


@pytest.mark.parametrize("how", ["ro", "size=16k"])
def test_a_read_only_or_full_home_takes_nothing_from_the_screen(
    home: dict[str, str], tmp_path: Path, how: str
) -> None:
    place = tmp_path / "home"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", how, "tmpfs", place], check=True)
    try:
        if how != "ro":
            (place / "ballast").write_bytes(b"x" * 4096)
        poor = {
            "HOME": str(place),
            "XDG_STATE_HOME": str(place / "state"),
            "XDG_CONFIG_HOME": str(place / "config"),
        }
        with Terminal(DCTOP, 120, 40, {**home, **poor}) as t:
            t.wait("LIVE", "CPU")
            t.send("r")
            t.pump(2.5)
            t.wait("LIVE", "CPU")
            t.send("q")
            assert t.wait_exit() == 0
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_config_file_with_errors_is_told_of_and_the_rest_of_it_holds(home: dict[str, str]) -> None:
    folder = Path(home["XDG_CONFIG_HOME"], "dctop")
    folder.mkdir(parents=True)
    (folder / "dctop.toml").write_text("intervall = 1\ninterval = 2\ntheme = 7\n")
    with Terminal(DCTOP, 120, 40, home) as t:
        t.wait("LIVE 2s")
        t.send("q")
        assert t.wait_exit() == 0


def test_recordings_go_where_the_configuration_says(home: dict[str, str], tmp_path: Path) -> None:
    folder = Path(home["XDG_CONFIG_HOME"], "dctop")
    folder.mkdir(parents=True)
    (folder / "dctop.toml").write_text(f'[recording]\ndir = "{tmp_path}/there"\n')
    done = run(home, "record", "--duration", "2s", "--quiet")
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "there").glob("*.dctop"))) == 1


def test_alerts_speak_the_language_of_the_locale(home: dict[str, str], tmp_path: Path) -> None:
    mount = tmp_path / "full"
    mount.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", mount], check=True)
    try:
        (mount / "ballast").write_bytes(b"x" * 4_190_000)
        with Terminal(DCTOP, 160, 50, {**home, "LANG": "zh_CN.UTF-8"}) as t:
            t.wait("■ 1", timeout=60)
            t.send("A")
            t.wait("disk-fill", timeout=60)
            assert any("\u4e00" <= c <= "\u9fff" for c in t.text)
            t.send("q")
            assert t.wait_exit() == 0
    finally:
        subprocess.run(["umount", mount], check=True)
