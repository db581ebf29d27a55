"""What the probes share for reading small text files: whole reads, numbers or None, one-line reasons.

Nothing here raises on content. Numbers are what the kernel can print: an unsigned 64-bit integer, a
finite decimal; anything else is None.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path

U64_MAX = (1 << 64) - 1
MAX_FILE = 64 << 20
"""Reading stops here: no statistics file is as long, a strange one must not fill the memory."""


def read_whole(path: str | Path, limit: int = MAX_FILE) -> bytes:
    """Open, read to the end (at most about `limit` bytes), close. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        parts: list[bytes] = []
        total = 0
        while total < limit and (data := os.read(fd, 65536)):
            parts.append(data)
            total += len(data)
        return b"".join(parts)
    finally:
        os.close(fd)


def read_some(path: str | Path, size: int = 4096) -> bytes | None:
    """The first `size` bytes of a small file (one value of sysfs); None where it cannot be read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):
        return None
    try:
        return os.read(fd, size)
    except OSError:
        return None
    finally:
        os.close(fd)


def number(text: bytes | None) -> int | None:
    """An unsigned 64-bit decimal integer, surrounding white space allowed."""
    if text is None or len(text) > 64:
        return None
    try:
        n = int(text)
    except ValueError:
        return None
    return n if 0 <= n <= U64_MAX else None


def decimal(text: bytes) -> float | None:
    """A finite, not negative decimal number."""
    if len(text) > 64:
        return None
    try:
        x = float(text)
    except ValueError:
        return None
    return x if x >= 0.0 and math.isfinite(x) else None


def printable(text: bytes, limit: int = 4096) -> str:
    """Text from outside as one printable line: control and undecodable bytes become U+FFFD."""
    decoded = text[:limit].decode("utf-8", "replace")
    if decoded.isprintable():
        return decoded
    return "".join(c if c.isprintable() else "�" for c in decoded)


def reason(path: str | Path, e: OSError) -> str:
    """`/proc/stat: Permission denied`."""
    return f"{os.fspath(path)}: {e.strerror or type(e).__name__}"


def strange(path: str | Path) -> str:
    return f"{os.fspath(path)}: content not understood"


def pick(data: bytes, names: Iterable[bytes]) -> dict[bytes, int | None]:
    """`name value` lines (memory.stat, cpu.stat) -> the wanted ones; None where missing or no number."""
    out: dict[bytes, int | None] = {}
    text = b"\n" + data
    for name in names:
        at = text.find(b"\n" + name + b" ")
        if at < 0:
            out[name] = None
            continue
        start = at + len(name) + 2
        end = text.find(b"\n", start)
        out[name] = number(text[start : end if end >= 0 else len(text)])
    return out
