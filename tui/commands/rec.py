"""`dctop rec info|cut|redact|repair FILE`: look after a recording. The file itself is never changed."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError
from dctop.tui.ranges import Range, add_range, open_file, range_of, refuse_source

if TYPE_CHECKING:
    from dctop.engine.recording.facts import Held
    from dctop.engine.recording.reader import Recording, RecordingInfo
    from dctop.engine.recording.rewrite import Changer

NAME = "rec"
HELP = TABLE[NAME]
_ACTIONS = {
    "info": "what it holds, what is damaged or missing",
    "cut": "a range of time as a recording of its own",
    "redact": "a copy to share: hosts, users, command lines, paths, addresses, jobs become pseudonyms",
    "repair": "a new file of all that can still be read of a damaged or unclosed one",
}


def configure(parser: ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="{info,cut,redact,repair}", required=True)
    for name, text in _ACTIONS.items():
        sub = actions.add_parser(name, help=text, description=f"{text[:1].upper()}{text[1:]}.")
        sub.add_argument("file", type=Path, metavar="FILE", help="a recording, also one still being written")
        if name == "info":
            sub.add_argument("--json", action="store_true", help="one JSON document on standard output")
            continue
        sub.add_argument(
            "-o", "--output", type=Path, metavar="OUT", help=f"the new file (FILE with .{name} in its name)"
        )
        if name != "repair":
            add_range(sub, plain=True)


def run(args: Namespace) -> int:
    if args.action == "info":
        return _info(args)
    target: Path = args.output or args.file.with_name(f"{args.file.stem}.{args.action}.dctop")
    refuse_source(target, args.file)
    if target.exists():
        raise CommandError(f"{target} exists: a recording is never overwritten, name another with -o", 1)
    with open_file(args.file) as recording:
        part = Range(None, None) if args.action == "repair" else range_of(args, recording)
        if args.action == "cut" and part == (None, None):
            raise CommandError("cut which range? Give --begin, --end or both (-b 14:02 -e 14:10)")
        return _rewrite(recording, args.action, target, part)


def _rewrite(recording: Recording, action: str, target: Path, part: Range) -> int:
    import sqlite3

    from dctop.engine.recording.redaction import Redactor, redactor_of
    from dctop.engine.recording.rewrite import rewrite
    from dctop.engine.recording.schema import RecordingError
    from dctop.tui.draw.units import grouped, iec

    redactor: Redactor | None = redactor_of(recording) if action == "redact" else None
    changer: Changer | None = redactor
    word = {"cut": "cut", "redact": "redacted", "repair": "repaired"}[action]
    try:
        made = rewrite(recording, target, what=word, t0_ns=part.t0, t1_ns=part.t1, changer=changer)
    except RecordingError as e:
        raise CommandError(str(e), 1) from None
    except (OSError, sqlite3.Error) as e:
        raise CommandError(f"{target} cannot be written ({e}): name another place with -o", 1) from None
    span = f", {_clock(made.t0_ns)} to {_clock(made.t1_ns)}" if made.frames else ""
    print(
        f"{target}: {grouped(made.frames)} frames{span}, {made.events} events, "
        f"{grouped(made.steps)} training steps, {iec(target.stat().st_size)}"
    )
    for problem in made.left_out:
        print(f"left out  {problem}")
    if redactor is not None:
        print("replaced  " + (", ".join(f"{n} {k}" for k, n in redactor.summary.items()) or "nothing"))
        words = [e for e in recording.events() if e.kind in ("marker", "note")]
        if words:
            print(f"kept      the words of {len(words)} markers and notes: read them before you share")
    return 0


def _info(args: Namespace) -> int:
    from dctop.engine.recording.facts import held

    with open_file(args.file) as recording:
        recording.check()
        info = recording.info
        found = held(recording)
        counts: dict[str, int] = {}
        for event in recording.events():
            counts[event.kind] = counts.get(event.kind, 0) + 1
    if args.json:
        print(json.dumps(document(info, counts, found), ensure_ascii=False))
    else:
        print("\n".join(lines(info, counts, found)))
    return 0


def document(info: RecordingInfo, events: dict[str, int], found: Held) -> dict[str, object]:
    """What `--json` prints. Times are wall clock in ns."""
    return {
        "schema": 1,
        "path": str(info.path),
        "format": info.format,
        "app": info.app,
        "host": info.host,
        "start_wall_ns": info.start_wall_ns,
        "end_wall_ns": info.end_wall_ns,
        "duration_s": info.duration_s,
        "interval_s": info.interval_s,
        "frames": info.frames,
        "live": info.live,
        "closed": info.closed,
        "close_reason": info.close_reason,
        "recovered": info.recovered,
        "bad_chunks": info.bad_chunks,
        "gaps": [{"t0_ns": g.t0, "t1_ns": g.t1, "reason": g.reason} for g in info.gaps],
        "problems": list(info.problems),
        "size_bytes": info.size_bytes,
        "content_bytes": dict(info.table_bytes),
        "events": events,
        "series": dict(found.series),
        "runs": [
            {"id": r.id, "workload": r.workload, "status": r.status, "steps": r.steps} for r in found.runs
        ],
        "alerts": dict(found.alerts),
        "meta": dict(info.meta),
    }


def lines(info: RecordingInfo, events: dict[str, int], found: Held) -> list[str]:
    from dctop.tui.draw.units import duration, grouped, iec

    if info.live:
        state = "being written now"
    elif info.closed:
        state = f"closed ({info.close_reason or 'no reason given'})"
    else:
        state = info.recovered or "not closed"
    where = " ".join(x for x in (info.meta.get("kernel"), info.meta.get("boot_id")) if x)
    out = [
        f"file      {info.path}",
        f"host      {info.host}" + (f" ({where})" if where else ""),
        f"made by   {info.app}, format {info.format}",
        f"from      {_clock(info.start_wall_ns)}",
        f"to        {_clock(info.end_wall_ns)} ({duration(info.duration_s, 0).strip()})",
        f"frames    {info.frames}, one every {info.interval_s:g} s",
        f"state     {state}",
        f"size      {iec(info.size_bytes)}: "
        + ", ".join(f"{name} {iec(n)}" for name, n in info.table_bytes.items() if n),
        f"series    {sum(found.series.values())}: "
        + ", ".join(f"{n} {probe}" for probe, n in found.series.items()),
        "events    " + (", ".join(f"{n} {kind}" for kind, n in sorted(events.items())) or "none"),
        "alerts    " + (", ".join(f"{n} {rule}" for rule, n in found.alerts.items()) or "none"),
    ]
    out += [f"run       {r.id}: {r.status}, {grouped(r.steps)} steps recorded" for r in found.runs]
    if "derived" in info.meta:
        out.insert(3, f"derived   {info.meta['derived']}")
    return out + _troubles(info)


def _troubles(info: RecordingInfo) -> list[str]:
    shown = info.gaps[:10]
    out = [f"gap       {_clock(gap.t0)} - {_clock(gap.t1)}: {gap.reason}" for gap in shown]
    if len(info.gaps) > len(shown):
        out.append(f"          and {len(info.gaps) - len(shown)} more gaps")
    return out + [f"damage    {problem}" for problem in info.problems]


def _clock(wall_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / 1e9))
