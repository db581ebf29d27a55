"""`dctop replay FILE`: the dashboard in time travel."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from dctop.tui.commands import TABLE, CommandError

NAME = "replay"
HELP = TABLE[NAME]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="FILE", help="a recording (.dctop), also one still being written"
    )
    parser.add_argument(
        "--at", metavar="TIME", help="start there: 14:02, 14:02:30, -5m from the end, +90s from the start"
    )
    parser.add_argument("--theme", metavar="NAME", help="colour theme")
    parser.add_argument("--graph", choices=("braille", "block", "ascii"), help="how graphs are drawn")
    parser.add_argument(
        "--paint", choices=("auto", "safe"), help="safe: only through Textual's public interface"
    )
    parser.add_argument("--lang", choices=("en", "zh"), help="language of alert texts")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file to use")


def run(args: Namespace) -> int:
    file: Path = args.file
    if not file.exists():
        raise CommandError(
            f"{file}: no such file: name a recording (`r` in the dashboard or `dctop record` makes one)"
        )
    if file.is_dir():
        raise CommandError(f"{file} is a directory: name a recording in it")
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise CommandError("replay needs a terminal: run it in one (`ssh -t`), or use `dctop rec info`")
    from dctop.engine.config import load

    config, problems = load(args.config)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    from dctop.tui.app import run_dashboard

    return run_dashboard(
        replay=file,
        at=args.at,
        readonly=True,
        paint=args.paint or config.paint,
        theme=args.theme,
        graph=args.graph,
        config=config,
        lang=args.lang,
    )
