"""The checkpoints of a run: which there are, and choosing one by name. No torch: files are not opened."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dctop.engine.training import wckpt


class NoCheckpoint(Exception):
    """One line: what was asked for and what there is."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    step: int
    path: str
    bytes: int
    wall_ns: int
    best: bool


def folder_of(directory: Path, config: Mapping[str, object]) -> str:
    """Where a run keeps them: its own folder, unless it was told another one."""
    own = config.get("checkpoint_dir")
    return own if isinstance(own, str) and own else str(directory / "checkpoints")


def listed(folder: str) -> list[Checkpoint]:
    """Complete checkpoints, oldest first."""
    best = wckpt.best_target(folder)
    found = []
    for name in wckpt.saved(folder):
        path = Path(folder) / name
        try:
            status = path.stat()
        except OSError:
            continue
        found.append(Checkpoint(int(name[5:-3]), str(path), status.st_size, status.st_mtime_ns, name == best))
    return found


def choose(directory: Path, config: Mapping[str, object], which: str) -> Checkpoint:
    """`last`, `best`, the number of a step, or a path. Raises NoCheckpoint."""
    if os.sep in which or which.endswith(".pt"):
        return of_path(which)
    found = listed(folder_of(directory, config))
    if not found:
        raise NoCheckpoint("it has no checkpoint")
    if which == "last":
        return found[-1]
    if which == "best":
        # Without an evaluation yet the newest is the best there is.
        return next((c for c in found if c.best), found[-1])
    for one in found:
        if which.isdigit() and one.step == int(which):
            return one
    steps = ", ".join(str(c.step) for c in found)
    raise NoCheckpoint(f"no checkpoint '{which}'; there are last, best and those of steps {steps}")


def of_path(path: str) -> Checkpoint:
    """A checkpoint file anywhere. Raises NoCheckpoint."""
    full = Path(path).expanduser().absolute()
    try:
        status = full.stat()
    except OSError as error:
        raise NoCheckpoint(f"{full}: {(error.strerror or str(error)).lower()}") from None
    name = full.resolve().name  # best.pt is a link
    step = int(name[5:-3]) if name.startswith("step-") and name[5:-3].isdigit() else 0
    return Checkpoint(step, str(full), status.st_size, status.st_mtime_ns, False)
