"""What others may read of a run: files by their mode, secrets in what its program printed.

Looked at once a minute and after each checkpoint, never more: a handful of stats, and the new part of
stdout.log line by line against the patterns that mask recordings. No content is kept, of a secret only the
number of its line.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from dctop.engine.recording.masking import mask_text
from dctop.engine.training.runlog import RunReader

EVERY_NS = 60 * 10**9
MOST_FILES = 12
MOST_SECRETS = 4
SCAN_BYTES = 32 << 10
"""Of new output at one look: what a program prints beyond that in a minute is left to the next look."""
_LONGEST = 2000
_PUBLIC = ("/usr/", "/opt/", "/nix/", "/gnu/")
"""Installed software and its data: readable by everybody by design."""
Found = tuple[str, str, str]
"""(`checkpoint` | `log` | `data` | `secret`, path, mode or line)"""


class ExposureWatch:
    """One a run. `look` gives what was found so far."""

    def __init__(self) -> None:
        self.found: tuple[Found, ...] = ()
        self._files: tuple[Found, ...] = ()
        self._secrets: list[Found] = []
        self._due_ns = 0
        self._saved = 0
        self._offset = 0
        self._line = 0
        self._rest = b""

    def look(self, reader: RunReader, now_ns: int) -> tuple[Found, ...]:
        saved = len(reader.events) and sum(e.kind == "checkpoint" for e in reader.events[-4:])
        if now_ns < self._due_ns and saved == self._saved:
            return self.found
        self._due_ns, self._saved = now_ns + EVERY_NS, saved
        self._files = tuple(
            (kind, str(path), mode) for kind, path in _files(reader) if (mode := readable(path)) is not None
        )[:MOST_FILES]
        self._scan(reader.directory / "stdout.log")
        self.found = (*self._files, *self._secrets)
        return self.found

    def _scan(self, path: Path) -> None:
        if len(self._secrets) >= MOST_SECRETS:
            return
        try:
            with path.open("rb") as log:
                log.seek(self._offset)
                data = log.read(SCAN_BYTES)
        except OSError:
            return
        self._offset += len(data)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()[-_LONGEST:]
        for line in lines:
            self._line += 1
            text = line[:_LONGEST].decode("utf-8", "replace")
            if mask_text(text) != text and len(self._secrets) < MOST_SECRETS:
                self._secrets.append(("secret", str(path), f"line {self._line:,}"))


def _files(reader: RunReader) -> Iterator[tuple[str, Path]]:
    """The newest checkpoints, the logs, the data's files."""
    saved = [e.data.get("path") for e in reader.events if e.kind == "checkpoint"]
    for name in dict.fromkeys(p for p in saved[-3:] if isinstance(p, str)):
        yield "checkpoint", Path(name)
    for log in ("steps.jsonl", "stdout.log", "run.json"):
        yield "log", reader.directory / log
    folder = reader.fact("data_dir")
    if isinstance(folder, str) and not os.path.realpath(folder).startswith(_PUBLIC):
        try:
            with os.scandir(folder) as entries:
                names = sorted(e.path for e in entries if e.is_file(follow_symlinks=False))
        except OSError:
            return
        for name in names[:4]:
            yield "data", Path(name)


def readable(path: Path) -> str | None:
    """`0644` if everybody may read the file and enter all directories above it; else None."""
    try:
        mode = path.stat().st_mode
        if not mode & stat.S_IROTH:
            return None
        for folder in path.resolve().parents:
            if not folder.stat().st_mode & stat.S_IXOTH:
                return None
    except OSError:
        return None
    return f"{stat.S_IMODE(mode):04o}"
