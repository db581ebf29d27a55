"""Helpers for tests of the whole screen, without a terminal."""

from __future__ import annotations

from typing import Any

from dctop.tui.application import DctopApp
from dctop.tui.draw.look import Look
from dctop.tui.state import UiState
from tests.fakes.ui_panes import all_panes
from tests.fakes.ui_source import FakeLive


def make_app(source: Any = None, **options: Any) -> DctopApp:
    defaults: dict[str, Any] = {
        "look": Look(), "theme": "dctop-dark", "colors": "truecolor", "state": UiState(),
    }  # fmt: skip
    models = options.pop("models", None) or all_panes()
    return DctopApp(source or FakeLive(), models, **{**defaults, **options})


def text_of(app: DctopApp) -> str:
    """The screen as text, line by line, as the compositor has it."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


async def settle(pilot: Any) -> None:
    """Until everything asked for so far is on the screen."""
    for _ in range(3):
        await pilot.pause()
