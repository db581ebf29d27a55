"""A document as Markdown (GitHub's tables). Charts become a line of blocks with their numbers."""

from __future__ import annotations

import re

from dctop.engine.report.blocks import (
    Block,
    Bullets,
    Chart,
    Commands,
    Document,
    Heading,
    Output,
    Para,
    Table,
)
from dctop.engine.report.say import Say
from dctop.engine.report.svg import numbers
from dctop.engine.report.units import quantity, spark

_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"(?<![\w])_(?=[^\s_])|(?<=[^\s_])_(?!\w)|\[(?=[^\]]*\]\()|^[#>+-](?=\s)")
"""What would begin emphasis, a link, a heading, a list."""


def render(document: Document) -> str:
    parts = [f"# {_text(document.title)}", _text(document.subtitle)]
    say = Say(document.lang)
    parts += [_block(b, say) for b in document.blocks]
    return "\n\n".join(parts) + "\n"


def _text(text: str) -> str:
    """Inert outside of code: whatever a process calls itself, it makes no markup."""
    out = []
    for part in _CODE.split(" ".join(text.split())):
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            out.append(part)
        else:
            part = part.replace("\\", "\\\\").replace("`", "\\`").replace("<", "&lt;").replace("*", "\\*")
            out.append(_MARKUP.sub(lambda m: "\\" + m[0], part))
    return "".join(out)


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else " " for c in line)


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _block(block: Block, say: Say) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_text(text)}"
        case Para(text, kind):
            words = _text(text)
            return (
                f"> **{say('note')}** {words}"
                if kind == "warning"
                else f"*{words}*"
                if kind == "human"
                else words
            )
        case Bullets(items):
            return "\n".join(f"- {_text(i)}" for i in items)
        case Commands(lines):
            return "```sh\n" + "\n".join(lines) + "\n```"
        case Output(lines):
            shown = (_printable(line).replace("```", "'''") for line in lines)
            return "```text\n" + "\n".join(shown) + "\n```"
        case Table():
            return _table(block, say)
        case Chart():
            return _chart(block, say)


def _table(t: Table, say: Say) -> str:
    rule = ["---:" if i in t.numbers else "---" for i in range(len(t.head))]
    lines = [_row([_cell(h) for h in t.head]), _row(rule)]
    for n, row in enumerate(t.rows):
        cells = [_cell(c) for c in row]
        if t.marks and t.marks[n]:
            at = 1 if len(cells) > 1 else 0
            cells[at] = _sign(t.marks[n], say) + cells[at]
        lines.append(_row(cells))
    return "\n".join(lines)


def _sign(severity: str, say: Say) -> str:
    if severity not in ("critical", "warning"):
        return ""
    word = say(severity)
    return f"**{word.upper() if severity == 'critical' else word}** "


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _chart(chart: Chart, say: Say) -> str:
    lines = []
    for curve in chart.curves:
        stats = numbers(curve)
        if stats is not None:
            low, mean, high = (quantity(v, chart.unit) for v in stats)
            line = spark([p.mean for p in curve.points], 60)
            told = say("chart.numbers", low=low, high=high, mean=mean)
            lines.append(f"{curve.name:<24} {line}  {told}")
    return f"{_text(chart.title)}\n\n```text\n" + "\n".join(lines or [say("chart.empty")]) + "\n```"
