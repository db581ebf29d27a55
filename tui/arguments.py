"""The parsers of the command line: the dashboard's and, with the help of its module, each command's."""

from __future__ import annotations

import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from pathlib import Path
from typing import Any, NoReturn

from dctop.tui.commands import TABLE, CommandError, load, seconds

PANES = ("cpu", "gpu", "memory", "disk", "network", "processes", "training", "alerts")
DESCRIPTION = (
    "One full-screen view of a GPU node and the training on it: live, diagnosed, recorded, replayable."
)


class Parser(ArgumentParser):
    """argparse, with errors of one line that say what to do. `-5m` is a value (`--begin -5m`), as `-5` is."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._negative_number_matcher = re.compile(r"-\d.*")

    def error(self, message: str) -> NoReturn:
        message = message.replace("the following arguments are required", "missing")
        raise CommandError(f"{message}: see `{self.prog} --help`")


class Help(RawDescriptionHelpFormatter):
    """As wide as argparse's own, which imports `shutil` to find out, and with it bz2 and lzma."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.__stdout__.fileno()).columns or 80  # type: ignore[union-attr]
    except (AttributeError, ValueError, OSError):
        return 80


def interval(text: str) -> float:
    """Argument type: seconds between two readings."""
    try:
        return seconds(text)
    except ValueError as e:
        raise ArgumentTypeError(str(e)) from None


def pane_list(text: str) -> tuple[str, ...]:
    """Argument type: `cpu,memory`."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    wrong = [n for n in names if n not in PANES]
    if wrong or not names:
        raise ArgumentTypeError(f"{', '.join(wrong) or repr(text)} is no pane; panes are {', '.join(PANES)}")
    return names


def dashboard_parser() -> Parser:
    """`dctop` without a command, and the list of commands for `--help`."""
    width = max(map(len, TABLE)) + 2
    commands = "\n".join(f"  {name:<{width}}{text}" for name, text in TABLE.items())
    p = Parser(
        prog="dctop",
        usage="dctop [options]\n       dctop COMMAND ...",
        description=f"{DESCRIPTION}\n\nWithout a command: the dashboard.\n\ncommands:\n{commands}",
        epilog="`dctop COMMAND --help` explains a command; in the dashboard ? shows the keys.",
        formatter_class=Help,
        allow_abbrev=False,
    )
    p.add_argument("--version", action="store_true", help="print the version and end")
    p.add_argument("--readonly", action="store_true", help="refuse every action on other processes")
    p.add_argument("--interval", type=interval, metavar="S", help="seconds between two readings (1)")
    p.add_argument("--panes", type=pane_list, metavar="LIST", help=f"panes to start with: {','.join(PANES)}")
    p.add_argument("--theme", metavar="NAME", help="colour theme")
    p.add_argument("--graph", choices=("braille", "block", "ascii"), help="how graphs are drawn")
    p.add_argument("--paint", choices=("auto", "safe"), help="safe: only through Textual's public interface")
    p.add_argument("--record", type=Path, metavar="FILE", help="record into FILE from the start")
    p.add_argument("--lang", choices=("en", "zh"), help="language of alert texts")
    p.add_argument("--config", type=Path, metavar="FILE", help="configuration file to use")
    return p


def command_parser(name: str) -> Parser:
    """The parser of one command; imports its module."""
    module = load(name)
    p = Parser(
        prog=f"dctop {name}", description=module.HELP[:1].upper() + module.HELP[1:] + ".", allow_abbrev=False
    )
    module.configure(p)
    return p
