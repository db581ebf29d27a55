"""Finds a Python that can train: which interpreter has torch, in what version, with or without CUDA.

dctop itself never imports torch: the interpreter is asked in a process of its own. A good answer is
remembered in the cache folder while interpreter and torch stay the same files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from dctop.engine import paths

TIMEOUT_S = 60.0
"""torch from a cold network file system takes long to import."""
MIN_PYTHON, MIN_TORCH = (3, 9), (2, 1)
CUDA_FRESH_S = 600.0
"""A driver may come or go without any file of torch changing."""

_QUESTION = """
import json, sys
answer = {"python_version": list(sys.version_info[:3])}
try:
    import torch
except ImportError as error:
    answer["error"] = str(error).splitlines()[0] if str(error) else "ImportError"
except Exception as error:
    answer["error"] = type(error).__name__ + ": " + (str(error).splitlines() or [""])[0]
else:
    answer["torch_version"] = str(torch.__version__)
    answer["torch_path"] = torch.__path__[0]
    answer["cuda_built"] = torch.version.cuda or getattr(torch.version, "hip", None)
    answer["cuda"] = bool(torch.cuda.is_available())
    count = torch.cuda.device_count() if answer["cuda"] else 0
    answer["gpus"] = [torch.cuda.get_device_name(i) for i in range(count)]
sys.stdout.write("\\n" + json.dumps(answer) + "\\n")
"""


@dataclass(frozen=True, slots=True)
class PythonCheck:
    """One interpreter. Usable if `reason` is None."""

    path: str
    python_version: str | None = None
    torch_version: str | None = None
    cuda_built: str | None = None
    cuda: bool = False
    gpus: tuple[str, ...] = ()
    reason: str | None = None
    """One line: why it cannot train."""

    @property
    def why_no_cuda(self) -> str:
        if self.cuda:
            return ""
        if self.cuda_built:
            return "torch sees no CUDA device"
        return f"torch {self.torch_version} is built without CUDA"


def candidates(asked: str | None, environ: Mapping[str, str] | None = None) -> list[str]:
    """Interpreters to ask, best first: the one named and no other, else the active environment's, ours,
    the system's."""
    if asked:
        return [asked]
    env = os.environ if environ is None else environ
    found: list[str] = []
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        if env.get(variable):
            found.append(str(Path(env[variable]) / "bin" / "python"))
    found.append(sys.executable)
    for name in ("python3", "python"):
        on_path = shutil.which(name, path=env.get("PATH"))
        if on_path:
            found.append(on_path)
    return [path for path in dict.fromkeys(found) if path == sys.executable or os.access(path, os.X_OK)]


def find(asked: str | None = None, timeout_s: float = TIMEOUT_S) -> PythonCheck:
    """The first candidate that can train, else the first one with the reason it cannot."""
    first: PythonCheck | None = None
    for path in candidates(asked):
        answer = check(path, timeout_s)
        if answer.reason is None:
            return answer
        first = first or answer
    assert first is not None  # our own interpreter is always among them
    return first


def likely(asked: str | None = None, timeout_s: float = 5.0) -> str:
    """The first candidate that has a torch to import (not whether the import works), else the first."""
    found = candidates(asked)
    ask = "import importlib.util as u, sys; sys.exit(u.find_spec('torch') is None)"
    for path in found:
        try:
            done = subprocess.run(
                [path, "-c", ask],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == 0:
            return path
    return found[0]


def check(path: str, timeout_s: float = TIMEOUT_S) -> PythonCheck:
    """Ask one interpreter (a path, or a name on PATH)."""
    found = shutil.which(path) if os.sep not in path else str(Path(path).expanduser().absolute())
    if found is None or not Path(found).exists():
        return PythonCheck(path, reason=f"{path}: no such Python; name another with --python")
    if not os.access(found, os.X_OK) or Path(found).is_dir():
        return PythonCheck(found, reason=f"{found}: not an executable file; name a Python with --python")
    remembered = _remembered(found)
    if remembered is not None:
        return remembered
    try:
        done = subprocess.run(
            [found, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return PythonCheck(found, reason=f"{found}: no answer within {timeout_s:.0f} s (import torch hangs)")
    except OSError as error:
        return PythonCheck(found, reason=f"{found}: {error.strerror or error}")
    return _judge(found, done.stdout, done.stderr, done.returncode)


def _judge(path: str, out: bytes, err: bytes, code: int) -> PythonCheck:
    try:
        answer = json.loads(out.strip().rpartition(b"\n")[2])
        version = tuple(int(n) for n in answer["python_version"])
    except (ValueError, KeyError, TypeError):
        said = err.decode("utf-8", "replace").strip().splitlines()
        why = said[-1][:200] if said else f"exit code {code}"
        return PythonCheck(path, reason=f"{path}: not a usable Python ({why})")
    shown = ".".join(map(str, version))
    if version[:2] < MIN_PYTHON:
        return PythonCheck(path, shown, reason=f"{path}: Python {shown} is too old (3.9 or later is needed)")
    if "error" in answer:
        hint = "pip install torch there, or name another with --python"
        return PythonCheck(path, shown, reason=f"{path} has no usable torch ({answer['error']}); {hint}")
    torch = str(answer["torch_version"])
    if _numbers(torch) < MIN_TORCH:
        return PythonCheck(
            path, shown, torch, reason=f"{path}: torch {torch} is too old (2.1 or later is needed)"
        )
    result = PythonCheck(path, shown, torch, answer["cuda_built"], answer["cuda"], tuple(answer["gpus"]))
    _remember(result, str(answer["torch_path"]))
    return result


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")[:2]
    return tuple(int("".join(c for c in part if c.isdigit()) or 0) for part in parts)


# -- cache --------------------------------------------------------------------------------------------


def _cache_file() -> Path:
    return paths.cache_dir() / "pythons.json"


def _marks(*files: str) -> list[int] | None:
    try:
        return [Path(file).stat().st_mtime_ns for file in files]
    except OSError:
        return None


def _load() -> dict[str, dict[str, object]]:
    try:
        value = json.loads(_cache_file().read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _remembered(path: str) -> PythonCheck | None:
    entry = _load().get(path)
    if not isinstance(entry, dict):
        return None
    age = time.time() - float(str(entry.get("when", 0)))
    if not 0 <= age < CUDA_FRESH_S or entry.get("environment") != os.environ.get("PYTHONPATH", ""):
        return None
    if entry.get("marks") != _marks(path, str(entry.get("torch_path"))):
        return None
    answer = entry.get("answer")
    if not isinstance(answer, dict):
        return None
    try:
        return PythonCheck(**{**answer, "gpus": tuple(answer["gpus"])})
    except (TypeError, KeyError):
        return None  # written by another version


def _remember(result: PythonCheck, torch_path: str) -> None:
    entry = {
        "when": time.time(),
        "marks": _marks(result.path, torch_path),
        "torch_path": torch_path,
        "environment": os.environ.get("PYTHONPATH", ""),
        "answer": asdict(result),
    }
    file = _cache_file()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = file.with_name(f"{file.name}.{os.getpid()}")
        temporary.write_text(json.dumps({**_load(), result.path: entry}))
        temporary.replace(file)
    except OSError:
        pass  # a cache: without it the question is asked again
