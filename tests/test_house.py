"""The layout, who may import whom, and what an installation contains."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 650
"""Lines: a file has about 600 at most."""
TOPS = ("probes", "engine", "tui")
STANDARD = sys.stdlib_module_names
THIRD_PARTY = {
    # probes read with the standard library; psutil what /proc does not say.
    "probes": {"psutil": (), "pynvml": ("nvml_second",)},
    # torch belongs to the worker, which runs in a process of its own.
    "engine": {"torch": ("training/w",), "plotext": (), "pyarrow": ()},
    "tui": {"textual": (), "rich": (), "psutil": (), "plotext": ()},
}
"""Package -> what it may import besides the standard library, and in which files only (() = any)."""


def sources(*tops: str) -> Iterator[Path]:
    for top in tops:
        yield from (p for p in sorted((ROOT / top).rglob("*.py")) if "__pycache__" not in p.parts)


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """(module, line, seen only by type checkers) of every import in a file."""
    tree = ast.parse(path.read_bytes())
    typing_only = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for part in node.body
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in typing_only
        elif isinstance(node, ast.ImportFrom):
            dots = "." * node.level
            yield dots + (node.module or ""), node.lineno, id(node) in typing_only


def test_packages_in_pyproject_are_the_folders_of_the_tree() -> None:
    declared = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    found = {"dctop." + ".".join(p.parent.relative_to(ROOT).parts) for p in sources(*TOPS)}
    assert declared == found


def test_every_package_is_typed_and_importable_as_one() -> None:
    for folder in {p.parent for p in sources(*TOPS)}:
        assert (folder / "py.typed").exists(), folder
        assert (folder / "__init__.py").exists(), folder


@pytest.mark.parametrize("top", TOPS)
def test_imports_point_down_only(top: str) -> None:
    allowed = TOPS[: TOPS.index(top) + 1]
    wrong = []
    for path in sources(top):
        for module, line, _ in imports(path):
            parts = module.split(".")
            if module.startswith(".") or parts[0] in TOPS:
                wrong.append(f"{path}:{line}: write `from dctop. ... import`, not {module}")
            elif parts[0] == "dctop" and (len(parts) < 2 or parts[1] not in allowed):
                wrong.append(f"{path}:{line}: {top} imports {module}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("top", TOPS)
def test_third_party_imports_are_the_declared_ones(top: str) -> None:
    wrong = []
    for path in sources(top):
        inner = path.relative_to(ROOT / top).as_posix()
        for module, line, typing_only in imports(path):
            name = module.split(".")[0]
            # The worker is copied to where dctop is not installed, and imports its neighbours by name.
            beside = (path.parent / f"{name}.py").exists() and inner.startswith("training/w")
            if name in STANDARD or name == "dctop" or typing_only or beside:
                continue
            places = THIRD_PARTY[top].get(name)
            if places is None or (places and not inner.startswith(places)):
                wrong.append(f"{path}:{line}: {name}")
    assert not wrong, "\n".join(wrong)


def test_no_file_is_too_long_to_read() -> None:
    long = {str(p): n for p in sources(*TOPS, "tests") if (n := p.read_bytes().count(b"\n")) > LONGEST}
    assert not long


def test_metrics_page_is_the_catalogue() -> None:
    from dctop.engine.metrics.doc import markdown

    assert (ROOT / "docs/METRICS.md").read_text() == markdown(), "run `make docs`"


HEAVY = ("textual", "rich", "torch", "psutil", "numpy", "plotext", "pynvml", "sqlite3", "asyncio")


def loaded(*argv: str) -> set[str]:
    """Which of HEAVY are loaded once `dctop ARGV` has ended."""
    code = (
        "import sys\nfrom dctop.tui.cli import main\n"
        f"main({list(argv)!r})\n"
        f"print('LOADED', *[m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


@pytest.mark.parametrize("argv", [("--help",), ("--version",), ("nonsense",), ("replay", "--help")])
def test_help_and_version_load_nothing_heavy(argv: tuple[str, ...]) -> None:
    assert loaded(*argv) == set()


def test_recording_without_a_screen_loads_neither_textual_nor_torch(tmp_path: Path) -> None:
    got = loaded("record", "-o", str(tmp_path / "x.dctop"), "--duration", "2")
    assert not got & {"textual", "torch", "numpy", "plotext"}
    assert (tmp_path / "x.dctop").exists()


def test_snapshot_and_check_load_no_screen_and_no_torch() -> None:
    assert not loaded("snapshot", "--interval", "0.1") & {"textual", "torch", "numpy", "plotext"}


def test_the_dashboard_loads_nothing_it_does_not_need(tmp_path: Path) -> None:
    """And leaves OpenSSL to be had by whoever asks for it later."""
    from tests.terminal import Terminal

    out = tmp_path / "modules"
    code = (
        "import sys\nfrom dctop.tui.cli import main\nstatus = main([])\n"
        f"print(*sys.modules, file=open({str(out)!r}, 'w'), flush=True)\n"
        "import ssl; ssl.create_default_context()\n"
        "sys.exit(status)"
    )
    env = {"XDG_STATE_HOME": str(tmp_path / "state")}
    with Terminal([sys.executable, "-c", code], 160, 50, env=env) as terminal:
        terminal.wait("CPU", "PID", "No training run yet")
        terminal.send("q")
        assert terminal.wait_exit() == 0
    modules = set(out.read_text().split())
    assert "textual" in modules
    assert not modules & {"torch", "plotext", "numpy", "ssl", "importlib.metadata"}
    # What Textual and the standard library would have brought along (tui/lean.py).
    assert not modules & {
        "argparse", "ast", "asyncio.sslproto", "bz2", "difflib", "dis", "gettext", "ipaddress", "locale",
        "mimetypes", "pickle", "platformdirs", "random", "rich.table", "shutil", "statistics", "subprocess",
        "textual.command", "textual.pilot", "textual.widgets._input", "textual.widgets._tree", "tokenize",
        "typing_extensions", "uuid",
    }  # fmt: skip
    # What reads and draws runs, and what nobody has asked for yet.
    assert not {m for m in modules if m.startswith("dctop.")} & {
        "dctop.engine.rules.measured", "dctop.engine.rules.ranks", "dctop.engine.rules.runwindow",
        "dctop.engine.rules.texts.en_report", "dctop.engine.training.energy", "dctop.engine.training.runlog",
        "dctop.engine.training.runstate", "dctop.engine.training.watcher", "dctop.tui.panes.run_time",
        "dctop.tui.runrequests", "dctop.tui.timetravel",
    }  # fmt: skip


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wheel_in_an_empty_environment_runs_from_anywhere(tmp_path: Path) -> None:
    """Also where the working directory and PYTHONPATH are full of other people's engine.py."""
    source = tmp_path / "source"
    shutil.copytree(
        ROOT,
        source,
        ignore=shutil.ignore_patterns(".*", "build", "dist", "__pycache__", "*.egg-info", "tests"),
    )
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, source],
        check=True, capture_output=True, env=env,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("dctop-*.whl")
    venv.create(tmp_path / "env", with_pip=True)
    bin_ = tmp_path / "env/bin"
    subprocess.run(
        [bin_ / "python", "-m", "pip", "install", "-q", wheel], check=True, capture_output=True, env=env
    )

    hostile = tmp_path / "hostile"
    hostile.mkdir()
    for name in ("engine", "probes", "tui", "rules", "metrics"):
        (hostile / f"{name}.py").write_text("raise SystemExit('the wrong module')\n")
    env["PYTHONPATH"] = str(hostile)

    def dctop(*argv: str) -> str:
        done = subprocess.run([bin_ / "dctop", *argv], cwd=hostile, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert dctop("--version").startswith("dctop ")
    assert "commands:" in dctop("--help")
    assert '"metrics"' in dctop("snapshot", "--json", "--interval", "0.2")
    assert "fast drawing on" in dctop("doctor")
    installed = {
        p.relative_to(tmp_path / "env").as_posix() for p in (tmp_path / "env").rglob("dctop/*/py.typed")
    }
    assert len(installed) == len(TOPS)
    assert list((tmp_path / "env").rglob("dctop/tui/*.tcss"))


def make(folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(["make", "-s", *argv], cwd=folder, capture_output=True, text=True, env=env)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A tree in which only setting up can be tried."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for top in TOPS:
        (tmp_path / top).mkdir()
    return tmp_path


def test_make_says_in_one_line_that_python_is_too_old(bare: Path) -> None:
    done = make(bare, "base", "PYTHON=false")
    assert done.returncode == 2
    first, *rest = done.stderr.splitlines()
    assert first.startswith("dctop: false is older than Python 3.11")
    assert all("***" in line for line in rest)


def test_make_names_the_package_that_lacks(bare: Path) -> None:
    stub = bare / "python"
    stub.write_text(f'#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\nexec {sys.executable} "$@"\n')
    stub.chmod(0o755)
    done = make(bare, "base", f"PYTHON={stub}")
    assert done.returncode == 2
    assert f"apt-get install python3.{sys.version_info[1]}-venv" in done.stderr


def test_a_skip_in_ci_is_a_failure(tmp_path: Path) -> None:
    shutil.copy(ROOT / "tests/conftest.py", tmp_path)
    (tmp_path / "test_x.py").write_text("import pytest\n\ndef test_a():\n    pytest.skip('no data')\n")
    (tmp_path / "test_y.py").write_text("import pytest\npytest.skip('none', allow_module_level=True)\n")
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path]
    lax = subprocess.run(argv, env={**os.environ, "CI": ""}, capture_output=True, text=True)
    strict = subprocess.run(argv, env={**os.environ, "CI": "true"}, capture_output=True, text=True)
    assert lax.returncode == 0, lax.stdout
    assert strict.returncode != 0
    assert "skipped in CI" in strict.stdout


def test_constraints_pin_exactly_and_without_local_builds() -> None:
    lines = [
        line for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] not in ("", "#")
    ]
    assert all(line.count("==") == 1 and "+" not in line for line in lines)
    pinned = dict(line.split("==") for line in lines)
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert f"textual=={pinned['textual']}" in wanted
