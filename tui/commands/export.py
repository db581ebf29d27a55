"""`dctop export FILE --to FORMAT`: a recording for other programs."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError
from dctop.tui.ranges import (
    add_range,
    add_redact,
    open_file,
    output,
    range_of,
    redacted,
    refuse_source,
    temporary,
)

if TYPE_CHECKING:
    from dctop.engine.export.tables import Scope
    from dctop.engine.recording.reader import Recording

NAME = "export"
HELP = TABLE[NAME]
TABLES = ("metrics", "processes", "steps", "events")
FORMATS = ("csv", "jsonl", "parquet", "perfetto", "openmetrics")
_SUFFIX = {"perfetto": "perfetto.json", "openmetrics": "openmetrics.txt"}


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, also one still being written")
    parser.add_argument("--to", choices=FORMATS, required=True, help="the format")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="OUT",
        help="a file, or a directory for a file a table (default: standard output; parquet needs it)",
    )  # fmt: skip
    parser.add_argument(
        "--table",
        choices=(*TABLES, "all"),
        help="csv, jsonl, parquet: which (metrics; into a directory: all)",
    )
    parser.add_argument(
        "--metric", nargs="+", action="extend", metavar="ID", default=[],
        help="only these: cpu, cpu.util_pct, 'disk.*{disk=nvme*}' ... (all)",
    )  # fmt: skip
    add_range(parser)
    add_redact(parser)
    parser.epilog = "docs/EXPORT.md describes the tables and their columns."


def run(args: Namespace) -> int:
    from dctop.engine.export.parquet import pyarrow
    from dctop.engine.export.tables import ExportError, Scope
    from dctop.engine.recording.schema import RecordingError

    if args.table is not None and args.to not in ("csv", "jsonl", "parquet"):
        raise CommandError(f"--table: {args.to} is one document of everything: leave it out")
    try:
        if args.to == "parquet":
            if args.output is None or str(args.output) == "-":
                raise CommandError("parquet needs a place: name a file or a directory with -o")
            pyarrow()
        with open_file(args.file) as recording:
            part = range_of(args, recording)
            scope = Scope(part.t0, part.t1, tuple(args.metric))
            keys = _asked(recording, scope)
            if not args.redact:
                return _export(recording, scope, args)
            with redacted(recording) as (copy, redactor):
                scope = replace(scope, metrics=tuple(map(redactor.series, keys)))
                return _export(copy, scope, args)
    except (ExportError, RecordingError) as e:
        raise CommandError(str(e), 1) from None


def _export(recording: Recording, scope: Scope, args: Namespace) -> int:
    if args.to in ("csv", "jsonl", "parquet"):
        return _tables(recording, scope, args)
    return _document(recording, scope, args)


def _asked(recording: Recording, scope: Scope) -> list[str]:
    """The series that are asked for by name; none: all. Refuses a filter that matches nothing."""
    from dctop.engine.config import suggest
    from dctop.engine.export.tables import matches, metric_columns
    from dctop.engine.recording.facts import series_keys

    if not scope.metrics:
        return []
    known = [c.name for c in metric_columns(recording, scope)]
    for want in scope.metrics:
        if not any(matches(want, key) for key in known):
            ids = sorted({key.partition("{")[0] for key in series_keys(recording)})
            near = suggest(want.partition("{")[0], ids).partition(": remove")[0]
            raise CommandError(
                f"no series {want} in {recording.path}{near or ': docs/METRICS.md lists them'}"
            )
    return [key for key in known if scope.takes(key)]


def _document(recording: Recording, scope: Scope, args: Namespace) -> int:
    from dctop.engine.export.openmetrics import write_openmetrics
    from dctop.engine.export.perfetto import write_perfetto

    path: Path | None = args.output
    if path is not None and path.is_dir():
        path = path / f"{args.file.stem}.{_SUFFIX[args.to]}"
    with output(path, args.file) as out:
        if args.to == "perfetto":
            write_perfetto(recording, scope, out)
        elif skipped := write_openmetrics(recording, scope, out):
            print(f"dctop: {skipped} samples left out: the clock had been set back", file=sys.stderr)
    return 0


def _tables(recording: Recording, scope: Scope, args: Namespace) -> int:
    path: Path | None = args.output
    named_all = path is not None and not path.suffix and (args.table == "all" or args.to == "parquet")
    folder = path is not None and (path.is_dir() or (str(args.output) != "-" and named_all))
    asked: str = args.table or ("all" if folder else "metrics")
    names: Sequence[str] = TABLES if asked == "all" else (asked,)
    if asked == "all" and not folder and args.to != "jsonl":
        raise CommandError(f"several tables of {args.to} need a directory: name one with -o DIR")
    if not folder:
        _write(recording, scope, args.to, names, path, args.file)
        return 0
    assert path is not None
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as e:
        raise CommandError(f"{path} cannot be made ({e.strerror}): name another place", 1) from None
    for name in names:
        _write(recording, scope, args.to, (name,), path / f"{name}.{args.to}", args.file)
    return 0


def _write(
    recording: Recording, scope: Scope, to: str, names: Sequence[str], path: Path | None, source: Path
) -> None:
    """Again from the start where a series turned up that the file did not name (its directory of series is
    damaged)."""
    from dctop.engine.export.parquet import write_parquet
    from dctop.engine.export.tables import NewSeries, table
    from dctop.engine.export.text import write_csv, write_jsonl

    extra: set[str] = set()
    while True:
        try:
            if to == "parquet":
                assert path is not None
                with temporary(path, source) as made:
                    columns, rows = table(recording, names[0], scope, extra)
                    write_parquet(columns, rows, made, recording.meta)
                return
            if path is not None:
                refuse_source(path, source)
            with output(path, source) as out:
                for name in names:
                    columns, rows = table(recording, name, scope, extra)
                    if to == "csv":
                        write_csv(columns, rows, out)
                    else:
                        write_jsonl(name, columns, rows, out)
            return
        except NewSeries as e:
            if path is None or not e.extra - extra:
                raise CommandError(
                    f"the list of series in {source} is damaged: run `dctop rec repair` on it first", 1
                ) from None
            extra |= e.extra
