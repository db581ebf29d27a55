"""The commands, one module each with `NAME`, `HELP`, `configure(parser)` and `run(args) -> int`.

The table repeats names and one-liners so that `dctop --help` imports none of the modules; a test holds
both equal.
"""

from __future__ import annotations

import importlib
from argparse import ArgumentParser, Namespace
from typing import Protocol, cast

TABLE: dict[str, str] = {
    "train": "start a training run and watch it",
    "infer": "measure inference: latency, throughput, accuracy, calibration",
    "runs": "list, show, attach, stop, resume, remove training runs",
    "record": "record without a screen",
    "replay": "the dashboard in time travel",
    "report": "the post-mortem of a recording, as Markdown or HTML",
    "export": "a recording for other programs: CSV, JSON, Parquet, Perfetto, OpenMetrics",
    "plot": "series of a recording as a chart in the terminal",
    "rec": "look after a recording: info, cut, redact, repair",
    "snapshot": "every metric once, as a table or JSON",
    "doctor": "what works here, what does not, and why",
    "check": "judge this node now, or a recording",
    "rules": "the rules, explained",
    "completions": "print the completion script of a shell",
}


class Command(Protocol):
    """What a command module offers."""

    NAME: str
    HELP: str

    @staticmethod
    def configure(parser: ArgumentParser) -> None: ...

    @staticmethod
    def run(args: Namespace) -> int: ...


class CommandError(Exception):
    """Ends a command with one line on standard error: what was wrong and what to do."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def load(name: str) -> Command:
    """The module of a command of `TABLE`."""
    return cast(Command, importlib.import_module(f"dctop.tui.commands.{name}"))
