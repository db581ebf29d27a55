"""The version, read from the one file that states it."""

from __future__ import annotations

from pathlib import Path


def version() -> str:
    """`0.1.0`. The same in a wheel, an editable install and a plain checkout."""
    return (Path(__file__).parent / "VERSION").read_text(encoding="ascii").strip()
