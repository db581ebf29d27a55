"""The first numbers, drawn before Textual is there: the same screen as afterwards."""

from __future__ import annotations

from typing import Any

import pyte
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.tui.app import pane_models
from dctop.tui.draw.look import Look
from dctop.tui.early import numbers
from dctop.tui.state import UiState
from dctop.tui.theme import paint
from tests.fakes.ui_source import FakeLive, alert
from tests.tui.screens import make_app, settle, text_of


def early_text(source: FakeLive, state: UiState, w: int, h: int, look: Look) -> str:
    screen = pyte.Screen(w, h)
    sequence = numbers(w, h, look, paint("dctop-dark", "truecolor"), source, state, pane_models())
    pyte.Stream(screen).feed(sequence)
    return "\n".join(line.rstrip() for line in screen.display)


@pytest.mark.parametrize("size", [(20, 5), (40, 12), (80, 24), (120, 40), (200, 60)])
@pytest.mark.parametrize("look", [Look(), Look("ascii", False)])
@pytest.mark.parametrize("alerts", [0, 2])
async def test_the_first_numbers_stand_where_the_screen_has_them(
    size: tuple[int, int], look: Look, alerts: int
) -> None:
    live = FakeLive(2)
    live.known_alerts = [alert(i) for i in range(alerts)]
    hidden = {"disk"} if alerts else {"disk", "alerts"}
    early = early_text(live, UiState(hidden=hidden), *size, look).splitlines()
    app = make_app(live, models=pane_models(), look=look, state=UiState(hidden=hidden))
    async with app.run_test(size=size) as pilot:
        await settle(pilot)
        late = text_of(app).splitlines()
    # The first line ends with the time of day, the last one has the keys.
    assert early[0][: size[0] - 10] == late[0][: size[0] - 10]
    assert early[1 : size[1] - 1] == late[1 : size[1] - 1]


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 220), st.integers(1, 70))
def test_the_first_numbers_can_be_drawn_at_any_size(w: int, h: int) -> None:
    assert "cannot draw" not in early_text(FakeLive(8), UiState(), w, h, Look())


def test_before_the_first_tick_there_is_nothing_to_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    live: Any = FakeLive()
    monkeypatch.setattr(live, "snapshot", lambda: None)
    assert numbers(120, 40, Look(), paint("dctop-dark", "256"), live, UiState(), pane_models()) == ""
