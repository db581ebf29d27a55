"""The script that a user starts, where its compiled code cannot be kept, is damaged or is cut short."""

from __future__ import annotations

import json
import marshal
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dctop.tui import start
from tests.terminal import Terminal

DCTOP = str(Path(sys.executable).with_name("dctop"))
OURS = ("PYTHONOPTIMIZE", "PYTHONNODEBUGRANGES", "PYTHONPYCACHEPREFIX", "DCTOP_STARTED_WITH")


def env_in(home: Path) -> dict[str, str]:
    """A user with this home and nothing in it."""
    folders = {f"XDG_{name}_HOME": str(home / name.lower()) for name in ("STATE", "CONFIG", "CACHE")}
    return {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "", **folders}


def environ(pid: int) -> dict[str, str]:
    words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(word.partition("=")[::2] for word in words if word)


def live(command: list[str], env: dict[str, str]) -> bool:
    """It shows this node and quits; -> whether it was started anew."""
    with Terminal(command, 120, 40, env) as t:
        t.wait("LIVE", "CPU", "PROC")
        lean = "PYTHONOPTIMIZE" in environ(t.process.pid)
        t.send("q")
        assert t.wait_exit() == 0
    return lean


def is_sound(path: Path) -> bool:
    try:
        marshal.loads(path.read_bytes()[16:])
    except EOFError:
        return False
    return True


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A user who has run it once."""
    env = env_in(tmp_path_factory.mktemp("compiled"))
    assert live([DCTOP], env)
    return env


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A home of 30 MB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


ALWAYS = (
    "/re/", "/encodings/__init__.", "/asyncio/", "/textual/app.", "/textual/widget.", "/tui/application.",
    "/tui/screen.",
)  # fmt: skip
"""What every dashboard reads, however short it lives: others are read with an alert, or a minute later."""


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    ("which", "damage"),
    [
        ("**/tui/application.*", half),  # read by the dashboard
        ("**/re/*", half),  # read before any code of dctop
        ("**/encodings/*", half),  # read before any code at all
        ("**/dctop/tui/*", lambda data: data[:16] + b"\xff" * (len(data) - 16)),
        ("**/*.pyc", lambda data: b"\xff" * len(data)),
        ("**/*.pyc", lambda data: b""),
    ],
    ids=["cut", "cut before", "cut at the first", "rubbish", "all rubbish", "all empty"],
)
def test_damaged_code_is_compiled_anew(
    compiled: dict[str, str], which: str, damage: Callable[[bytes], bytes]
) -> None:
    files = [path for path in Path(compiled["XDG_CACHE_HOME"]).glob(which) if path.is_file()]
    assert files
    whole = {path: path.read_bytes() for path in files}
    for path, data in whole.items():
        path.write_bytes(damage(data))
    assert live([DCTOP], compiled)
    assert live([DCTOP], compiled)
    read = [path for path in whole if any(part in str(path) for part in ALWAYS)]
    assert read
    assert all(path.read_bytes()[16:] != damage(whole[path])[16:] for path in read)


def test_a_disk_that_becomes_full_while_code_is_compiled_breaks_no_later_start(small: Path) -> None:
    env = env_in(small)
    with Terminal([DCTOP], 120, 40, env) as t:
        t.wait_written(b"STARTING")
        with (small / "ballast").open("wb", buffering=0) as f:
            while f.write(b"x" * 65536) == 65536:
                pass
            f.truncate(f.tell() // 4096 * 4096 - 4096)
        t.wait("LIVE", "CPU")
        t.send("q")
        assert t.wait_exit() == 0
    assert not live([DCTOP], env)  # nothing more is written
    (small / "ballast").unlink()
    assert live([DCTOP], env) and live([DCTOP], env)
    assert all(map(is_sound, small.rglob("*.pyc")))


@pytest.mark.parametrize("options", ["ro", "size=1m"])
def test_in_a_home_where_nothing_can_be_kept_it_goes_on_as_started(tmp_path: Path, options: str) -> None:
    place = tmp_path / "home"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        assert not live([DCTOP], env_in(place))
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_two_first_starts_at_once_share_an_empty_cache(tmp_path: Path) -> None:
    env = env_in(tmp_path)
    with Terminal([DCTOP], 120, 40, env) as a, Terminal([DCTOP], 80, 24, env) as b:
        for t in (a, b):
            t.wait("LIVE", "CPU")
            t.send("q")
            assert t.wait_exit() == 0
    assert all(map(is_sound, tmp_path.rglob("*.pyc"))) and live([DCTOP], env)


def test_a_training_of_a_killed_dashboard_goes_on_and_knows_nothing_of_how_it_started(
    compiled: dict[str, str],
) -> None:
    def runs(*words: str) -> str:
        command = [DCTOP, "runs", *words]
        done = subprocess.run(command, env={**os.environ, **compiled}, capture_output=True, text=True)
        return done.stdout

    with Terminal([DCTOP], 160, 50, compiled) as t:
        t.wait("LIVE", "No training run")
        t.send("t")
        t.wait("start training", "mnist-cnn")
        t.send("enter")
        t.wait("running", "step", timeout=60)
        os.kill(t.process.pid, signal.SIGKILL)
        t.process.wait(10)
    try:
        pid = int(json.loads(runs("show", "last", "--json"))["pid"])
        assert not set(OURS) & set(environ(pid))
        with Terminal([DCTOP], 120, 40, compiled) as t:
            t.wait("LIVE", "● running")
            t.send("q")
            assert t.wait_exit() == 0
    finally:
        runs("stop", "last")


@pytest.mark.parametrize("home", ["", "relative", "/nonexistent/home"])
def test_a_home_that_is_none_is_not_made(home: str, tmp_path: Path) -> None:
    env = {**env_in(tmp_path), "HOME": home, "XDG_CACHE_HOME": ""}
    assert not live([DCTOP], env)
    assert not Path("/nonexistent").exists() and not Path("relative").exists()


def test_without_any_variable_of_the_user_it_goes_on_as_started() -> None:
    names = ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME")
    without = [word for name in names for word in ("-u", name)]
    assert not live(["env", *without, DCTOP], {"PYTHONDONTWRITEBYTECODE": ""})


def test_where_proc_is_read_only_it_has_the_name_it_got(compiled: dict[str, str]) -> None:
    script = 'mount -o bind,remount,ro /proc && exec "$0"'
    assert live(["unshare", "--mount", "sh", "-c", script, DCTOP], compiled)


def _environment(place: Path, python: str) -> Path:
    """Another environment, with the packages of this one; -> its script, as pip writes it."""
    subprocess.run([python, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (ours,) = Path(sys.prefix).glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({str(ours)!r})\n")
    script = place / "bin/dctop"
    head = f"#!/bin/sh\n'''exec' \"{place}/bin/python\" \"$0\" \"$@\"\n' '''\n"
    script.write_text(f"{head}import sys\nfrom dctop.tui.start import main\nsys.exit(main())\n")
    script.chmod(0o755)
    return script


def test_an_interpreter_in_a_path_with_spaces_is_started_anew(tmp_path: Path) -> None:
    script = _environment(tmp_path / "a b" / "c 'd'", sys.executable)
    assert live([str(script)], env_in(tmp_path))


def test_an_interpreter_that_cannot_be_started_again_goes_on(compiled: dict[str, str]) -> None:
    code = (
        "import sys; sys.executable = '/dev/null'; sys.argv = ['dctop']; "
        "from dctop.tui.start import main; sys.exit(main())"
    )
    assert not live([sys.executable, "-c", code], compiled)


def test_damaged_code_that_cannot_be_removed_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules["re"]
    assert module.__spec__ is not None and module.__spec__.cached is not None
    path = Path(f"{tmp_path}{module.__spec__.cached.replace('/__pycache__/', '/')[:-4]}.opt-2.pyc")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 16 + marshal.dumps("a code")[:-1])

    def refused(path: str) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refused)
        assert not start._is_sound(str(tmp_path))
    assert start._is_sound(str(tmp_path)) and not path.exists()
