"""A range of time, names replaced and where to write to, as options: alike in `report`, `export`, `plot` and
`rec cut`."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TextIO

from dctop.tui.commands import CommandError
from dctop.tui.dialogs.times import HINT, moment_ns

if TYPE_CHECKING:
    from dctop.engine.recording.reader import Recording
    from dctop.engine.recording.redaction import Redactor


class Range(NamedTuple):
    """Wall times in ns; None: the recording's own end."""

    t0: int | None
    t1: int | None


def add_range(parser: ArgumentParser, *, plain: bool = False) -> None:
    """`plain`: also as --from and --to, where that is not the format."""
    begin, end = (("--from",), ("--to",)) if plain else ((), ())
    parser.add_argument("-b", "--begin", *begin, metavar="TIME", help=f"from there on: {HINT}")
    parser.add_argument("-e", "--end", *end, metavar="TIME", help="up to there")


def moment(text: str, recording: Recording, option: str) -> int:
    """`+90s` counts from the beginning, `-5m` from the end. Raises CommandError."""
    t0, t1 = recording.time_range or (0, 0)
    at = moment_ns(text, t1 if text.strip().startswith("-") else t0, t0, t1)
    if at is None:
        raise CommandError(f"{option} {text}: not a moment ({HINT})")
    return at


def range_of(args: Namespace, recording: Recording) -> Range:
    """Raises CommandError where the range holds nothing."""
    begin = None if args.begin is None else moment(args.begin, recording, "--begin")
    end = None if args.end is None else moment(args.end, recording, "--end")
    if begin is not None and end is not None and begin > end:
        raise CommandError("--begin is after --end: swap them")
    t0, t1 = recording.wall_range or (0, 0)
    if (begin is not None and begin > t1) or (end is not None and end < t0):
        raise CommandError(
            f"nothing was recorded then: {recording.path} holds {_clock(t0)} to {_clock(t1)}", 1
        )
    return Range(begin, end)


def _clock(wall_ns: int) -> str:
    from datetime import datetime

    return f"{datetime.fromtimestamp(wall_ns / 1e9):%Y-%m-%d %H:%M:%S}"


def open_file(path: Path) -> Recording:
    """The recording. Raises CommandError."""
    from dctop.engine.recording.reader import RecordingError, open_recording

    try:
        return open_recording(path)
    except RecordingError as e:
        raise CommandError(str(e), 1) from None


REDACTED = "redacted.dctop"
"""How a redacted copy is called: the name of the recording may tell what was replaced in it."""


def add_redact(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--redact", action="store_true",
        help="to share: hosts, users, command lines, paths, addresses, jobs become pseudonyms",
    )  # fmt: skip


@contextlib.contextmanager
def redacted(recording: Recording) -> Iterator[tuple[Recording, Redactor]]:
    """A copy of all of it without names, in the temporary directory and for its owner only; gone afterwards,
    also after an error, ctrl-c or SIGTERM. Raises CommandError."""
    import sqlite3

    from dctop.engine.recording.reader import open_recording
    from dctop.engine.recording.redaction import redactor_of
    from dctop.engine.recording.rewrite import rewrite
    from dctop.engine.recording.schema import RecordingError
    from dctop.tui.terminal import ended_by_signals

    with ended_by_signals(failing=True), contextlib.ExitStack() as kept:
        try:
            folder = Path(kept.enter_context(tempfile.TemporaryDirectory(prefix="dctop-redact-")))
            redactor = redactor_of(recording)
            made = rewrite(recording, folder / REDACTED, what="redacted", changer=redactor)
            copy = kept.enter_context(open_recording(made.path))
        except RecordingError as e:
            raise CommandError(str(e), 1) from None
        except (OSError, sqlite3.Error) as e:
            where = tempfile.gettempdir()
            raise CommandError(
                f"no copy can be made in {where} ({e}): free some space or set TMPDIR", 1
            ) from None
        words = sum(e.kind in ("marker", "note") for e in recording.events())
        told = [f"{redactor.text(problem)}: left out" for problem in made.left_out]
        if words:
            told.append(f"the words of {words} markers and notes were kept: read them before you share")
        for line in told:
            print(f"dctop: {line}", file=sys.stderr)
        yield copy, redactor


@contextlib.contextmanager
def output(path: Path | None, source: Path) -> Iterator[TextIO]:
    """A text file of mode 0600 that appears under its name when it is whole; None or `-`: standard output.
    Raises CommandError where it cannot be written."""
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    with temporary(path, source) as made, open(made, "w", encoding="utf-8", newline="") as f:
        yield f


@contextlib.contextmanager
def temporary(path: Path, source: Path) -> Iterator[Path]:
    """A new file of mode 0600 beside `path`, which it becomes when all went well. What is there and is not a
    file (/dev/null, a pipe) is written to as it is: replaced, it would be gone."""
    refuse_source(path, source)
    path = path.resolve()  # what a link leads to, not the link
    if path.exists() and not path.is_file():
        try:
            yield path
        except OSError as e:
            raise CommandError(
                f"{path} cannot be written ({e.strerror or e}): name another place", 1
            ) from None
        return
    try:
        fd, name = tempfile.mkstemp(prefix=f".{path.name[:80]}.", dir=path.parent)
    except OSError as e:
        raise CommandError(
            f"{path} cannot be written ({e.strerror}): name another place with -o", 1
        ) from None
    os.close(fd)
    made = Path(name)
    try:
        yield made
        made.replace(path)
    except OSError as e:
        raise CommandError(f"{path} cannot be written ({e.strerror or e}): name another place", 1) from None
    finally:
        made.unlink(missing_ok=True)


def refuse_source(path: Path, source: Path) -> None:
    """Never overwrite the recording that is read, nor a directory."""
    with contextlib.suppress(OSError):
        if path.samefile(source):
            raise CommandError(f"{path} is the recording itself: choose another name")
    if path.is_dir():
        raise CommandError(f"{path} is a directory: name a file in it")
