"""`dctop report FILE`: the post-mortem of a recording, mostly written."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError
from dctop.tui.ranges import REDACTED, Range, add_range, add_redact, open_file, output, range_of, redacted

if TYPE_CHECKING:
    from dctop.engine.recording.reader import Recording
    from dctop.engine.report.blocks import Document

NAME = "report"
HELP = TABLE[NAME]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a recording, also one still being written")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="OUT.md or OUT.html (default: Markdown, standard output)",
    )
    parser.add_argument("--to", choices=("md", "html"), help="the format, where the name does not say it")
    add_range(parser)
    add_redact(parser)
    parser.add_argument(
        "--lang",
        choices=("en", "zh"),
        help="language of what the report says (the configuration's, the locale's)",
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file")


def run(args: Namespace) -> int:
    from dctop.engine.config import load
    from dctop.engine.report import html, markdown
    from dctop.tui.commands import language

    config, _ = load(args.config)
    lang = language(args.lang, config.lang)
    to = args.to or _format(args.output)
    with open_file(args.file) as recording:
        part = range_of(args, recording)
        if args.redact:
            with redacted(recording) as (copy, _):
                document = _document(copy, part, Path(REDACTED), lang)
        else:
            document = _document(recording, part, None, lang)
    text = html.render(document) if to == "html" else markdown.render(document)
    with output(args.output, args.file) as out:
        out.write(text)
    return 0


def _document(recording: Recording, part: Range, shown_as: Path | None, lang: str) -> Document:
    from dctop.engine.recording.schema import RecordingError
    from dctop.engine.report.sections import report

    try:
        return report(recording, part.t0, part.t1, shown_as, lang)
    except RecordingError as e:
        raise CommandError(str(e), 1) from None


def _format(path: Path | None) -> str:
    if path is None or str(path) == "-":
        return "md"
    suffix = path.suffix.lower()
    if suffix in (".html", ".htm"):
        return "html"
    if suffix in (".md", ".markdown", ".txt"):
        return "md"
    raise CommandError(f"{path}: name it .md or .html, or say --to md or --to html")
