"""docs/RULES.md is what the rules say."""

from __future__ import annotations

from pathlib import Path

from dctop.engine.rules.doc import markdown
from dctop.engine.rules.registry import make_rules

PAGE = Path(__file__).resolve().parents[3] / "docs" / "RULES.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text() == markdown(), "run: python -m dctop.engine.rules.doc > docs/RULES.md"


def test_every_rule_is_on_it() -> None:
    page = markdown()
    assert all(f"### {r.id}\n" in page for r in make_rules())
