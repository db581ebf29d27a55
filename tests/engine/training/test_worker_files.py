"""The worker's files run where dctop is not: any Python from 3.9 on, plain scripts beside each other."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.engine.training import launcher
from tests.fakes.runs import write_idx

FOLDER = launcher.WORKER.parent
FILES = sorted(FOLDER.glob("w*.py"))
WORKER_FILES = [f for f in FILES if f.name != "watcher.py"]


def runtime_imports(tree: ast.AST) -> set[str]:
    """Modules imported outside `if TYPE_CHECKING:` (its else branch counts)."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            for other in node.orelse:
                found |= runtime_imports(ast.Module([other], []))
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
        else:
            found |= runtime_imports(node)
    return found


def test_there_are_worker_files() -> None:
    assert {"worker", "wdata", "wmodel", "wtiming", "wfaults", "wlog"} <= {f.stem for f in WORKER_FILES}


@pytest.mark.parametrize("file", WORKER_FILES, ids=lambda f: f.stem)
def test_worker_file_is_python_3_9_without_dctop(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    names = runtime_imports(tree)
    beside = {f.stem for f in WORKER_FILES}
    assert names <= set(sys.stdlib_module_names) | beside | {"torch"}
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        assert not {"strict", "slots", "kw_only"} & {k.arg for k in call.keywords}, ast.unparse(call)


def test_supervisor_and_data_finder_do_not_load_torch() -> None:
    code = "import sys, wsuper, wlog, wdata, wfaults; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=FOLDER, check=False).returncode == 0


def test_a_copied_worker_trains_in_a_folder_with_misleading_neighbours(tmp_path: Path) -> None:
    home = tmp_path / "a folder with spaces"
    home.mkdir()
    for file in WORKER_FILES:
        shutil.copy(file, home)
    # Names the interpreter or torch would stumble over if this folder came first when they import.
    (home / "queue.py").write_text("raise SystemExit('shadowed')\n")
    (tmp_path / "wlog.py").write_text("raise SystemExit('wrong wlog')\n")
    run = tmp_path / "run"
    run.mkdir()
    from dctop.engine.training.options import resolve

    config = resolve({"max_steps": 3, "threads": 1, "data": str(write_idx(tmp_path / "data"))})
    (run / "run.json").write_text(json.dumps({"id": "x", "config": config, "data_dir": config["data"]}))
    done = subprocess.run(
        [sys.executable, str(home / "worker.py"), "--run-dir", str(run)],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "steps.jsonl").read_text().splitlines()[-1])["data"]["status"] == "finished"


def test_worker_without_run_json_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(launcher.WORKER), "--run-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path}: no run.json in it\n"
