"""`dctop record`: record this node without a screen, until it is stopped."""

from __future__ import annotations

import contextlib
import math
import re
import signal
import sys
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError

if TYPE_CHECKING:
    from dctop.engine.live import LiveEngine
    from dctop.engine.recording.recorder import Recorder, RecorderStatus
    from dctop.engine.recording.ring import FlightRecorder

NAME = "record"
HELP = TABLE[NAME]

OPEN_S = 10.0
"""The file must be open after this."""
PLAIN_S = 60.0
"""Without a terminal a line is printed this often."""
_SIZES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_WIPE = "\r\x1b[K"


def span(text: str) -> float:
    """Argument type: `90`, `90s`, `10m`, `1h30m`, `7d` -> seconds."""
    from dctop.tui.dialogs.times import span_s

    seconds = span_s(text)
    if seconds is None or not 0 < seconds < 1e9:
        raise ArgumentTypeError(f"{text!r} is not a time span (90s, 10m, 1h30m, 7d)")
    return seconds


def size(text: str) -> int:
    """Argument type: `500M`, `2G`, `2GiB` -> bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    if found is None or (n := int(float(found[1]) * _SIZES[found[2]])) < 1 << 20:
        raise ArgumentTypeError(f"{text!r} is not a size of at least 1M (500M, 2G)")
    return n


def configure(parser: ArgumentParser) -> None:
    from dctop.tui.arguments import interval

    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE",
        help="where to (default: named by host and time, in dctop's state directory)",
    )  # fmt: skip
    parser.add_argument(
        "--interval", type=interval, default=1.0, metavar="S", help="seconds between frames (1)"
    )
    parser.add_argument("--duration", type=span, metavar="T", help="stop after 90s, 10m, 1h30m ...")
    parser.add_argument(
        "--durability", choices=("full", "relaxed"),
        help="full: every second survives a power cut; relaxed: the last half minute may not",
    )  # fmt: skip
    parser.add_argument("--max-size", type=size, metavar="N", help="oldest frames go beyond this (2G)")
    parser.add_argument(
        "--max-age",
        type=span,
        metavar="T",
        help="older frames go (7d)",
    )
    parser.add_argument(
        "--ring", type=span, metavar="T",
        help="flight recorder: keep only the last 30m, 2h ...; an alert, SIGUSR1 or the key s saves a copy",
    )  # fmt: skip
    parser.add_argument("--quiet", action="store_true", help="say nothing but errors")


class _Stop:
    """Asked for by a signal or a key. The main thread sleeps on it, and is woken by whoever has something to
    say to it; between, it costs nothing."""

    def __init__(self) -> None:
        self.asked = False
        self.reason = "stopped"
        self._bell: SimpleQueue[None] = SimpleQueue()  # may be rung in a signal handler, unlike an Event

    def install(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # Under nohup SIGHUP is ignored, and must stay so.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self.ask(signal.Signals(number).name)

    def ask(self, reason: str = "stopped") -> None:
        self.asked, self.reason = True, reason
        self.wake()

    def wake(self) -> None:
        self._bell.put(None)

    def sleep(self, seconds: float | None) -> None:
        """Until woken, at most `seconds` (None: as long as it takes)."""
        with contextlib.suppress(Empty):
            self._bell.get(timeout=seconds)


def run(args: Namespace) -> int:
    from dctop.engine import paths
    from dctop.engine.config import load
    from dctop.engine.live import LiveEngine

    config, problems = load(None)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    stop = _Stop()
    engine = LiveEngine(
        interval_s=args.interval, thresholds=getattr(config, "rules", None) or {},
        own_rules=getattr(config, "own_rules", None), energy=config.energy,
    )  # fmt: skip
    r = config.recording
    engine.configure_recording(r.dir, r.max_size_mb, r.max_age_days, r.durability)
    engine.tell_outside(config.alerts)
    engine.keep_usual(paths.state_dir() / "usual.json")
    stop.install()
    engine.start()
    try:
        # One tick first: then the host's name and boot are known, and go into the file.
        while not engine.wait_ticks(1, 0.25) and not stop.asked:
            pass
        path = _begin(engine, args, stop)
        recorder = engine.recorder
        assert recorder is not None
        console = _Console(recorder, args, stop)
        if args.ring is not None:
            console.flight = _flight(engine, console)
        return console.watch(path)
    finally:
        engine.stop(stop.reason)


def _begin(engine: LiveEngine, args: Namespace, stop: _Stop) -> Path:
    try:
        asked = {
            "on_news": stop.wake,
            "durability": args.durability,
            "max_bytes": args.max_size,
            "max_age_s": args.ring or args.max_age,
        }
        path = engine.start_recording(args.output, **{k: v for k, v in asked.items() if v is not None})
    except OSError as e:
        raise CommandError(
            f"{e.filename or 'the state directory'}: {e.strerror or e}; name a file with -o", 1
        ) from None
    recorder = engine.recorder
    assert recorder is not None
    if not recorder.wait_opened(OPEN_S):
        raise CommandError(
            recorder.status.error or f"{path} could not be opened: name another file with -o", 1
        )
    return path


def _flight(engine: LiveEngine, console: _Console) -> FlightRecorder:
    """Save copies at alerts and at SIGUSR1."""
    from dctop.engine.recording.ring import FlightRecorder

    flight = FlightRecorder(console.recorder, console.say)
    engine.on_tick.append(lambda e: flight.watch(e.now.known_alerts))
    # Not in the handler itself: it may interrupt whoever holds the lock that saving takes.
    signal.signal(signal.SIGUSR1, lambda *_: console.want("SIGUSR1"))
    return flight


class _Console:
    """Tells how it goes until it ends; keys on a terminal: s saves the ring, m marks, q stops."""

    def __init__(self, recorder: Recorder, args: Namespace, stop: _Stop) -> None:
        self.recorder = recorder
        self.args = args
        self.stop = stop
        self.tty = sys.stdout.isatty() and not args.quiet
        self.flight: FlightRecorder | None = None
        self.wanted: list[str] = []
        """Why copies of the ring are asked for."""
        self._said = ""

    def say(self, text: str, bad: bool = False) -> None:
        """A line of its own; errors also when asked to be quiet."""
        if bad:
            print(f"{_WIPE if self.tty else ''}dctop: {text}", file=sys.stderr, flush=True)
        elif not self.args.quiet:
            # In one piece: the thread of the keys speaks, too, and a line torn from its end is wiped away.
            print(f"{_WIPE if self.tty else ''}{text}\n", end="", flush=True)

    def watch(self, path: Path) -> int:
        """The exit code."""
        from dctop.tui.commands.recordkeys import Keys

        began = time.monotonic()
        # A shell that is no terminal's starts what is in its background without SIGINT.
        ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        how = "; stop with SIGTERM" if ignored else "; stop with SIGINT or SIGTERM"
        if self.tty and sys.stdin.isatty():
            how = "; keys: " + ("s saves the ring, " if self.flight else "") + "m marks, q stops"
        self.say(f"recording to {path}{how}")
        with Keys({"s": lambda: self.want("key"), "m": self._mark, "q": self.stop.ask}):
            self._loop(began)
        if self.flight is not None:
            self.flight.finish()
        self.recorder.stop(self.stop.reason)
        status = self.recorder.status
        if self.tty:
            print(_WIPE, end="")
        if status.state == "failed":
            raise CommandError(status.error or "recording failed", 1)
        self.say(f"{path}: {_line(status, time.monotonic() - began)}, {self.stop.reason}")
        return 0

    def _mark(self) -> None:
        self.recorder.mark("")
        self.say("marked")

    def want(self, why: str) -> None:
        """A copy of the ring, saved by the main thread."""
        self.wanted.append(why)
        self.stop.wake()

    def _loop(self, began: float) -> None:
        told = began
        duration = self.args.duration
        while not self.stop.asked:
            now = time.monotonic()
            status = self.recorder.status
            if status.state in ("failed", "stopped"):
                return
            if duration is not None and now - began >= duration:
                self.stop.reason = "duration over"
                return
            while self.wanted:
                reason = self.wanted.pop(0)
                if self.flight is not None:
                    self.flight.save(reason)
            if status.error and status.error != self._said:
                self.say(status.error, bad=True)
            self._said = status.error or ""
            if self.tty:
                print(f"{_WIPE}{_line(status, now - began)}", end="", flush=True)
            elif now - told >= PLAIN_S:
                told = now
                self.say(_line(status, now - began))
            self.stop.sleep(self._pause(now, told, None if duration is None else began + duration))

    def _pause(self, now: float, told: float, end: float | None) -> float | None:
        """Seconds until there is something to tell or it is over."""
        due = [] if end is None else [end]
        if self.tty:
            due.append(now + max(1.0, self.args.interval))
        elif not self.args.quiet:
            due.append(told + PLAIN_S)
        return max(0.0, min(due) - now) if due else None


def _line(status: RecorderStatus, elapsed_s: float) -> str:
    from dctop.tui.draw.units import iec

    seconds = math.floor(elapsed_s)
    clock = f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
    parts = [clock, iec(status.size_bytes)]
    if status.bytes_per_hour is not None:
        parts.append(f"{iec(status.bytes_per_hour)} an hour")
    if status.lost_frames:
        parts.append(f"{status.lost_frames} frames lost")
    if status.state == "disk-full":
        parts.append("DISK FULL, waiting")
    return ", ".join(parts)
