"""CPU milliseconds a pane takes to draw one tick, the whole dashboard, and one graph against plotext.

    python tests/benchmarks/bench_draw.py [ticks]

Every tick has a new snapshot and history, as it has live; times are of this process (all its CPU), so
neighbours on the machine do not count. The dashboard's sizes are those of a 160x50 terminal.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from dctop.tui.draw import graph
from dctop.tui.draw.look import Look
from dctop.tui.panes import PANES
from dctop.tui.panes.base import PaneModel
from dctop.tui.panes.processes import ProcessPane
from tests.fakes.screen import FakeSource, Node, make_alert, make_run, view_of

SIZES = {
    "cpu": (68, 12), "gpu": (88, 12), "memory": (68, 11), "disk": (78, 8), "network": (78, 8),
    "processes": (103, 13), "training": (88, 11), "alerts": (53, 13),
}  # fmt: skip
"""Inner sizes at 160x50."""


def per_tick(draw: Callable[[], object], between: Callable[[], object], ticks: int) -> tuple[float, float]:
    """(median, worst) CPU ms of `draw` after each `between`."""
    times: list[float] = []
    for _ in range(ticks):
        between()
        start = time.process_time_ns()
        draw()
        times.append((time.process_time_ns() - start) / 1e6)
    return median(times), max(times)


def dashboard(cores: int, gpus: int, processes: int, ticks: int) -> None:
    node = Node(cores, gpus, processes, disks=4)
    node.run(300)
    run = make_run(4000)
    source = FakeSource(None, node.history, [run], [make_alert(i) for i in range(6)])
    panes: list[PaneModel] = [pane() for pane in PANES]

    def step() -> None:
        source.snap = node.step()
        for column in run.columns.values():
            # A training at 25 steps a second.
            column.extend(column[-25:])
        run.seq += 25

    def draw(pane: PaneModel) -> None:
        w, h = SIZES[pane.key]
        view = view_of(source, focused=pane.key == "processes")
        pane.title(view, w + 2)
        pane.body(view, w, h)

    step()
    for _ in range(60):
        step()
        for pane in panes:
            draw(pane)
    print(f"\n{cores} cores, {gpus} GPUs, {processes} processes: CPU ms a tick (median, worst of {ticks})")
    total = per_tick(lambda: [draw(p) for p in panes], step, ticks)
    for pane in panes:
        one, worst = per_tick(lambda p=pane: draw(p), step, ticks)  # type: ignore[misc]
        print(f"  {pane.key:<10} {SIZES[pane.key][0]:>4}x{SIZES[pane.key][1]:<3} {one:7.3f} {worst:7.3f}")
    print(f"  {'all eight':<18} {total[0]:7.3f} {total[1]:7.3f}")


def tables(processes: int, ticks: int) -> None:
    node = Node(8, 0, processes)
    source = FakeSource(node.run(3), node.history)
    print(f"\n{processes} processes at 158x45: CPU ms a tick (median, worst of {ticks})")
    for name, set_up in (
        ("by CPU", lambda p: None),
        ("by memory", lambda p: p.set_sort("mem")),
        ("by command", lambda p: p.set_sort("name")),
        ("tree", lambda p: p.act("process.tree", view_of(source))),
        ("filter shard", lambda p: p.set_filter("shard")),
        ("selected, far down", lambda p: p.act("process.end", view_of(source))),
    ):
        pane = ProcessPane()
        pane.body(view_of(source), 158, 45)
        set_up(pane)

        def step() -> None:
            source.snap = node.step()

        one, worst = per_tick(lambda p=pane: p.body(view_of(source), 158, 45), step, ticks)  # type: ignore[misc]
        print(f"  {name:<20} {one:7.3f} {worst:7.3f}")


def against_plotext(ticks: int) -> None:
    w, h = 80, 15
    values = [50 + 45 * ((i * 37) % 100 - 50) / 50 for i in range(300)]
    at = [0]

    def window() -> list[float]:
        at[0] += 1
        k = at[0] % 300
        return values[k:] + values[:k]

    graph.area(window(), w, h, Look())
    for name, draw in (
        ("area, ours", lambda: graph.area(window(), w, h, Look())),
        ("line, ours", lambda: graph.line(window(), w, h, Look(), 0, 100)),
    ):
        print(f"  {name:<14} {per_tick(draw, lambda: None, ticks)[0]:7.3f} ms")
    try:
        from plotext import figure, terminal
    except ImportError:
        print("  plotext: not installed")
        return
    terminal.limit(False, False)

    def theirs() -> None:
        y = window()[-2 * w :]
        figure.clear()
        figure.plot_size(w, h)
        figure.draw(figure.signal(list(range(len(y))), y, marker="braille").lines())
        figure.build().string()

    print(f"  {'line, plotext':<14} {per_tick(theirs, lambda: None, min(ticks, 30))[0]:7.3f} ms")


def main() -> None:
    ticks = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    dashboard(8, 0, 120, ticks)
    dashboard(128, 8, 1000, ticks)
    tables(5000, min(ticks, 30))
    print("\none braille graph of 80x15:")
    against_plotext(ticks)


if __name__ == "__main__":
    main()
