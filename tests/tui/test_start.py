"""The dashboard starts in an interpreter that keeps no docstrings, where that is safe and lasts."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from dctop.tui import start
from tests.terminal import Terminal


class Replaced(Exception):
    """What the process would be replaced by."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A start in a terminal as a user's; -> the cache directory."""

    def execve(path: str, argv: list[str], env: Mapping[str, str]) -> None:
        raise Replaced(path, argv, env)

    monkeypatch.setattr(os, "execve", execve)
    for name in ("PYTHONOPTIMIZE", "PYTHONNODEBUGRANGES", "PYTHONPYCACHEPREFIX"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "isatty", lambda fd: True)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "/usr/bin/dctop", "--theme", "light"])
    monkeypatch.delenv(start.AS_STARTED, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_all_arguments_are_kept_and_the_code_lies_in_the_cache(asked: Path) -> None:
    with pytest.raises(Replaced) as e:
        start.start_lean()
    folder = asked / "dctop/code"
    path, argv, env = e.value.args
    assert path == sys.executable and argv == [path, "/usr/bin/dctop", "--theme", "light"]
    assert env["PYTHONOPTIMIZE"] == "2" and env["PYTHONPYCACHEPREFIX"] == str(folder)
    assert {k: v for k, v in env.items() if k in os.environ} == dict(os.environ)
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_prefix_that_is_set_already_is_taken(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "pycache_prefix", "/elsewhere")
    with pytest.raises(Replaced) as e:
        start.start_lean()
    assert "PYTHONPYCACHEPREFIX" not in e.value.args[2] and not asked.exists()


def test_it_goes_on_as_started_where_asked_to(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(start.AS_STARTED, "1")
    start.start_lean()


def test_it_goes_on_as_started_where_no_code_may_be_written(
    asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    start.start_lean()
    assert not asked.exists()


def test_code_is_not_taken_from_where_others_may_write(asked: Path) -> None:
    asked.mkdir()
    asked.chmod(0o777)
    start.start_lean()


def test_code_is_not_taken_from_another_users_directory(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sudo` that keeps HOME."""
    owner = os.geteuid()
    (asked / "dctop/code").mkdir(parents=True, mode=0o700)
    if owner == 0:
        os.chown(asked, 4321, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    start.start_lean()


@pytest.mark.parametrize("obstacle", ["a file", "a link to a file", "no home"])
def test_without_a_cache_directory_it_goes_on_as_started(
    asked: Path, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    if obstacle == "a file":
        asked.write_text("")
    elif obstacle == "a link to a file":
        asked.symlink_to("/proc/version")
    else:
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", "")
    start.start_lean()


def test_a_full_disk_is_not_filled_further(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.statvfs("/")
    full = os.statvfs_result((*real[:3], 0, 0, *real[5:10]))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    start.start_lean()


@pytest.mark.parametrize(("kind", "remote"), [("nfs4 srv:/home rw", True), ("tmpfs tmpfs rw", False)])
def test_a_home_on_a_server_is_not_asked_for_hundreds_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, remote: bool
) -> None:
    real, table = os.stat, tmp_path / "mountinfo"
    table.write_text(f"40 1 0:77 / /home rw - {kind}\n41 1 0:78 / / rw - nfs srv:/ rw\n")

    class There:
        st_dev = os.makedev(0, 77)

    monkeypatch.setattr(os, "stat", lambda path: There() if path == "/home" else real(path))
    assert start._is_remote("/home", str(table)) is remote


def test_a_server_that_has_the_program_too_is_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    class There:
        st_dev = os.makedev(0, 77)

    monkeypatch.setattr(os, "stat", lambda path: There())
    assert not start._is_remote("/home", "/nonexistent")


def test_only_the_dashboard_starts_anew() -> None:
    yes = ([], ["--record", "x"], ["--theme", "light"])
    no = (["snapshot"], ["replay", "x"], ["--help"], ["--theme", "x", "-h"], ["--version"], ["nonsense"])
    assert all(map(start.is_dashboard, yes)) and not any(map(start.is_dashboard, no))


def test_what_is_started_from_it_knows_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    monkeypatch.setattr(start, "_mend_code", lambda: None)  # it would stay for all tests
    monkeypatch.setattr(sys, "argv", ["/x/start.py", "--version"])
    monkeypatch.setenv("PYTHONOPTIMIZE", "2")
    monkeypatch.setenv("PYTHONNODEBUGRANGES", "1")
    monkeypatch.setenv(start._OURS, "PYTHONOPTIMIZE PYTHONNODEBUGRANGES")
    assert start.main() == 0
    assert dict(os.environ) == before


def test_an_interrupt_while_the_program_is_loaded_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "dctop.tui.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["dctop", "--version"])
    monkeypatch.delitem(sys.modules, "dctop.tui.cli", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    assert start.main() == 130


def _script(tmp_path: Path) -> Path:
    """As pip writes it."""
    path = tmp_path / "dctop"
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom dctop.tui.start import main\nsys.exit(main())\n")
    path.chmod(0o755)
    return path


def _env(tmp_path: Path, **more: str) -> Mapping[str, str]:
    return {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "", **more}


def test_a_dashboard_in_a_terminal_has_no_docstrings_and_its_name(tmp_path: Path) -> None:
    script = _script(tmp_path)
    with Terminal([str(script)], env=_env(tmp_path)) as t:
        t.wait("cpu", timeout=60)
        pid = t.process.pid
        assert b"\0PYTHONOPTIMIZE=2\0" in Path(f"/proc/{pid}/environ").read_bytes()
        assert Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:-1] == [os.fsencode(script)]
        assert Path(f"/proc/{pid}/comm").read_text() == "dctop\n"
        t.send("q")
        assert t.wait_exit() == 0
    compiled = {p.name.partition(".")[0] for p in (tmp_path / "cache").rglob("*.opt-2.pyc")}
    assert {"application", "screen", "widget", "typing"} <= compiled


def test_a_dashboard_as_started_draws_the_same(tmp_path: Path) -> None:
    with Terminal([str(_script(tmp_path))], env=_env(tmp_path, **{start.AS_STARTED: "1"})) as t:
        t.wait("cpu", timeout=60)
        assert b"PYTHONOPTIMIZE" not in Path(f"/proc/{t.process.pid}/environ").read_bytes()
        t.send("q")
        assert t.wait_exit() == 0
    assert not (tmp_path / "cache").exists()
