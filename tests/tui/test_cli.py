"""The command line: what it says when it is used right and wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.tui import arguments, cli
from dctop.tui.commands import TABLE, CommandError, completions, load
from tests.terminal import Terminal

DCTOP = [sys.executable, "-m", "dctop.tui.cli"]


def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DCTOP, *argv], capture_output=True, text=True, stdin=subprocess.DEVNULL, env={**os.environ, **env}
    )


@pytest.mark.parametrize("name", TABLE)
def test_the_table_says_what_the_modules_say(name: str) -> None:
    module = load(name)
    assert vars(module)["NAME"] == name
    assert vars(module)["HELP"] == TABLE[name]


@pytest.mark.parametrize("name", TABLE)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: dctop {name}")
    assert cli.main(["help", name]) == 0
    assert capsys.readouterr().out == out


def test_help_lists_all_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    assert [m for m in re.findall(r"^  ([a-z]+) {2,}\S", out, re.M) if m in TABLE] == list(TABLE)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--interval", "1"],
        ["--readonly", "--interval", "0.5", "--theme", "light", "--record", "a b.dctop", "--config", "/x"],
        ["--interval", "1", "--interval", "2"],
    ],
)
def test_plain_options_are_read_as_the_parser_reads_them(argv: list[str]) -> None:
    found = cli.plain(argv)
    assert found is not None
    assert vars(found) == vars(arguments.dashboard_parser().parse_args(argv))


@pytest.mark.parametrize(
    "argv",
    [
        "--interval",
        "--interval 0",
        "--interval x",
        "--theme -x",
        "--interval=1",
        "--lang zh",
        "--version",
        "x",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(argv: str) -> None:
    assert cli.plain(argv.split()) is None


def test_version_is_the_one_of_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    version = (Path(cli.__file__).parent.parent / "engine/VERSION").read_text().strip()
    assert capsys.readouterr().out == f"dctop {version}\n"


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["snapshto"], "unknown command snapshto: did you mean `snapshot`?"),
        (["xyzzy"], "unknown command xyzzy: see `dctop --help`"),
        (["--readonl"], "unknown option --readonl: did you mean `--readonly`?"),
        (["--readonly", "doctor"], "options stand before the command"),
        (["--interval", "0"], "'0' is not a number of seconds from 0.1 to 60"),
        (["--panes", "cpu,gpus"], "gpus is no pane; panes are cpu"),
        (["--graph", "dots"], "invalid choice: 'dots'"),
        (["snapshot", "--bogus"], "unrecognized arguments: --bogus: see `dctop snapshot --help`"),
        (["snapshot", "--metric", "cpu.utl_pct"], 'no metric cpu.utl_pct: did you mean "cpu.util_pct"?'),
        (["replay"], "missing: FILE: see `dctop replay --help`"),
        (["replay", "/nonexistent.dctop"], "/nonexistent.dctop: no such file"),
        (["replay", "/"], "/ is a directory"),
        (["completions", "tcsh"], "invalid choice: 'tcsh'"),
        ([], "standard output is not a terminal"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("dctop: ")
    assert captured.err.count("\n") == 1
    assert says in captured.err


def test_without_a_terminal_it_says_so() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("dctop: standard output is not a terminal: use a terminal")
    assert done.stderr.count("\n") == 1


def test_input_from_a_pipe_is_named() -> None:
    with Terminal(["sh", "-c", f"{' '.join(DCTOP)} < /dev/null"]) as terminal:
        assert terminal.wait_exit() == 2
        assert "standard input is not a terminal" in terminal.text


def test_an_unexpected_error_is_one_line_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def boom(_: list[str]) -> int:
        raise ValueError("two\nlines")

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(cli, "_main", boom)
    monkeypatch.setattr(cli, "_log", None)
    assert cli.main([]) == 1
    err = capsys.readouterr().err
    assert err == f"dctop: unexpected error (ValueError: two lines): details in {tmp_path}/dctop/log\n"
    assert "Traceback" in (tmp_path / "dctop/log").read_text()


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), 130), (CommandError("x: do y", 1), 1), (SystemExit(2), 2)]
)
def test_exit_statuses(error: BaseException, status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: list[str]) -> int:
        raise error

    monkeypatch.setattr(cli, "_main", fail)
    assert cli.main([]) == status


def test_a_reader_who_leaves_is_no_error() -> None:
    pipe = f"{' '.join(DCTOP)} completions bash | head -c 1 > /dev/null; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", pipe], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("141", "0")  # 0: all fitted into the pipe before the reader left


def test_a_user_without_a_home_gets_an_answer() -> None:
    """As with an arbitrary uid in a container: no HOME, no entry in passwd."""
    code = (
        "import os, pwd, sys\nfrom pathlib import Path\n"
        "def none(*_): raise KeyError\n"
        "pwd.getpwuid = none\n"
        "from dctop.tui.cli import main\nsys.exit(main(['nonsense']) - 2 + (str(Path.home()) != '/'))"
    )
    env = {k: v for k, v in os.environ.items() if k != "HOME" and not k.startswith("XDG_")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_broken_configuration_is_told_and_the_dashboard_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "dctop.toml"
    file.write_text("thme = 1\n")
    errors = tmp_path / "errors"
    with Terminal(["sh", "-c", f"{' '.join(DCTOP)} --config {file} 2> {errors}"]) as terminal:
        terminal.wait("CPU", "PID")
        terminal.send("q")
        assert terminal.wait_exit() == 0
    assert errors.read_text() == f'dctop: {file}:1: unknown key "thme": did you mean "theme"?\n'


def complete(line: str, cwd: Path) -> list[str]:
    """What bash offers for the last word of `line`."""
    script = completions.bash(completions.scopes())
    words = line.split(" ")
    quoted = " ".join(f"'{w}'" for w in words)
    call = f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _dctop"
    driver = f"{script}\n{call}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        ["bash", "--norc", "-c", driver], capture_output=True, text=True, cwd=cwd, check=True
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_completes_commands_options_values_and_files(tmp_path: Path) -> None:
    (tmp_path / "a.dctop").write_text("")
    assert complete("dctop sn", tmp_path) == ["snapshot"]
    assert set(complete("dctop re", tmp_path)) == {"record", "replay", "rec", "report"}
    assert "--readonly" in complete("dctop --", tmp_path)
    assert complete("dctop --graph b", tmp_path) == ["braille", "block"]
    assert complete("dctop replay a", tmp_path) == ["a.dctop"]
    assert complete("dctop completions ", tmp_path) == ["bash", "zsh", "fish"]
    assert complete("dctop snapshot --j", tmp_path) == ["--json"]


@pytest.mark.parametrize("shell", completions.SHELLS)
def test_completion_scripts_know_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completions", shell]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in TABLE)
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=out, text=True, check=True)


def test_a_moment_before_the_end_is_no_option() -> None:
    from dctop.tui.cli import _with_moments

    assert _with_moments(["a.dctop", "--at", "-5m", "--lang", "en"]) == [
        "a.dctop",
        "--at=-5m",
        "--lang",
        "en",
    ]
    assert _with_moments(["--at", "--lang"]) == ["--at", "--lang"]
