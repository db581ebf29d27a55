"""Sections of a Markdown page that several programs write: each puts its own, none touches another's."""

from __future__ import annotations

import re
from pathlib import Path


def title(section: str) -> str:
    """The heading a section begins with, without its marks."""
    return section.split("\n", 1)[0].removeprefix("## ").strip()


def find(text: str, name: str) -> str | None:
    """The section of that heading, as it stands; None: there is none."""
    for part in re.split(r"(?m)^(?=## )", text):
        if part.startswith("## ") and title(part) == name:
            return part
    return None


def put(text: str, section: str) -> str:
    """`text` with this section in the place of the one of the same heading, or at the end."""
    parts = re.split(r"(?m)^(?=## )", text)
    section = section.rstrip("\n") + "\n"
    for i, part in enumerate(parts):
        if part.startswith("## ") and title(part) == title(section):
            parts[i] = section + ("\n" if i + 1 < len(parts) else "")
            return "".join(parts)
    head = text.rstrip("\n")
    return f"{head}\n\n{section}" if head else section


def write(out: Path, section: str) -> None:
    """Put it into the file, which is made where there is none."""
    old = out.read_text() if out.exists() else ""
    out.write_text(put(old, section))


def carried(new: str, old: str, names: tuple[str, ...]) -> str:
    """`new` with the sections of these headings that `old` has and `new` has not."""
    for name in names:
        section = find(old, name)
        if section is not None and find(new, name) is None:
            new = put(new, section)
    return new
