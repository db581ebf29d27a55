"""The training worker: `python worker.py --run-dir DIR [--supervise]`.

Runs under any Python >= 3.9 with torch >= 2.1; dctop need not be installed there, so these w*.py files
are plain scripts beside each other. `DIR/run.json` says what to do (docs/RUNLOG.md); everything that
happens is appended to `DIR/steps.jsonl`. `--supervise` goes to the background under a supervisor.

SIGTERM, SIGINT: finish the step, checkpoint, end. SIGUSR1: checkpoint now.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import sys
import traceback
from typing import TYPE_CHECKING

HERE = os.path.dirname(os.path.abspath(__file__))
# First: nothing a user's PYTHONPATH holds may stand for our own files.
sys.path[:] = [HERE, *(p for p in sys.path if os.path.abspath(p or ".") != HERE)]

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dctop.engine.training import wlog, wmem, wpower, wsuper, wtrain
else:
    import wlog
    import wmem
    import wpower
    import wsuper

MIN_TORCH = (2, 1)
_TOLD = (
    "Refused", "Unusable", "DataError", "CorpusError", "CheckpointError", "NotFinite", "RunDirectoryGone",
    "CannotPlant",
)  # fmt: skip
"""Exceptions that are messages to the user: one line, no traceback."""
_CPU_OOM = re.compile(r"DefaultCPUAllocator: (?:can't allocate memory|not enough memory)[^\d]*(\d+)?")
_CUDA_OOM = re.compile(r"Tried to allocate ([\d.]+ \w+)")


def classify(error: BaseException) -> dict[str, object]:
    """What kind of failure an exception is: `oom-host`, `oom-cuda` or nothing more than its class.

    On the CPU torch raises a plain RuntimeError for memory, numpy and Python a MemoryError.
    """
    text = str(error)
    data: dict[str, object] = {"class": type(error).__name__}
    host = _CPU_OOM.search(text)
    if type(error).__name__ in ("OutOfMemoryError", "AcceleratorError") and "memory" in text:
        data["kind"] = "oom-cuda"
        asked = _CUDA_OOM.search(text)
        data["asked"] = asked[1] if asked else None
    elif isinstance(error, MemoryError) or host or "Cannot allocate memory" in text:
        data["kind"] = "oom-host"
        data["asked_bytes"] = int(host[1]) if host and host[1] else None
    elif ("DataLoader worker" in text and ("exited unexpectedly" in text or "killed by signal" in text)) or (
        isinstance(error, (OSError, EOFError)) and _while_taking_a_batch(error)
    ):
        data["kind"] = "loader-died"
    return data


def _while_taking_a_batch(error: BaseException) -> bool:
    """Raised where a batch is taken over from a loader process: it was killed while it handed it on."""
    frame = error.__traceback__
    while frame is not None:
        place = frame.tb_frame.f_code.co_filename
        if place.endswith(("multiprocessing/connection.py", "multiprocessing/reductions.py")):
            return True
        frame = frame.tb_next
    return False


def one_line(error: BaseException) -> str:
    """`Class: first line`; an error meant for the user is its own text."""
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    if type(error).__name__ in _TOLD:
        return text
    return f"{type(error).__name__}: {text}"[:400] if text else type(error).__name__


def import_torch() -> None:
    """Raises Unusable where torch is missing, broken or too old."""
    sys.path.remove(HERE)  # no file here may stand for a module that torch imports
    try:
        import torch
    except Exception as error:  # a broken installation raises all sorts of things
        raise Unusable(f"torch cannot be imported by {sys.executable}: {one_line(error)}") from None
    finally:
        sys.path.insert(0, HERE)
    found = tuple(int(n) for n in re.findall(r"\d+", torch.__version__)[:2])
    if found < MIN_TORCH:
        raise Unusable(f"torch {torch.__version__} of {sys.executable} is too old: 2.1 or later is needed")


class Wishes:
    """What signals asked for; the loop looks at it between steps."""

    def __init__(self) -> None:
        self.stop: str | None = None
        """Name of the signal that asked to stop."""
        self.checkpoint = False

    def listen(self) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGUSR1, self._checkpoint)
        # The supervisor forked us with these blocked, so that none was lost before this line.
        mine = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD}
        signal.pthread_sigmask(signal.SIG_UNBLOCK, mine)

    def _stop(self, number: int, _frame: object) -> None:
        self.stop = signal.Signals(number).name

    def _checkpoint(self, _number: int, _frame: object) -> None:
        self.checkpoint = True


class Unusable(Exception):
    """This Python cannot train: one line."""


class Ending:
    """How the training half ended: exit code and the words for the supervisor."""

    def __init__(
        self, status: str, reason: str, step: int, facts: Mapping[str, object] | None = None
    ) -> None:
        self.status, self.reason, self.step, self.facts = status, reason, step, facts or {}

    @property
    def code(self) -> int:
        return 0 if self.status in ("finished", "stopped") else 1

    def said(self) -> dict[str, object]:
        return {**self.facts, "status": self.status, "reason": self.reason[:1000], "step": self.step}

    def send(self, fd: int) -> None:
        os.write(fd, json.dumps(self.said()).encode())
        os.close(fd)


def train(directory: str, log_name: str = "steps.jsonl") -> Ending:
    """The whole run (or one rank of it) in this process. Never raises: everything is in the log and in the
    Ending."""
    wishes = Wishes()
    wishes.listen()
    os.umask(0o077)
    try:
        log = wlog.RunLog(directory, log_name)
    except OSError as error:
        return Ending("failed", f"{directory}: {error.strerror}", 0)
    trainer: wtrain.Trainer | None = None
    try:
        import_torch()
        trainer = build(directory, log, wishes)
        ending = Ending(*trainer.run())
    except BaseException as error:  # whatever it is, the log must say it
        told = error
        # PyTorch raises at SIGCHLD, wherever we are: where a loader died in the middle of handing a batch on,
        # that comes after the broken pipe and would take the words out of our mouth. It says more, too.
        while signal.getsignal(signal.SIGCHLD) is not signal.SIG_DFL:
            try:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            except RuntimeError as later:
                told = later
        ending = failed(told, log, trainer)
    try:
        log.close()
    except OSError as error:
        print(f"run log: {error}", file=sys.stderr, flush=True)
    return ending


def build(directory: str, log: wlog.RunLog, wishes: Wishes) -> wtrain.Trainer:
    if not TYPE_CHECKING:
        import wtrain
    return wtrain.Trainer(directory, wlog.read_json(os.path.join(directory, "run.json")), log, wishes)


def failed(error: BaseException, log: wlog.RunLog, trainer: wtrain.Trainer | None) -> Ending:
    step = trainer.step if trainer is not None else 0
    text = one_line(error)
    data = classify(error)
    if data.get("kind") == "loader-died" and "DataLoader worker" not in text:
        text = f"a loader process died: {text}"
    if type(error).__name__ in _TOLD:
        print(text, file=sys.stderr, flush=True)
    else:
        trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))[-20_000:]
        print(trace, file=sys.stderr, flush=True)
        data["traceback"] = trace
    try:
        if trainer is not None:
            trainer.abandon()
        log.event("exception", text, step, **data)
    except Exception as second:  # the directory may be gone: the reason still travels by the pipe
        print(f"run log: {second}", file=sys.stderr, flush=True)
    return Ending("failed", text, step)


def processes(directory: str) -> tuple[int, int]:
    """(ranks, threads) that run.json asks for."""
    try:
        config = wlog.read_json(os.path.join(directory, "run.json")).get("config")
    except (OSError, ValueError):
        return 1, 0  # said by `train`
    asked = [config.get(name) if isinstance(config, dict) else None for name in ("nproc", "threads")]
    ranks, threads = (value if isinstance(value, int) else 0 for value in asked)
    return max(1, ranks), threads


def train_here_or_led(directory: str) -> Ending:
    """The run in this process, or in as many as it asks for with this one as their leader."""
    ranks, threads = processes(directory)
    if ranks == 1:
        return train(directory)
    try:
        import_torch()
        if TYPE_CHECKING:
            from dctop.engine.training import wdist
        else:
            import wdist
        return Ending(*wdist.lead(os.path.abspath(__file__), directory, ranks, threads))
    except BaseException as error:
        traceback.print_exc()
        return Ending("failed", one_line(error), 0)


def train_rank(directory: str) -> int:
    """One rank, started by torchrun's launcher."""
    rank = int(os.environ["RANK"])
    ending = train(directory, f"steps.{rank}.jsonl" if rank else "steps.jsonl")
    if TYPE_CHECKING:
        from dctop.engine.training import wdist
    else:
        import wdist
    wdist.report(ending.status, ending.reason, ending.step)
    return ending.code


def train_supervised(directory: str, report: int) -> int:
    ending = train_here_or_led(directory)
    ending.send(report)
    sys.stdout.flush()
    return ending.code


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="worker.py", description="Trains as DIR/run.json says.")
    parser.add_argument("--run-dir", required=True, metavar="DIR", help="the run's directory, with run.json")
    parser.add_argument("--supervise", action="store_true", help="go to the background under a supervisor")
    parser.add_argument("--rank", action="store_true", help="be one of several (started by torchrun)")
    asked = parser.parse_args(arguments)
    directory = os.path.abspath(asked.run_dir)
    if not os.path.isfile(os.path.join(directory, "run.json")):
        print(f"{directory}: no run.json in it", file=sys.stderr)
        return 2
    if asked.supervise:
        return wsuper.supervise(directory, lambda report: train_supervised(directory, report))
    if asked.rank:
        return train_rank(directory)
    watch, meter = wmem.KillWatch(), wpower.Meter()
    facts = wsuper.identity()
    wlog.update_run(directory, **facts, pid=os.getpid(), start_ticks=wsuper.start_ticks(os.getpid()))
    ending = train_here_or_led(directory)
    wsuper.end_record(directory, os.getpid(), ending.code, ending.said(), watch, meter)
    return ending.code


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # Without the interpreter's teardown: native threads of torch have nothing left to say.
    os._exit(code)
