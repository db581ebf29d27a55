"""Which interpreter can train: asked for real, in a process of its own."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from dctop.engine.training import pythons


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def answering(path: Path, **answer: object) -> str:
    """Something that answers the question as a Python might."""
    return script(path, f"echo some banner; echo '{json.dumps(answer)}'")


def test_our_own_interpreter_has_torch_and_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    found = pythons.check(sys.executable)
    assert found.reason is None and found.torch_version and found.python_version
    assert not found.cuda and found.why_no_cuda

    def forbidden(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a remembered answer needs no process")

    monkeypatch.setattr("subprocess.run", forbidden)
    assert pythons.check(sys.executable) == found


def test_a_python_without_torch_is_refused(tmp_path: Path) -> None:
    bare = script(tmp_path / "python", f'exec {sys.executable} -S -I "$@"')
    reason = pythons.check(bare).reason
    hint = "pip install torch there, or name another with --python"
    assert reason == f"{bare} has no usable torch (No module named 'torch'); {hint}"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"python_version": [3, 8, 1], "error": "x"}, "Python 3.8.1 is too old"),
        (
            {"python_version": [3, 9, 0], "torch_version": "1.13.1", "torch_path": "/", "cuda_built": None,
             "cuda": False, "gpus": []},
            "torch 1.13.1 is too old (2.1 or later is needed)",
        ),
        ({"hello": 1}, "not a usable Python"),
    ],
)  # fmt: skip
def test_too_old_or_strange_ones_are_refused(tmp_path: Path, answer: dict[str, object], why: str) -> None:
    reason = pythons.check(answering(tmp_path / "python", **answer)).reason
    assert reason is not None and why in reason and "\n" not in reason


def test_a_new_enough_one_is_taken_with_its_gpus(tmp_path: Path) -> None:
    found = pythons.check(
        answering(
            tmp_path / "python", python_version=[3, 9, 18], torch_version="2.10.0a0+cu130", torch_path="/usr",
            cuda_built="13.0", cuda=True, gpus=["H100"],
        )
    )  # fmt: skip
    assert (found.reason, found.cuda, found.gpus, found.why_no_cuda) == (None, True, ("H100",), "")


def test_a_changed_interpreter_is_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "python"
    good = {"python_version": [3, 11, 0], "torch_path": "/usr", "cuda_built": None, "cuda": False, "gpus": []}
    assert pythons.check(answering(path, torch_version="2.3.0", **good)).torch_version == "2.3.0"
    answering(path, torch_version="2.4.0", **good)
    os.utime(path, ns=(1, 1))
    assert pythons.check(str(path)).torch_version == "2.4.0"


def test_what_is_no_python_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no such Python" in str(pythons.check(str(tmp_path / "nowhere")).reason)
    assert "no such Python" in str(pythons.check("no-such-python-anywhere").reason)
    assert "not an executable file" in str(pythons.check(str(tmp_path)).reason)
    (tmp_path / "text").write_text("x")
    assert "not an executable file" in str(pythons.check(str(tmp_path / "text")).reason)
    assert "boom" in str(pythons.check(script(tmp_path / "bad", "echo boom >&2; exit 3")).reason)
    slow = pythons.check(script(tmp_path / "slow", "exec sleep 60"), timeout_s=0.2)
    assert "no answer within" in str(slow.reason)


def test_a_damaged_cache_is_no_obstacle() -> None:
    pythons.check(sys.executable)
    pythons._cache_file().write_text("{broken")
    assert pythons.check(sys.executable).reason is None


def test_the_active_environment_comes_first_and_a_named_one_alone(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    mine = script(tmp_path / "bin" / "python", "exit 1")
    assert pythons.candidates(None, {"VIRTUAL_ENV": str(tmp_path), "PATH": ""}) == [mine, sys.executable]
    assert pythons.candidates(None, {"CONDA_PREFIX": str(tmp_path), "PATH": ""})[0] == mine
    assert pythons.candidates("/x/python", {}) == ["/x/python"]


def test_the_first_one_with_torch_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bin").mkdir()
    script(tmp_path / "bin" / "python", f'exec {sys.executable} -S -I "$@"')
    monkeypatch.setenv("VIRTUAL_ENV", str(tmp_path))
    assert pythons.find().path == sys.executable
    assert pythons.likely() == sys.executable
