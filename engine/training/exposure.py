"""What others may read of a run: files by their mode, secrets in what its program printed.

Looked at once a minute and after each checkpoint, by a thread: a handful of stats, and the new part of
stdout.log line by line against the patterns that mask recordings (30 us a line). No content is kept, of a
secret only the number of its line.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from dctop.engine.training.runlog import RunReader

EVERY_NS = 60 * 10**9
SOON_NS = 5 * 10**9
"""After a new checkpoint, but not more often than this."""
MOST_FILES = 12
MOST_SECRETS = 4
SCAN_BYTES = 128 << 10
"""Of new output at one look: what a program prints beyond that in a minute is left to the next look."""
_LONGEST = 2000
_PUBLIC = ("/usr/", "/opt/", "/nix/", "/gnu/")
"""Installed software and its data: readable by everybody by design."""
Found = tuple[str, str, str]
"""(`checkpoint` | `log` | `data` | `secret`, path, mode or line)"""


class Place(NamedTuple):
    """Where a run's files are."""

    directory: Path
    checkpoints: tuple[str, ...]
    data: str | None

    @classmethod
    def of(cls, reader: RunReader) -> Place:
        saved = (e.data.get("path") for e in reader.events if e.kind == "checkpoint")
        names = tuple(dict.fromkeys(p for p in saved if isinstance(p, str)))
        data = reader.fact("data_dir")
        return cls(reader.directory, names[-3:], data if isinstance(data, str) else None)

    def files(self) -> Iterator[tuple[str, Path]]:
        """The newest checkpoints, the logs, the first of the data's files that are the run's owner's: others'
        are not theirs to close."""
        for name in self.checkpoints:
            yield "checkpoint", Path(name)
        for log in ("steps.jsonl", "stdout.log", "run.json"):
            yield "log", self.directory / log
        if self.data is None or os.path.realpath(self.data).startswith(_PUBLIC):
            return
        try:
            owner = self.directory.stat().st_uid
            with os.scandir(self.data) as entries:
                files = [e for e in entries if e.is_file(follow_symlinks=False)]
            names = sorted(e.path for e in files if e.stat().st_uid == owner)
        except OSError:
            return
        for name in names[:4]:
            yield "data", Path(name)


class ExposureWatch:
    """One a run. `look` gives what was found so far and, when it is time, has a thread look again: a file
    system may hang, and patterns cost milliseconds."""

    def __init__(self) -> None:
        self.found: tuple[Found, ...] = ()
        self._secrets: list[Found] = []
        self._due_ns = 0
        self._saved = 0
        self._offset = 0
        self._line = 0
        self._rest = b""
        self._thread: threading.Thread | None = None

    def look(self, reader: RunReader, now_ns: int) -> tuple[Found, ...]:
        saved = max((e.wall_ns for e in reader.events[-8:] if e.kind == "checkpoint"), default=0)
        busy = self._thread is not None and self._thread.is_alive()
        fresh = saved > self._saved and now_ns >= self._due_ns - EVERY_NS + SOON_NS
        if not busy and (now_ns >= self._due_ns or fresh):
            self._due_ns, self._saved = now_ns + EVERY_NS, max(saved, self._saved)
            place = Place.of(reader)
            self._thread = threading.Thread(
                target=self.examine, args=(place,), name="dctop-exposure", daemon=True
            )
            self._thread.start()
        return self.found

    def wait(self) -> tuple[Found, ...]:
        """What is found once the thread is through."""
        if self._thread is not None:
            self._thread.join()
        return self.found

    def examine(self, place: Place) -> None:
        files = [
            (kind, str(path), mode) for kind, path in place.files() if (mode := readable(path)) is not None
        ]
        self._scan(place.directory / "stdout.log")
        self.found = (*files[:MOST_FILES], *self._secrets)

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
        from dctop.engine.recording.masking import mask_text  # a dozen patterns: when there is a log to read

        for line in lines:
            self._line += 1
            text = line[:_LONGEST].decode("utf-8", "replace")
            if mask_text(text) != text and len(self._secrets) < MOST_SECRETS:
                self._secrets.append(("secret", str(path), f"line {self._line:,}"))


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
