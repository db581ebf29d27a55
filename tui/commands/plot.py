"""`dctop plot FILE METRIC...`: series of a recording as a chart in the terminal, or as plain text."""

from __future__ import annotations

import os
import shutil
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError
from dctop.tui.ranges import Range, add_range, add_redact, moment, open_file, range_of, redacted

if TYPE_CHECKING:
    from dctop.engine.recording.reader import Recording
    from dctop.engine.report.blocks import Point

NAME = "plot"
HELP = TABLE[NAME]
MOST = 8
"""Series in one chart."""
AROUND_S = 300.0
"""`--at` shows so much before and after."""


def geometry(text: str) -> tuple[int, int]:
    """Argument type: `100x30` -> (columns, rows)."""
    left, x, right = text.lower().partition("x")
    if not (x and left.isdecimal() and right.isdecimal()):
        raise ArgumentTypeError(f"{text!r} is not a size (100x30)")
    size = int(left), int(right)
    if not (20 <= size[0] <= 1000 and 5 <= size[1] <= 500):
        raise ArgumentTypeError(f"{text} is too small or too large (20x5 to 1000x500)")
    return size


def configure(parser: ArgumentParser) -> None:
    from dctop.tui.commands.record import span

    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, also one still being written")
    parser.add_argument(
        "metric", nargs="+", metavar="METRIC",
        help="cpu.util_pct, 'disk.*_bytes_per_s', 'gpu.util_pct{gpu=GPU-1*}', train.loss, train.step_s ...",
    )  # fmt: skip
    add_range(parser, plain=True)
    add_redact(parser)
    parser.add_argument("--at", metavar="TIME", help="around that moment (--span before and after it)")
    parser.add_argument("--span", type=span, default=AROUND_S, metavar="T", help="90s, 5m, 1h (5m)")
    parser.add_argument("--size", type=geometry, metavar="WxH", help="columns and rows (the terminal's)")
    parser.add_argument("--plain", action="store_true", help="plain text, also in a terminal")


def run(args: Namespace) -> int:
    from dctop.engine.recording.schema import RecordingError

    with open_file(args.file) as recording:
        part = _range(args, recording)
        whole = recording.wall_range
        if whole is None:
            raise CommandError(f"{args.file}: no frame in it: nothing to plot", 1)
        t0, t1 = max(whole[0], part.t0 or whole[0]), min(whole[1], part.t1 or whole[1])
        keys = _chosen(recording, args.metric)
        asked = {k for k in keys if k in args.metric}
        gaps = [(g.t0, g.t1) for g in recording.gaps]
        try:
            if args.redact:  # what a mount or a container is called stands in the label of its series
                with redacted(recording) as (copy, redactor):
                    keys, asked = list(map(redactor.series, keys)), set(map(redactor.series, asked))
                    curves = _curves(copy, keys, t0, max(t1, t0 + 1))
            else:
                curves = _curves(recording, keys, t0, max(t1, t0 + 1))
        except RecordingError as e:
            raise CommandError(str(e), 1) from None
    read = {k for k, points in curves.items() if any(p.mean is not None for p in points)}
    if not read:
        raise CommandError(f"{', '.join(keys)}: nothing was read of it in that range", 1)
    # What a pattern found and nothing is known of (a run of another time) was not asked for.
    curves = {k: points for k, points in curves.items() if k in read or k in asked}
    if args.plain or not sys.stdout.isatty():
        print("\n".join(_text(curves, args.size)))
    else:
        _draw(curves, t0, t1, args.size, gaps)
    return 0


def _range(args: Namespace, recording: Recording) -> Range:
    if args.at is None:
        return range_of(args, recording)
    if args.begin is not None or args.end is not None:
        raise CommandError("--at and --begin, --end exclude each other: leave one out")
    at = moment(args.at, recording, "--at")
    reach = int(args.span * 1e9)
    t0, t1 = recording.wall_range or (at, at)
    if not t0 - reach <= at <= t1 + reach:
        raise CommandError(f"nothing was recorded around {args.at}: see `dctop rec info {args.file}`", 1)
    return Range(at - reach, at + reach)


def _chosen(recording: Recording, wanted: Sequence[str]) -> list[str]:
    """Series keys; of training `train.FIELD{run=ID}`. Raises CommandError."""
    from dctop.engine.config import suggest
    from dctop.engine.export.tables import Scope, all_values, matches, snapshots
    from dctop.engine.metrics.derived import CATALOGUE
    from dctop.engine.recording.facts import series_keys
    from dctop.engine.training.runstate import STEP_FIELDS
    from dctop.probes.base import series

    known = set(series_keys(recording))
    span = recording.time_range
    if span is not None:  # what is too new for a rollup
        for snap in snapshots(recording, Scope(t0=span[1])):
            known |= all_values(snap).keys()
    numeric = {
        k for k in known
        if (m := CATALOGUE.get(k.partition("{")[0])) is None or m.kind == "gauge"
    }  # fmt: skip
    for run in recording.every_run():
        numeric |= {series(f"train.{f}", run=run.id) for f in STEP_FIELDS if f != "wall_ns"}
    out: list[str] = []
    for want in wanted:
        found = sorted(k for k in numeric if matches(want, k) and k not in out)
        if not found and not any(matches(want, k) for k in out):
            counter = CATALOGUE.get(want.partition("{")[0])
            if counter is not None and counter.rate is not None:
                raise CommandError(f"{want} is a counter: plot its rate, {counter.rate}")
            ids = sorted({k.partition("{")[0] for k in numeric})
            near = suggest(want.partition("{")[0], ids).partition(": remove")[0]
            raise CommandError(
                f"no series {want} in {recording.path}{near or ': docs/METRICS.md lists them'}"
            )
        out += found
    if len(out) > MOST:
        raise CommandError(
            f"{len(out)} series are too many for one chart: name {MOST} at most ({out[0]} ...)"
        )
    return out


def _curves(recording: Recording, keys: Sequence[str], t0: int, t1: int) -> dict[str, list[Point]]:
    from dctop.engine.report.charts import curves_of, step_points
    from dctop.probes.base import split_series

    runs = {r.id: r for r in recording.every_run()} if any(k.startswith("train.") for k in keys) else {}
    node = curves_of(recording, [k for k in keys if not k.startswith("train.")], t0, t1)
    out = {}
    for key in keys:
        if key.startswith("train."):
            name, labels = split_series(key)
            out[key] = step_points(runs[labels["run"]], name.removeprefix("train."), t0, t1)
        else:
            out[key] = node[key]
    return out


def _text(curves: Mapping[str, Sequence[Point]], size: tuple[int, int] | None) -> list[str]:
    """A line of blocks a series, a space where nothing is known, and its numbers."""
    from dctop.engine.report.factors import unit_of
    from dctop.engine.report.units import quantity, spark, utc

    width = (size or (100, 0))[0]
    names = max(map(len, curves))
    points = [p for found in curves.values() for p in found]
    first, last = min(p.t_ns for p in points), max(p.t_ns for p in points)
    out = [f"{utc(first, True)} to {utc(last, True)} UTC"]
    for key, found in curves.items():
        known = [p for p in found if p.mean is not None]
        if not known:
            out.append(f"{key:<{names}}  nothing was read")
            continue
        unit = unit_of(key)
        low = quantity(min(p.low for p in known if p.low is not None), unit)
        high = quantity(max(p.high for p in known if p.high is not None), unit)
        mean = quantity(sum(p.mean for p in known if p.mean is not None) / len(known), unit)
        numbers = f"  {low} to {high}, mean {mean}"
        line = spark([p.mean for p in found], max(10, width - names - 2 - len(numbers)))
        out.append(f"{key:<{names}}  {line}{numbers}")
    return out


def _draw(
    curves: Mapping[str, Sequence[Point]],
    t0: int,
    t1: int,
    size: tuple[int, int] | None,
    gaps: Sequence[tuple[int, int]],
) -> None:
    """By plotext, in the terminal. A hole is left open: each unbroken stretch is a line of its own."""
    from plotext import figure, marker, terminal

    from dctop.engine.report.blocks import Band, Chart
    from dctop.engine.report.svg import time_ticks, unbroken
    from dctop.engine.report.units import utc

    columns, rows = size or shutil.get_terminal_size((100, 30))
    frame = Chart("", "", t0, t1, (), [Band(a, z, "gap", "") for a, z in gaps])
    divisor, unit = _scaled(curves)
    terminal.limit(False, False)
    figure.clear()
    figure.theme("simple")
    figure.plot_size(columns, max(5, rows - (0 if size else 2)))
    for n, (key, points) in enumerate(curves.items()):
        for i, part in enumerate(unbroken(points, frame)):
            x = [(p.t_ns - t0) / 1e9 for p in part]
            y = [p.mean / divisor for p in part if p.mean is not None]
            stretch = figure.signal(x, y, marker=marker("braille", _COLORS[n % len(_COLORS)])).lines()
            if i == 0:
                stretch.label(key)
            figure.draw(stretch)
    ticks = time_ticks(t0, t1)
    figure.ruler("x").lim(0, (t1 - t0) / 1e9)
    figure.ruler("x").ticks([(t - t0) / 1e9 for t in ticks], [utc(t) for t in ticks])
    figure.title(f"{utc(t0, True)} to {utc(t1, True)} UTC" + (f"  [{unit}]" if unit else ""))
    figure.show(colorless="NO_COLOR" in os.environ)


_COLORS = (33, 208, 35, 134, 37, 178, 160, 244)
"""Of the 256-colour palette: they stand on dark and on light."""


def _scaled(curves: Mapping[str, Sequence[Point]]) -> tuple[float, str]:
    """Bytes are drawn in the largest unit that fits; of several units none is named."""
    from dctop.engine.report.factors import unit_of

    units = {unit_of(k) for k in curves}
    if len(units) != 1:
        return 1.0, ""
    (unit,) = units
    if not unit.startswith("bytes"):
        return 1.0, unit
    top = max((abs(p.mean) for points in curves.values() for p in points if p.mean is not None), default=0.0)
    n = 0
    while top >= 1024 and n < 4:
        top, n = top / 1024, n + 1
    rest = unit.removeprefix("bytes").replace(" per s", "/s")
    return 1024.0**n, ("B", "KiB", "MiB", "GiB", "TiB")[n] + rest
