"""Checkpoints: written to a temporary name, fsynced, renamed; the last three and the best are kept.

Worker side. A checkpoint holds model, optimizer, scaler, random state, step, the best accuracy so far,
input statistics and the configuration: enough to resume in the middle of an epoch and to judge inputs at
inference. Without space for a new one the old ones stay.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Mapping
from typing import IO, NamedTuple

FORMAT = 1
KEEP = 3
BEST = "best.pt"
_NAME = re.compile(r"step-(\d{8,})\.pt")


class CheckpointError(Exception):
    """One line: which checkpoint and why not. `code` is the errno where the system said no."""

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.code = code


class Saved(NamedTuple):
    path: str
    bytes: int
    seconds: float


class _Remember:
    """A file that keeps the error of a failed write: torch turns it into a RuntimeError without a cause."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._raw.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._raw.flush()


def save(directory: str, step: int, state: Mapping[str, object], best: bool) -> Saved:
    """Write `step-NNNNNNNN.pt`; `best` also points best.pt at it. Raises CheckpointError; nothing that
    was there before is touched then."""
    import torch

    begun = time.monotonic()
    path = os.path.join(directory, f"step-{step:08d}.pt")
    temporary = f"{path}.tmp"
    file: _Remember | None = None
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
        _sweep(directory)
        with open(temporary, "wb") as raw:
            file = _Remember(raw)
            torch.save(dict(state), file)  # type: ignore[arg-type]
            raw.flush()
            os.fsync(raw.fileno())
            size = raw.tell()
        os.replace(temporary, path)
        _sync_directory(directory)
        if best:
            _point_best(directory, os.path.basename(path))
    except (OSError, RuntimeError) as error:
        cause = file.error if file is not None and file.error is not None else error
        _unlink(temporary)
        raise _failure(path, directory, cause) from None
    prune(directory)
    return Saved(path, size, time.monotonic() - begun)


def _failure(path: str, directory: str, cause: Exception) -> CheckpointError:
    if not isinstance(cause, OSError) or cause.errno is None:
        return CheckpointError(f"{path}: {cause}")
    text = f"{path}: {os.strerror(cause.errno).lower()}"
    if cause.errno in (errno.ENOSPC, errno.EDQUOT):
        try:
            room = os.statvfs(directory)
            text += f" ({room.f_bavail * room.f_frsize / 1e6:.1f} MB free)"
        except OSError:
            pass
        text += "; the last good checkpoint stays" if latest(directory) else "; there is no earlier one"
    return CheckpointError(text, cause.errno)


def prune(directory: str) -> None:
    """Keep the newest three and the best."""
    best = best_target(directory)
    for name in saved(directory)[:-KEEP]:
        if name != best:
            _unlink(os.path.join(directory, name))


def saved(directory: str) -> list[str]:
    """Names of complete checkpoints, oldest first."""
    try:
        names = os.listdir(directory)
    except OSError:
        return []
    return sorted((n for n in names if _NAME.fullmatch(n)), key=lambda n: int(n[5:-3]))


def latest(directory: str) -> str | None:
    names = saved(directory)
    return os.path.join(directory, names[-1]) if names else None


def best_target(directory: str) -> str | None:
    try:
        return os.readlink(os.path.join(directory, BEST))
    except OSError:
        return None


def load(path: str) -> dict[str, object]:
    """Raises CheckpointError: missing, broken, or of a newer format."""
    import torch

    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such checkpoint") from None
    except Exception as error:  # torch raises many kinds for a broken file
        line = str(error).strip().split("\n")[0][:200]
        raise CheckpointError(f"{path}: broken checkpoint ({type(error).__name__}: {line})") from None
    if not isinstance(state, dict) or "model" not in state or "step" not in state:
        raise CheckpointError(f"{path}: not a checkpoint of a run")
    if int(state.get("format", 0)) > FORMAT:
        raise CheckpointError(f"{path}: format {state['format']} is newer than this version can read")
    return state


def _point_best(directory: str, name: str) -> None:
    link = os.path.join(directory, BEST)
    _unlink(link + ".tmp")
    os.symlink(name, link + ".tmp")
    os.replace(link + ".tmp", link)


def _sweep(directory: str) -> None:
    """Remove what an interrupted save left."""
    for name in os.listdir(directory):
        if name.endswith(".pt.tmp"):
            _unlink(os.path.join(directory, name))


def _sync_directory(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
