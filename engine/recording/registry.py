"""Which recordings this process has open, by (device, inode).

POSIX record locks belong to a process, and closing *any* descriptor of a file drops them all. So a file
that SQLite has open in this process must not be opened by anybody else in it, not even for a look at its
header: the writer would lose its lock. Whoever wants to look asks here first.
"""

from __future__ import annotations

import threading
from pathlib import Path

_lock = threading.Lock()
_writing: dict[tuple[int, int], int] = {}
_reading: dict[tuple[int, int], int] = {}


def writing(identity: tuple[int, int]) -> None:
    with _lock:
        _writing[identity] = _writing.get(identity, 0) + 1


def done(identity: tuple[int, int]) -> None:
    with _lock:
        _drop(_writing, identity)


def reading(identity: tuple[int, int]) -> None:
    with _lock:
        _reading[identity] = _reading.get(identity, 0) + 1


def read(identity: tuple[int, int]) -> None:
    with _lock:
        _drop(_reading, identity)


def _drop(table: dict[tuple[int, int], int], identity: tuple[int, int]) -> None:
    left = table.get(identity, 0) - 1
    if left > 0:
        table[identity] = left
    else:
        table.pop(identity, None)


def identity_of(path: Path) -> tuple[int, int]:
    st = path.stat()
    return st.st_dev, st.st_ino


def is_written_here(identity: tuple[int, int]) -> bool:
    with _lock:
        return identity in _writing


def is_open_here(identity: tuple[int, int]) -> bool:
    with _lock:
        return identity in _writing or identity in _reading
