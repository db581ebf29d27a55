"""Writes a run's log and its facts: `steps.jsonl` (append-only) and `run.json` (replaced whole).

Worker side: plain standard library, Python 3.9, nothing of dctop (docs/RUNLOG.md is the contract).
A full disk never stops the training: lines wait in memory until there is space, and a small reserve
that is given up at that moment makes room for the one line that says so.
"""

from __future__ import annotations

import errno
import json
import math
import os
import time
from collections.abc import Mapping
from functools import lru_cache

FORMAT = 1
FLUSH_S = 0.1
RETRY_S = 1.0
MAX_WAITING = 4 << 20
"""Bytes of lines kept in memory while they cannot be written; beyond that the oldest steps go."""
LOG_RESERVE = (".reserve-log", 64 << 10)
LAST_ROOM = 8 << 10
"""Of a full disk is left to the note about it and to whole blocks."""
END_RESERVE = (".reserve-end", 16 << 10)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_STEP_PREFIX = b'{"kind":"step"'


class RunDirectoryGone(Exception):
    """The run directory was removed while the run was going on."""


def number(value: int | float) -> str:
    """A JSON number with six significant digits; what JSON cannot say is a string: "nan" "inf" "-inf"."""
    if isinstance(value, int):
        return str(value)
    if math.isfinite(value):
        return f"{value:.6g}"
    return '"nan"' if math.isnan(value) else ('"inf"' if value > 0 else '"-inf"')


@lru_cache(maxsize=64)
def _template(keys: tuple[str, ...], kinds: tuple[type, ...]) -> tuple[str, list[int]]:
    """(the line of a step with such fields, to be filled with `%`: half the cost of field by field; where
    the words are)."""
    forms = {int: "%d", str: "%s"}
    parts = [f',"{key}":{forms.get(kind, "%.6g")}' for key, kind in zip(keys, kinds)]
    return '{"kind":"step"' + "".join(parts) + "}\n", [i for i, kind in enumerate(kinds) if kind is str]


_quoted = lru_cache(maxsize=64)(json.dumps)
"""The few words there are (the mode) come again and again."""


def encode_step(fields: Mapping[str, object]) -> bytes:
    """One step record: numbers and strings in the order given, None left out, `kind` first."""
    known = fields
    if None in fields.values():
        known = {key: value for key, value in fields.items() if value is not None}
    values = [*known.values()]
    fast, words = _template(tuple(known), tuple(map(type, values)))
    for i in words:
        values[i] = _quoted(values[i])
    line = fast % tuple(values)
    if "nan" not in line and "inf" not in line:
        return line.encode()
    parts = ['{"kind":"step"']
    for key, value in known.items():
        if isinstance(value, str):
            parts.append(f'"{key}":{json.dumps(value)}')
        else:
            parts.append(f'"{key}":{number(value)}')  # type: ignore[arg-type]
    return (",".join(parts) + "}\n").encode()


def finite(value: object) -> object:
    """The same with every non-finite float replaced as `number` writes it (JSON has none)."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    if isinstance(value, Mapping):
        return {str(k): finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(v) for v in value]
    return value


def encode_event(kind: str, text: str, step: int | None, data: Mapping[str, object] | None) -> bytes:
    record: dict[str, object] = {"kind": kind, "wall_ns": time.time_ns(), "step": step, "text": text}
    if data:
        record["data"] = finite(data)
    return json.dumps(record, separators=(",", ":"), allow_nan=False, default=str).encode() + b"\n"


def make_reserve(directory: str, reserve: tuple[str, int]) -> bool:
    """Take real blocks now that can be given back when the disk is full. False: no space for it."""
    path = os.path.join(directory, reserve[0])
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError:
        return False
    try:
        os.posix_fallocate(fd, 0, reserve[1])
    except OSError:
        os.unlink(path)
        return False
    finally:
        os.close(fd)
    return True


def drop_reserve(directory: str, reserve: tuple[str, int]) -> None:
    try:
        os.unlink(os.path.join(directory, reserve[0]))
    except OSError:
        pass


def write_json(path: str, value: Mapping[str, object]) -> None:
    """Replace a file whole: temporary name, fsync, rename. Raises OSError; the old one then stays."""
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as out:
            json.dump(finite(value), out, indent=1, default=str)
            out.write("\n")
            out.flush()
            os.fsync(out.fileno())
        os.replace(temporary, path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass
        raise


def read_json(path: str) -> dict[str, object]:
    with open(path, encoding="utf-8") as source:
        value = json.load(source)
    if not isinstance(value, dict):
        raise ValueError(f"{path}: not a JSON object")
    return value


def update_run(directory: str, **facts: object) -> bool:
    """Add facts to run.json. False if it could not be written (the `start` event has them as well)."""
    path = os.path.join(directory, "run.json")
    try:
        write_json(path, {**read_json(path), **facts})
    except (OSError, ValueError):
        return False
    return True


class RunLog:
    """Appends to `steps.jsonl`: steps at most 100 ms late, events at once.

    `steps_lost` counts step records given up because the disk stayed full.
    """

    def __init__(self, directory: str, name: str = "steps.jsonl") -> None:
        self.directory = directory
        self.steps_lost = 0
        self._fd = os.open(os.path.join(directory, name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lines: list[bytes] = []
        self._waiting = 0
        self._torn = b""
        """What is left of a line of which the disk took only the beginning."""
        self._blocked = False
        self._last_flush = time.monotonic()
        self._last_look = self._last_flush
        # One reserve a run: the other ranks' logs go without.
        self._reserved = name == "steps.jsonl"
        self._make_reserve()

    def step(self, fields: Mapping[str, object]) -> None:
        self._add(encode_step(fields))
        self.tick()

    def event(self, kind: str, text: str, step: int | None = None, /, **data: object) -> None:
        self._add(encode_event(kind, text, step, data))
        self.flush()

    def tick(self) -> None:
        """Write what is due. Call it now and then while no step ends (evaluation, a long batch)."""
        now = time.monotonic()
        if now - self._last_look >= RETRY_S:
            self._last_look = now
            self._check_directory()
        if now - self._last_flush >= (RETRY_S if self._blocked else FLUSH_S):
            self.flush()

    def flush(self) -> None:
        self._last_flush = time.monotonic()
        if not self._blocked:
            try:
                self._drain()
            except OSError as error:
                self._block(error)
        elif self._space():
            try:
                self._drain()
            except OSError:
                return  # a quota, for one, that statvfs does not know of
            self._blocked = False
            self._make_reserve()
            lost = f", {self.steps_lost:,} steps were lost" if self.steps_lost else ""
            self.event("note", "run log: space again" + lost, None, lost=self.steps_lost)

    def close(self) -> None:
        self.flush()
        if self._blocked:
            self._last_words()
        os.close(self._fd)
        self._drop_reserve()

    def _last_words(self) -> None:
        """The disk is still full. The events (why it ended) come first, then how many steps are given up,
        then as many as there is room for."""
        self._drop_reserve()
        steps = [line for line in self._lines if line.startswith(_STEP_PREFIX)]
        self._lines = [line for line in self._lines if not line.startswith(_STEP_PREFIX)]
        try:
            self._drain()
            room = os.fstatvfs(self._fd)
            left = room.f_bavail * room.f_frsize - LAST_ROOM
            fit = 0
            while fit < len(steps) and left >= len(steps[fit]):
                left -= len(steps[fit])
                fit += 1
            self.steps_lost += len(steps) - fit
            if self.steps_lost:
                text = f"run log: the disk stayed full: {self.steps_lost:,} steps were lost"
                self._lines.append(encode_event("note", text, None, {"lost": self.steps_lost}))
            self._lines += steps[:fit]
            self._drain()
        except OSError:
            pass

    def _make_reserve(self) -> None:
        if self._reserved:
            make_reserve(self.directory, LOG_RESERVE)

    def _drop_reserve(self) -> None:
        if self._reserved:
            drop_reserve(self.directory, LOG_RESERVE)

    def _add(self, line: bytes) -> None:
        self._lines.append(line)
        if self._blocked:
            self._waiting += len(line)
            if self._waiting > MAX_WAITING:
                self._shed()

    def _shed(self) -> None:
        """Give up the older half of the waiting steps; events stay."""
        steps = [i for i, line in enumerate(self._lines) if line.startswith(_STEP_PREFIX)]
        gone = set(steps[: max(1, len(steps) // 2)])
        self.steps_lost += len(gone)
        self._lines = [line for i, line in enumerate(self._lines) if i not in gone]
        self._waiting = sum(map(len, self._lines))

    def _drain(self) -> None:
        """Write everything waiting, one write for all; what was not taken stays. Raises OSError."""
        if not self._lines and not self._torn:
            return
        data = self._torn + b"".join(self._lines)
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        finally:
            self._keep_rest(data[done:], data[:done])

    def _keep_rest(self, rest: bytes, written: bytes) -> None:
        self._torn, self._lines = b"", []
        if rest:
            inside = bool(written) and not written.endswith(b"\n")
            lines = rest.splitlines(keepends=True)
            if inside:
                self._torn = lines.pop(0)
            self._lines = lines
        self._waiting = len(rest)

    def _block(self, error: OSError) -> None:
        """The log cannot be written: say so with the reserve's room, keep the lines, go on training."""
        self._blocked = True
        waiting = self._lines
        why = os.strerror(error.errno) if error.errno else str(error)
        text = f"run log: {why.lower()}: steps wait in memory until it can be written"
        data: dict[str, object] = {
            "error": "disk-full" if error.errno in _NO_SPACE else "io",
            "errno": error.errno,
        }
        note = encode_event("note", text, None, data)
        events = [line for line in waiting if not line.startswith(_STEP_PREFIX)]
        self._drop_reserve()
        self._lines = [*events, note]
        try:
            self._drain()
        except OSError:
            pass
        self._lines += [line for line in waiting if line.startswith(_STEP_PREFIX)]
        self._waiting = sum(map(len, self._lines))

    def _space(self) -> bool:
        try:
            room = os.fstatvfs(self._fd)
        except OSError:
            return False
        return room.f_bavail * room.f_frsize >= self._waiting + LOG_RESERVE[1]

    def _check_directory(self) -> None:
        """Raises RunDirectoryGone: a log nobody can ever read again is no log."""
        try:
            links = os.fstat(self._fd).st_nlink
        except OSError:
            return
        if links == 0:
            raise RunDirectoryGone(f"the run directory was removed: {self.directory}")
