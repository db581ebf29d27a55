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
    Para,
    Table,
)
from dctop.engine.report.svg import numbers
from dctop.engine.report.units import quantity, spark

_SIGN = {"critical": "**CRITICAL** ", "warning": "**warning** ", "info": ""}
_CODE = re.compile(r"(`[^`]+`)")
_MARKUP = re.compile(r"(?<![\w])_(?=[^\s_])|(?<=[^\s_])_(?!\w)|\[(?=[^\]]*\]\()|^[#>+-](?=\s)")
"""What would begin emphasis, a link, a heading, a list."""


def render(document: Document) -> str:
    parts = [f"# {_text(document.title)}", _text(document.subtitle)]
    parts += [_block(b) for b in document.blocks]
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


def _cell(text: str) -> str:
    return _text(text).replace("|", "\\|")


def _block(block: Block) -> str:
    match block:
        case Heading(level, text):
            return f"{'#' * level} {_text(text)}"
        case Para(text, kind):
            words = _text(text)
            return f"> **Note:** {words}" if kind == "warning" else f"*{words}*" if kind == "human" else words
        case Bullets(items):
            return "\n".join(f"- {_text(i)}" for i in items)
        case Commands(lines):
            return "```sh\n" + "\n".join(lines) + "\n```"
        case Table():
            return _table(block)
        case Chart():
            return _chart(block)


def _table(t: Table) -> str:
    rule = ["---:" if i in t.numbers else "---" for i in range(len(t.head))]
    lines = [_row([_cell(h) for h in t.head]), _row(rule)]
    for n, row in enumerate(t.rows):
        cells = [_cell(c) for c in row]
        if t.marks and t.marks[n]:
            at = 1 if len(cells) > 1 else 0
            cells[at] = _SIGN.get(t.marks[n], "") + cells[at]
        lines.append(_row(cells))
    return "\n".join(lines)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _chart(chart: Chart) -> str:
    lines = []
    for curve in chart.curves:
        stats = numbers(curve)
        if stats is not None:
            low, mean, high = (quantity(v, chart.unit) for v in stats)
            line = spark([p.mean for p in curve.points], 60)
            lines.append(f"{curve.name:<24} {line}  {low} to {high}, mean {mean}")
    return f"{_text(chart.title)}\n\n```text\n" + "\n".join(lines or ["nothing recorded"]) + "\n```"
