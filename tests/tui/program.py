"""The app over an invented source, as a program for tests in a real pseudo-terminal.

    python -m tests.tui.program [--paint safe] [--interval S] [--ticks N] [--real] [--replay] [--stats FILE]

It ticks every `--interval` seconds, N times, then stands still. `--real`: the panes of dctop instead of the
test panes. `--stats FILE`: how often the driver woke and the fast path painted, when it ends.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from pathlib import Path

from dctop.tui import skeleton
from dctop.tui.application import DctopApp
from dctop.tui.fast import FastCompositor
from dctop.tui.terminal import look_of
from dctop.tui.theme import colors_of
from tests.fakes.ui_panes import all_panes
from tests.fakes.ui_source import FakeLive, FakeReplay, alert


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--paint", default="auto")
    parser.add_argument("--interval", type=float, default=0.25)
    parser.add_argument("--ticks", type=int, default=0)
    parser.add_argument("--theme", default="dctop-dark")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--alert-at", type=int, default=0)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--replay", action="store_true")
    parser.add_argument("--fixed-clock", action="store_true")
    parser.add_argument("--stats", type=Path)
    args = parser.parse_args()
    source = FakeReplay(args.gpus) if args.replay else FakeLive(args.gpus, args.interval)
    if args.real:
        from dctop.tui.app import pane_models

        models = pane_models()
    else:
        models = all_panes()
    if args.fixed_clock:
        _fix_clock()
    app = DctopApp(
        source,
        models,
        look=look_of(None, os.environ),
        theme=args.theme,
        colors=colors_of(os.environ),
        paint_mode=args.paint,
    )
    if not args.replay:
        threading.Thread(target=_tick, args=(source, args.ticks, args.alert_at), daemon=True).start()
    status = app.run() or 0
    skeleton.write(skeleton.LEAVE, 1)
    if args.stats is not None:
        compositor = app.node._compositor
        fast = compositor.fast_paints if isinstance(compositor, FastCompositor) else 0
        args.stats.write_text(json.dumps({"wakeups": getattr(app._driver, "wakeups", -1), "fast": fast}))
    return status


def _fix_clock() -> None:
    """The header's clock stands still, so that two runs can be compared cell by cell."""
    from datetime import datetime

    from dctop.tui import headline

    class Still(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime(2026, 1, 2, 3, 4, 5)

    headline.datetime = Still  # type: ignore[attr-defined,misc]


def _tick(source: FakeLive, ticks: int, alert_at: int) -> None:
    due = time.monotonic()
    n = 0
    while not ticks or n < ticks:
        due += source.interval_s
        source.next_tick_mono = due
        time.sleep(max(0.0, due - time.monotonic()))
        n += 1
        if n == alert_at:
            source.known_alerts = [alert()]
        source.next_tick_mono = due + source.interval_s
        source.tick()


if __name__ == "__main__":
    sys.exit(main())
