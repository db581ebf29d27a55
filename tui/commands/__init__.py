"""The commands, one module each with `NAME`, `HELP`, `configure(parser)` and `run(args) -> int`.

The table repeats names and one-liners so that `dctop --help` imports none of the modules; a test holds
both equal.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

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


def seconds(text: str) -> float:
    """What `--interval` takes; ValueError says what is wrong."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 60:
        raise ValueError(f"{text!r} is not a number of seconds from 0.1 to 60")
    return value


def language(asked: str | None, configured: str | None) -> str:
    """`--lang`, else the configuration's, else the locale's: `en` or `zh`."""
    found = next((os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), "")
    return asked or configured or ("zh" if found.lower().startswith("zh") else "en")
