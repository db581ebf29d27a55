"""Every state in which a power cut may leave a directory, from a log of what was done to its files.

The log is written by powercut.c, preloaded into the program under test. The model is harsher than a real
disk: of what was written to a file after its last sync every 512-byte sector may or may not be there, on its
own; a change of size too; a file that was never synced may be missing, one that was removed may be back until
its directory is synced.
"""

from __future__ import annotations

import random
import shutil
import struct
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
_HEAD = struct.Struct("<BIQI")


class Op(NamedTuple):
    """`kind`: w write, t truncate, s sync, o open, u unlink."""

    kind: str
    name: str
    at: int
    data: bytes


def build(folder: Path) -> Path:
    """The shim as a shared library in `folder`. Raises CalledProcessError, or OSError without a compiler."""
    target = folder / "powercut.so"
    source = Path(__file__).with_suffix(".c")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("no C compiler")
    subprocess.run(
        [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(target), str(source), "-ldl"],
        check=True,
    )
    return target


def read_log(path: Path) -> list[Op]:
    """What happened, in order; a record cut short by a kill is left out."""
    raw, at = path.read_bytes(), 0
    names: dict[int, str] = {}
    out: list[Op] = []
    while at + _HEAD.size <= len(raw):
        kind, file, where, n = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        data = raw[at : at + n]
        if len(data) < n:
            break
        at += n
        op = chr(kind)
        if op in "ou":
            name = data.decode()
            names[file] = name
            out.append(Op(op, name, 0, b""))
        else:
            out.append(Op(op, names[file], where, data))
    return out


def state_after(ops: Sequence[Op], r: random.Random | None) -> dict[str, bytes]:
    """File -> content after a cut behind these operations; without `r` all of them reached the disk."""
    synced: dict[str, int] = {op.name: i for i, op in enumerate(ops) if op.kind == "s"}
    files: dict[str, bytearray] = {}
    for i, op in enumerate(ops):
        safe = r is None or i <= synced.get(op.name, -1)
        if op.kind == "u":
            if r is None or i <= synced.get(".", -1) or r.random() < 0.5:
                files.pop(op.name, None)
        elif op.kind == "t":
            if safe or (r is not None and r.random() < 0.5):
                data = files.setdefault(op.name, bytearray())
                del data[op.at :]
                data.extend(bytes(op.at - len(data)))
        elif op.kind == "w":
            _write(files.setdefault(op.name, bytearray()), op, None if safe else r)
        elif op.name != "." and op.kind == "o" and (safe or (r is not None and r.random() < 0.5)):
            files.setdefault(op.name, bytearray())
    return {name: bytes(data) for name, data in files.items()}


def _write(data: bytearray, op: Op, r: random.Random | None) -> None:
    at = 0
    while at < len(op.data):
        end = min(len(op.data), at + SECTOR - (op.at + at) % SECTOR)
        if r is None or r.random() < 0.5:
            first, last = op.at + at, op.at + end
            data.extend(bytes(max(0, last - len(data))))
            data[first:last] = op.data[at:end]
        at = end
