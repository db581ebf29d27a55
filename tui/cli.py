"""The command line. Imports neither Textual nor torch, psutil or numpy until a command needs them."""

from __future__ import annotations

from dctop.tui import lean  # before all that it makes leaner

# isort: split
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

from dctop.tui.commands import TABLE, CommandError, load, seconds

if TYPE_CHECKING:
    from dctop.engine.logs import LogFile


@cache
def _arguments() -> ModuleType:
    """The parsers. Without them the dashboard starts sooner, and argparse is 0.4 MB."""
    lean.load_argparse()
    from dctop.tui import arguments

    return arguments


def plain(args: Sequence[str]) -> SimpleNamespace | None:
    """What the dashboard's parser makes of the plainest options; None: they are for the parser."""
    made: dict[str, Callable[[str], Any]] = {
        "--interval": seconds, "--theme": str, "--record": Path, "--config": Path,
    }  # fmt: skip
    found: dict[str, Any] = dict.fromkeys(
        ("interval", "theme", "record", "config", "panes", "graph", "paint", "lang")
    )
    found |= {"version": False, "readonly": False}
    words = iter(args)
    for word in words:
        if word == "--readonly":
            found["readonly"] = True
            continue
        value = next(words, "") if word in made else ""
        if not value or value.startswith("-"):
            return None
        try:
            found[word[2:]] = made[word](value)
        except ValueError:
            return None
    return SimpleNamespace(**found)


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
    parsed: Any
    if args and args[0] in TABLE:
        parsed = _arguments().command_parser(args[0]).parse_args(_with_moments(args[1:]))
        _logging()
        return load(args[0]).run(parsed)
    if args and args[0] == "help":
        args = [*args[1:2], "--help"]
        return _main(args)
    parsed = plain(args)
    if parsed is None:
        parsed, rest = _arguments().dashboard_parser().parse_known_args(args)
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
        known = [o for a in _arguments().dashboard_parser()._actions for o in a.option_strings]
        return f"unknown option {rest[0]}{_nearest(rest[0].partition('=')[0], known, 'see `dctop --help`')}"
    if word in TABLE:
        return f"options stand before the command: write `dctop {word} ...` and its own options behind"
    return f"unknown command {rest[0]}{_nearest(rest[0], list(TABLE), 'see `dctop --help`')}"


def _nearest(word: str, known: list[str], otherwise: str) -> str:
    import difflib

    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f": did you mean `{near[0]}`?" if near else f": {otherwise}"


def _dashboard(args: Any) -> int:
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
    lean.load_logging()
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
