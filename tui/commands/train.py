"""`dctop train WORKLOAD`: start a run and watch it, on the dashboard or as lines."""

from __future__ import annotations

import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.engine.training import options
from dctop.tui.commands import CommandError

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState
    from dctop.engine.training.watcher import RunFollower

NAME = "train"
HELP = "start a training run and watch it"

POLL_S = 0.2
LINE_S = 10.0
_TOLD = frozenset((
    "start", "progress", "timing", "epoch", "eval", "reached", "checkpoint", "nonfinite", "frozen", "fault",
    "stop", "note",
))  # fmt: skip


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("workload", choices=tuple(options.WORKLOADS), nargs="?", help="what to train")
    parser.add_argument("--list-faults", action="store_true", help="what --fault can plant, and end")
    parser.add_argument("--headless", action="store_true", help="no dashboard: a progress bar, or lines")
    parser.add_argument("--detach", action="store_true", help="start it, print its id and end")
    parser.add_argument("--record", type=Path, metavar="FILE", help="record the node and the run into FILE")
    parser.add_argument("--python", metavar="PATH", help=options.PYTHON.help)
    parser.add_argument("--resume", metavar="RUN", help="go on from a checkpoint of a run (id, `last`)")
    parser.add_argument("--checkpoint", metavar="WHICH", default="last",
                        help="with --resume: last, best, the number of a step, or a file")  # fmt: skip
    options.add_arguments(parser)


def run(args: Namespace) -> int:
    """0 finished (or started, or the dashboard was left), 1 it failed, 2 it could not be started,
    130 stopped by Ctrl-C."""
    from dctop.engine.training import launcher

    if args.list_faults:
        print(fault_table(args.workload))
        return 0
    if args.workload is None:
        raise CommandError(f"what to train? one of {', '.join(options.WORKLOADS)}", 2)
    if args.record is not None:
        _check_record(args)
    given = options.from_arguments(args)
    resume = _resumed(args.resume) if args.resume else None
    result = launcher.launch({"workload": args.workload, **given}, args.python, resume, args.checkpoint)
    if result.run_id is None:
        raise CommandError(result.error or "the run could not be started")
    return watch(result.run_id, args.detach, args.headless, args.record)


def watch(run_id: str, detach: bool, headless: bool, record: Path | None = None) -> int:
    """A run that was just started: its id alone, the dashboard, or lines until it ends. `record`: a file."""
    if detach:
        print(run_id)
        return 0
    if not headless and sys.stdin.isatty() and sys.stdout.isatty():
        from dctop.tui.app import run_dashboard

        return run_dashboard(focus_run=run_id, record=record)
    if record is None:
        return Headless(run_id).follow()
    with _recording(record):
        return Headless(run_id).follow()


def _check_record(args: Namespace) -> None:
    """Before anything is started: can the file be made?"""
    path: Path = args.record
    if args.detach:
        raise CommandError("--detach leaves nobody to record: start `dctop record -o FILE` beside it")
    if path.exists():
        raise CommandError(f"{path} exists: a recording is never overwritten, choose another name")
    if not path.absolute().parent.is_dir():
        raise CommandError(f"{path.parent} does not exist: make it, or choose another place")


@contextmanager
def _recording(path: Path) -> Iterator[None]:
    """Record beside the run; the file is closed when it ends. Trouble is a line and never the run's end."""
    from dctop.engine.config import load
    from dctop.engine.live import LiveEngine

    config, _ = load(None)
    engine = LiveEngine(thresholds=config.rules, energy=config.energy)
    engine.start()
    engine.wait_ticks(1, 5.0)
    recorder = None
    try:
        engine.start_recording(path)
        recorder = engine.recorder
        if recorder is not None and not recorder.wait_opened(10.0):
            print(f"dctop: not recording: {recorder.status.error}", file=sys.stderr, flush=True)
        yield
    finally:
        engine.wait_ticks(2, 5.0)  # what the run wrote last is in it
        engine.stop("run ended")
        if recorder is not None and recorder.status.state == "stopped":
            print(f"recorded: dctop replay {path}", file=sys.stderr, flush=True)


def _resumed(name: str) -> str:
    """The id of a run by its beginning or `last`; an unknown one is the launcher's to refuse."""
    from dctop.engine.training import control
    from dctop.engine.training.folder import INFER

    try:
        return control.find(name, skip=INFER).id
    except control.ControlError as error:
        raise CommandError(f"--resume {error}") from None


def fault_table(workload: str | None = None) -> str:
    """One line a fault: how it is written, what it does, the rule that should notice."""
    names = options.WORKLOADS if workload is None else (workload,)
    kinds = {name: kind for each in names for name, kind in options.drills(each).items()}
    lines = ["NAME[:SIZE][@STEP[-STEP]]"]
    for name, kind in kinds.items():
        size = "" if kind.magnitude is None else f":{kind.magnitude:g} {kind.unit}"
        needs = "".join(f" --{option} {least:g}" for option, least in kind.needs.items())
        where = f" ({', '.join(kind.workloads)})" if kind.workloads and workload is None else ""
        text = kind.help + (f"; needs{needs}" if needs else "") + where
        lines.append(f"  {name + size:30} {text} -> {', '.join(kind.expects)}")
    return "\n".join(lines)


class Headless:
    """Follows a run on a plain output until it ends."""

    def __init__(self, run_id: str, quiet: bool = False, told: frozenset[str] = _TOLD) -> None:
        """`told`: kinds of events that are printed; `quiet`: nothing is printed until it failed."""
        from dctop.engine import paths
        from dctop.engine.training.watcher import RunFollower

        self.run_id = run_id
        self._follower: RunFollower = RunFollower(paths.runs_dir() / run_id)
        self._quiet = quiet
        self._kinds = told
        self._bar = sys.stdout.isatty() and not quiet
        self._told = 0
        self._trouble: str | None = None
        self._line_due = time.monotonic() + LINE_S
        self._asked = 0
        """How often Ctrl-C (or SIGTERM) came."""
        self._acted = 0

    def follow(self) -> int:
        self._say(f"run {self.run_id}")
        # As with `kill`: SIGTERM (a batch system's time limit) ends the run in good order as Ctrl-C does.
        before = [signal.signal(n, self._interrupt) for n in (signal.SIGINT, signal.SIGTERM)]
        try:
            return self._loop()
        finally:
            for number, handler in zip((signal.SIGINT, signal.SIGTERM), before):
                signal.signal(number, handler)
            self._follower.close()

    def _interrupt(self, _number: int, _frame: object) -> None:
        self._asked += 1

    def _loop(self) -> int:
        while True:
            state = self._follower.poll()
            if state is None:
                raise CommandError(f"run {self.run_id}: its directory was removed", 1)
            self._tell(state)
            if state.ended_wall_ns is not None or state.status not in ("starting", "running", "stopping"):
                return self._end(state)
            if self._asked > self._acted:
                self._acted = self._asked
                if self._asked > 1:
                    self._say(f"left to itself: dctop runs show {self.run_id}")
                    return 130
                self._stop(state)
            time.sleep(POLL_S)

    def _stop(self, state: RunState) -> None:
        from dctop.engine.training import control

        try:
            control.stop(state)
            self._say("stopping after this step; once more leaves the run to itself")
        except control.ControlError as error:
            self._say(str(error))
            self._asked = self._acted = 0

    def _tell(self, state: RunState) -> None:
        for event in state.events[self._told :]:
            if event.kind in self._kinds and event.data.get("window") is None:
                self._say(event.text)
        said = {event.text for event in state.events[self._told :]}
        self._told = len(state.events)
        if state.trouble != self._trouble:
            before, self._trouble = self._trouble, state.trouble
            if state.trouble is not None and state.trouble not in said:
                self._say(state.trouble)
            elif state.trouble is None and before is not None and state.ended_wall_ns is None:
                self._say("it goes on")
        if self._bar:
            print(f"\r\x1b[K{progress_bar(state)}", end="", flush=True)
        elif not self._quiet and time.monotonic() >= self._line_due and state.step is not None:
            self._line_due = time.monotonic() + LINE_S
            self._say(progress_text(state))

    def _say(self, text: str) -> None:
        if self._quiet:
            return
        print(("\r\x1b[K" if self._bar else "") + text, flush=True)

    def _end(self, state: RunState) -> int:
        if self._bar:
            print("\r\x1b[K", end="")
        if self._quiet and state.status in ("finished", "stopped"):
            return 130 if state.status == "stopped" else 0
        if state.status in ("finished", "stopped"):
            latest = state.evals[-1] if state.evals else {}
            accuracy, loss = latest.get("accuracy"), latest.get("loss")
            if state.status == "stopped":
                print(state.reason or "stopped")
            self._tell_energy(state)
            if isinstance(accuracy, float):
                print(f"Test accuracy: {accuracy:.2f}")
            elif isinstance(loss, float):
                print(f"Test loss: {loss:.4g}")
            return 130 if state.status == "stopped" else 0
        raise CommandError(f"run {self.run_id} {state.status}: {state.reason}", 1)

    def _tell_energy(self, state: RunState) -> None:
        from dctop.engine.config import load
        from dctop.engine.training import energy

        used = energy.run_energy(None, state, load()[0].energy)
        if used is not None and state.workload != "infer":
            print(f"Energy: {energy.in_words(used)}")


def _parts(state: RunState) -> list[str]:
    """Step, epoch, loss, accuracy, rate, time left: "" for what is not known."""
    step, loss, accuracy = state.step, state.last.get("loss"), state.last.get("accuracy")
    where = state.status if step is None else f"step {step:,}/{state.total_steps or 0:,}"
    if step is not None and state.mode not in (None, "train", "warmup"):
        where += f" ({state.mode})"
    return [
        where,
        "" if state.epoch is None else f"epoch {state.epoch}/{state.total_epochs}",
        "" if loss is None else f"loss {loss:.4f}",
        "" if accuracy is None else f"accuracy {accuracy:.2f}",
        "" if state.samples_per_s is None else f"{state.samples_per_s:,.0f} samples/s",
        _left(state),
    ]


def _left(state: RunState) -> str:
    """`5:32 left`, `4:50 to 6:10 left` where the pace varies, or nothing."""
    from dctop.engine.training.runmath import time_left

    left = time_left(state) if state.eta_s is not None else None
    if left is None or not left.high < 1e9:
        return "" if state.eta_s is None else f"{clock(state.eta_s)} left"
    if left.high - left.low <= max(5.0, 0.1 * left.high):
        return f"{clock((left.low + left.high) / 2)} left"
    return f"{clock(left.low)} to {clock(left.high)} left"


def progress_text(state: RunState) -> str:
    """`step 1,200/18,750  epoch 1/10  loss 0.4871  accuracy 0.84  1,650 samples/s  5:32 left`"""
    return "  ".join(filter(None, _parts(state)))


def progress_bar(state: RunState, width: int | None = None) -> str:
    """The same after a bar, within the terminal's width: epoch, accuracy and rate go first."""
    import shutil

    columns = width or shutil.get_terminal_size().columns
    share = min(1.0, (state.step or 0) / state.total_steps) if state.total_steps else 0.0
    parts = _parts(state)
    for drop in (None, 1, 3, 4):
        if drop is not None:
            parts[drop] = ""
        text = "  ".join(filter(None, parts))
        room = columns - len(text) - 4
        if room >= 10:
            break
    size = max(0, min(20, room))
    full = round(share * size)
    return f"[{'#' * full}{'.' * (size - full)}] {text}"[: max(0, columns - 1)]


def clock(seconds: float) -> str:
    """75 -> `1:15`, 3700 -> `1:01:40`."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
