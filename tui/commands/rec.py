"""`dctop rec info FILE`: what a recording holds, and whether all of it can be read."""

from __future__ import annotations

import json
import time
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError

if TYPE_CHECKING:
    from dctop.engine.recording.reader import RecordingInfo

NAME = "rec"
HELP = TABLE[NAME]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("action", choices=("info",), help="info: what it holds, what is damaged or missing")
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, also one still being written")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")


def run(args: Namespace) -> int:
    from dctop.engine.recording.reader import RecordingError, open_recording

    try:
        with open_recording(args.file) as recording:
            recording.check()
            info = recording.info
            counts: dict[str, int] = {}
            for event in recording.events():
                counts[event.kind] = counts.get(event.kind, 0) + 1
    except RecordingError as e:
        raise CommandError(str(e), 1) from None
    if args.json:
        print(json.dumps(document(info, counts), ensure_ascii=False))
    else:
        print("\n".join(lines(info, counts)))
    return 0


def document(info: RecordingInfo, events: dict[str, int]) -> dict[str, object]:
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
        "meta": dict(info.meta),
    }


def lines(info: RecordingInfo, events: dict[str, int]) -> list[str]:
    from dctop.tui.draw.units import duration, iec

    def clock(wall_ns: int) -> str:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / 1e9))

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
        f"from      {clock(info.start_wall_ns)}",
        f"to        {clock(info.end_wall_ns)} ({duration(info.duration_s, 0).strip()})",
        f"frames    {info.frames}, one every {info.interval_s:g} s",
        f"state     {state}",
        f"size      {iec(info.size_bytes)}: "
        + ", ".join(f"{name} {iec(n)}" for name, n in info.table_bytes.items() if n),
        "events    " + (", ".join(f"{n} {kind}" for kind, n in sorted(events.items())) or "none"),
    ]
    shown = info.gaps[:10]
    for gap in shown:
        out.append(f"gap       {clock(gap.t0)} - {clock(gap.t1)}: {gap.reason}")
    if len(info.gaps) > len(shown):
        out.append(f"          and {len(info.gaps) - len(shown)} more gaps")
    out += [f"damage    {problem}" for problem in info.problems]
    return out
