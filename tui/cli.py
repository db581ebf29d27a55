"""The command line. Imports neither Textual nor torch, psutil or numpy until a command needs them."""

from __future__ import annotations

from dctop.tui import lean  # before all that it makes leaner

# isort: split
import os
import re
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from dctop.tui.commands import TABLE, CommandError, load

if TYPE_CHECKING:
    from dctop.engine.logs import LogFile

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
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.1 <= value <= 60:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds from 0.1 to 60")
    return value


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


def _with_moments(words: Sequence[str]) -> list[str]:
    """`--at -5m` as `--at=-5m`: argparse takes what begins with a dash for an option."""
    out: list[str] = []
    for word in words:
        if out and out[-1] == "--at" and word[:1] == "-" and word[1:2].isdigit():
            out[-1] = f"--at={word}"
        else:
            out.append(word)
    return out


def main(argv: Sequence[str] | None = None) -> int:
    """Run `dctop`. 0 well, 1 findings or failure, 2 bad usage, 130 interrupted, 141 output closed."""
    args = list(sys.argv[1:] if argv is None else argv)
    _home()
    try:
        status = _main(args)
        sys.stdout.flush()
        return status
    except SystemExit as e:  # argparse's own: --help
        return e.code if isinstance(e.code, int) else 0 if e.code is None else 1
    except CommandError as e:
        return _fail(str(e), e.status)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The interpreter flushes again at exit; that must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as e:
        return _crashed(e)


def _main(args: list[str]) -> int:
    if args and args[0] in TABLE:
        parsed = command_parser(args[0]).parse_args(_with_moments(args[1:]))
        _logging()
        return load(args[0]).run(parsed)
    if args and args[0] == "help":
        args = [*args[1:2], "--help"]
        return _main(args)
    parsed, rest = dashboard_parser().parse_known_args(args)
    if rest:
        raise CommandError(_unknown(rest))
    if parsed.version:
        from dctop.engine.version import version

        print(f"dctop {version()}")
        return 0
    return _dashboard(parsed)


def _unknown(rest: list[str]) -> str:
    """What to say of arguments nobody knows."""
    word = next((w for w in rest if not w.startswith("-")), None)
    if rest[0].startswith("-"):
        known = [o for a in dashboard_parser()._actions for o in a.option_strings]
        return f"unknown option {rest[0]}{_nearest(rest[0].partition('=')[0], known, 'see `dctop --help`')}"
    if word in TABLE:
        return f"options stand before the command: write `dctop {word} ...` and its own options behind"
    return f"unknown command {rest[0]}{_nearest(rest[0], list(TABLE), 'see `dctop --help`')}"


def _nearest(word: str, known: list[str], otherwise: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean `{near[0]}`?" if near else f": {otherwise}"


def _dashboard(args: Namespace) -> int:
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        side = "standard input" if sys.stdout.isatty() else "standard output"
        raise CommandError(
            f"{side} is not a terminal: use a terminal (`ssh -t`), or `dctop snapshot` or `dctop record`"
        )
    from dctop.engine.config import load as load_config

    config, problems = load_config(args.config)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    if args.config is not None and config.path is None:
        return 2
    _logging()
    with lean.rich():
        from dctop.tui.app import run_dashboard

    # Theme, graph, panes and language of the configuration are the dashboard's to weigh against these.
    return run_dashboard(
        readonly=args.readonly or config.readonly,
        paint=args.paint or config.paint,
        theme=args.theme,
        graph=args.graph,
        interval_s=args.interval or config.interval,
        panes=args.panes,
        record=args.record,
        config=config,
        lang=args.lang,
    )


def _home() -> None:
    """A user id without a home (containers with arbitrary ids): as the shell does, take the root."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/"


_log: LogFile | None = None


def _logging() -> None:
    global _log
    from dctop.engine import logs

    _log = logs.setup()


def _fail(message: str, status: int) -> int:
    print("dctop:", " ".join(message.split()), file=sys.stderr)
    return status


def _crashed(error: Exception) -> int:
    """An error nobody foresaw: one line, the rest is in the log."""
    import logging
    import traceback

    if _log is None:
        _logging()
    assert _log is not None
    logging.getLogger("dctop").error("unexpected error", exc_info=error)
    if os.environ.get("DCTOP_DEBUG"):
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    where = "set DCTOP_DEBUG=1 to see where" if _log.problem else f"details in {_log.path}"
    return _fail(f"unexpected error ({what}): {where}", 1)


if __name__ == "__main__":
    sys.exit(main())
