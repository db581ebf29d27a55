"""What report, export, cut and repair cost on a long recording with a run and an incident in it.

    python tests/benchmarks/bench_report.py [--hours 24] [--keep FILE | --day FILE]

Prints seconds and sizes. The load is that of bench_recording.py; a run trains at 5 steps a second through it,
and an alert opens after two thirds of it, when memory had begun to rise two minutes before.
"""

from __future__ import annotations

import argparse
import io
import random
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from bench_recording import Node  # noqa: E402

from dctop.engine.export.openmetrics import write_openmetrics  # noqa: E402
from dctop.engine.export.parquet import write_parquet  # noqa: E402
from dctop.engine.export.perfetto import write_perfetto  # noqa: E402
from dctop.engine.export.tables import Scope, table  # noqa: E402
from dctop.engine.export.text import write_csv  # noqa: E402
from dctop.engine.metrics.builder import SnapshotBuilder  # noqa: E402
from dctop.engine.recording.flatten import Flattener  # noqa: E402
from dctop.engine.recording.proctable import ProcessPicker  # noqa: E402
from dctop.engine.recording.reader import Recording, open_recording  # noqa: E402
from dctop.engine.recording.rewrite import rewrite  # noqa: E402
from dctop.engine.recording.runtake import Taker  # noqa: E402
from dctop.engine.recording.store import Item, Store  # noqa: E402
from dctop.engine.report import html, markdown  # noqa: E402
from dctop.engine.report.sections import report  # noqa: E402
from tests.fakes.frames import a_run, add_steps, an_alert  # noqa: E402

S = 1_000_000_000


def make(path: Path, n: int) -> None:
    store = Store(path, interval_s=1.0, meta={"host": "bench"}, durability="relaxed")
    flattener, picker, taker, builder = Flattener(), ProcessPicker(), Taker(), SnapshotBuilder()
    node, run, r = Node(), a_run("bench-run", started_wall_ns=1_790_000_000 * S), random.Random(1)
    opens, closes = n * 2 // 3, n * 2 // 3 + min(600, n // 10)
    alert = None
    batch: list[Item] = []
    for i in range(n):
        frame = node.frame()
        if opens - 120 < i < closes:
            values = frame.samples["memory"].values
            key = "memory.available_bytes"
            if isinstance(values.get(key), int):
                values[key] = int(values[key] * max(0.02, 1 - (i - opens + 120) / 130))  # type: ignore[operator]
        if i == opens:
            alert = an_alert(1, frame.wall_ns, rule="host-mem-low", entity="node", severity="critical",
                             title="Only 3 % of memory is available")  # fmt: skip
        elif i == closes and alert is not None:
            alert = replace(alert, state="closed", closed_wall_ns=frame.wall_ns)
        add_steps(run, 5, frame.wall_ns, r)
        for column in run.columns.values():
            del column[: max(0, len(column) - 20_000)]
        changes = taker.take([] if alert is None else [alert], (run,), frame.wall_ns)
        flat = flattener.flatten(frame, picker.pick(frame.processes), changes.hot)
        batch.append(Item(frame.wall_ns, frame.seq, flat, builder.push(frame).values, changes))
        if len(batch) == 60:
            store.write(batch)
            batch = []
    store.write(batch)
    store.close("done")


def timed(name: str, work: Callable[[], object]) -> None:
    t, cpu = time.perf_counter(), time.process_time()
    made = work()
    wall, cpu = time.perf_counter() - t, time.process_time() - cpu
    size = f"{made / 1e6:9.2f} MB" if isinstance(made, int) else ""
    print(f"{name:<44} {wall:8.2f} s   {cpu:8.2f} s CPU  {size}", flush=True)


def text(write: Callable[[io.StringIO], object]) -> int:
    out = io.StringIO()
    write(out)
    return len(out.getvalue().encode())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--keep", type=Path, help="keep the recording here")
    parser.add_argument("--day", type=Path, help="use this recording instead of making one")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = args.day or args.keep or Path(folder) / "day.dctop"
        if args.day is None:
            make(path, int(args.hours * 3600))
        print(f"{path.stat().st_size / 1e6:.1f} MB, {args.hours:g} h")
        measure(path, Path(folder))
    return 0


def measure(path: Path, folder: Path) -> None:
    def opened(work: Callable[[Recording], object]) -> Callable[[], object]:
        def go() -> object:
            with open_recording(path) as r:
                return work(r)

        return go

    with open_recording(path) as r:
        t0, t1 = r.time_range or (0, 0)
    middle = t0 + (t1 - t0) * 2 // 3
    hour = Scope(middle - 1800 * S, middle + 1800 * S)

    def parquet(r: Recording, scope: Scope) -> int:
        made = folder / "x.parquet"
        columns, rows = table(r, "metrics", scope)
        write_parquet(columns, rows, made, r.meta)
        return made.stat().st_size

    def csv(r: Recording) -> int:
        return text(lambda out: write_csv(*table(r, "metrics", hour), out))

    def cut(r: Recording) -> int:
        made = rewrite(r, folder / "cut.dctop", what="cut", t0_ns=hour.t0, t1_ns=hour.t1)
        return made.path.stat().st_size

    timed("report, Markdown", opened(lambda r: len(markdown.render(report(r)).encode())))
    timed("report, HTML", opened(lambda r: len(html.render(report(r)).encode())))
    timed("an hour of metrics as CSV", opened(csv))
    timed("an hour of metrics as Parquet", opened(lambda r: parquet(r, hour)))
    timed("an hour as OpenMetrics", opened(lambda r: text(lambda out: write_openmetrics(r, hour, out))))
    timed("an hour as a Perfetto trace", opened(lambda r: text(lambda out: write_perfetto(r, hour, out))))
    timed("an hour cut out", opened(cut))
    timed("all metrics as Parquet", opened(lambda r: parquet(r, Scope())))


if __name__ == "__main__":
    sys.exit(main())
