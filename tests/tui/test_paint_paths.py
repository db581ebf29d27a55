"""Fast and safe painting put the same cells on the terminal, whatever happens in between."""

from __future__ import annotations

import random
from itertools import count

import pytest

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, row_width
from dctop.tui.fast import FAST_VERSION, FastCompositor, fast_allowed
from dctop.tui.theme import THEMES
from tests.fakes.ui_source import FakeLive, FakeReplay, alert
from tests.tui.emulator import Shown, shown

PATHS = pytest.mark.parametrize("paint", ["fast", "safe"])
STEPS = (
    "tick", "tick", "tick", "press:tab", "press:shift+tab", "press:e", "press:escape", "press:colon",
    "press:f1", "press:f2", "press:down", "press:pagedown", "press:1", "press:5", "press:8", "press:slash",
    "press:x", "press:backspace", "press:enter", "press:A", "press:D", "press:R", "press:left", "press:z",
    "press:space", "press:f6", "press:ctrl+l", "resize:80x24", "resize:120x40", "resize:160x50", "theme",
    "alert", "calm", "toast", "resize:30x8", "stale",
)  # fmt: skip


def paints(s: Shown) -> int:
    compositor = s.app.node._compositor
    return compositor.fast_paints if isinstance(compositor, FastCompositor) else 0


async def do(s: Shown, step: str, rng: random.Random) -> None:
    kind, _, rest = step.partition(":")
    source = s.app.source
    assert isinstance(source, FakeLive)
    if kind == "tick":
        s.tick()
    elif kind == "press":
        await s.pilot.press(rest)
    elif kind == "resize":
        await s.resize(*map(int, rest.split("x")))
    elif kind == "theme":
        s.app.set_theme(rng.choice([t for t in THEMES if t != "mono"]))
    elif kind == "toast":
        s.app.notify("a toast over the panes", timeout=0.2)
    elif kind == "alert":
        source.known_alerts = [alert(severity="critical", title="rank 3 stalls")]
        s.tick()
    elif kind == "calm":
        source.known_alerts = []
        s.tick()
    elif kind == "stale":
        source.stale_probes ^= {"cpu"}
        s.tick()


@PATHS
@pytest.mark.parametrize("seed", range(3))
async def test_any_sequence_of_events_leaves_what_the_compositor_says(paint: str, seed: int) -> None:
    rng = random.Random(seed)
    async with shown(120, 40, paint_mode=paint) as s:
        await s.settled("start")
        done: list[str] = []
        for _ in range(35):
            step = rng.choice(STEPS)
            done.append(step)
            await do(s, step, rng)
            await s.settled(" ".join(done[-6:]))
        assert (paints(s) > 0) == (paint == "fast")


@PATHS
@pytest.mark.parametrize(
    "steps",
    [
        ["press:colon", "tick", "tick", "press:escape", "tick"],
        ["press:f1", "tick", "press:pagedown", "tick", "press:escape", "tick"],
        ["toast", "tick", "tick", "tick"],
        ["tick", "resize:80x24", "tick", "resize:200x60", "tick"],
        ["tick", "theme", "tick", "press:e", "tick", "press:tab", "tick", "press:e", "tick"],
        ["press:slash", "press:a", "tick", "press:b", "tick", "press:enter", "tick"],
        ["resize:1x1", "tick", "resize:20x3", "tick", "resize:21x6", "tick", "resize:100x30", "tick"],
        ["alert", "tick", "press:A", "tick", "calm", "press:D", "tick"],
    ],
    ids=["palette", "help", "toast", "resize", "theme-zoom-focus", "filter", "tiny", "ribbon"],
)
async def test_what_lies_over_or_moves_the_panes(paint: str, steps: list[str]) -> None:
    rng = random.Random(0)
    async with shown(100, 32, paint_mode=paint) as s:
        await s.settled("start")
        for i, step in enumerate(steps):
            await do(s, step, rng)
            await s.settled(" ".join(steps[: i + 1]))


@PATHS
async def test_replay_and_ascii_and_mono(paint: str) -> None:
    for options in ({"look": Look("ascii", False)}, {"theme": "mono"}, {"colors": "none"}):
        async with shown(120, 36, FakeReplay(), paint_mode=paint, **options) as s:
            await s.settled("start")
            for key in ("right", "t", "shift+right", "n", "home", "end", "N"):
                await s.pilot.press(key)
                await s.settled(key)


async def test_only_changed_cells_are_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a crowded machine seconds may pass between two lines here, and the header would say so.
    monkeypatch.setattr("dctop.tui.ticker.STALL_TICKS", 1_000_000)
    # A header that says the same in two ticks is sent whole when it changes for the first time after that.
    seconds = count()
    monkeypatch.setattr("dctop.tui.screen.wall_clock", lambda: f"12:00:{next(seconds) % 60:02}")
    async with shown(160, 50, paint_mode="fast") as s:
        await s.settled("start")
        s.tick()
        await s.settled("tick")
        full = s.terminal.written
        before, fast = s.terminal.written, paints(s)
        s.app.tick(0.0)  # nothing new but the clock
        await s.settled("nothing")
        assert s.terminal.written - before < 400 < full
        s.tick()
        await s.settled("second")
        assert paints(s) > fast


async def test_one_dialog_does_not_stop_fast_painting_after_it_closed() -> None:
    async with shown(100, 32, paint_mode="fast") as s:
        await s.pilot.press("f1")
        await s.settled("help")
        await s.pilot.press("escape")
        await s.settled("closed")
        before = paints(s)
        s.tick()
        await s.settled("tick")
        assert paints(s) == before + 1


def test_only_the_known_version_paints_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fast_allowed("auto")
    assert not fast_allowed("safe")
    monkeypatch.setattr("dctop.tui.fast.textual_version", "8.3.0")
    assert not fast_allowed("auto")
    assert not fast_allowed("fast")
    assert FAST_VERSION == "8.2.8"


async def test_rows_that_changed_within_a_layout_are_not_believed_shown() -> None:
    async with shown(100, 32, paint_mode="fast") as s:
        await s.settled("start")
        s.tick()
        await s.settled("tick")
        pane = s.app.node.panes["cpu"]
        first = list(pane.rows)
        pane.put(blanked(first), quiet=True)
        s.app.node.relayout()
        s.app.node.refresh()
        await s.settled("layout with other rows")
        pane.put(first)
        s.app.node.paint_now()
        await s.settled("the rows of before")


def blanked(rows: list[Row]) -> list[Row]:
    """Rows of the same width with other text."""
    return [(("x" * row_width(row), S.TEXT),) for row in rows]
