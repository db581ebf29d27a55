"""The app in this process, its output in a terminal emulator: what a user would see, cell by cell."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pyte
from rich.color import ColorSystem
from textual.drivers.headless_driver import HeadlessDriver

from dctop.tui.application import DctopApp
from tests.tui.screens import make_app

Cell = tuple[str, str, str, bool, bool]


class EmulatorDriver(HeadlessDriver):
    """Headless for input and size, but with output: into a pyte screen."""

    terminal: Emulator

    @property
    def is_headless(self) -> bool:
        return False

    def write(self, data: str) -> None:
        self.terminal.written += len(data)
        self.terminal.stream.feed(data)


class Emulator:
    def __init__(self, width: int, height: int) -> None:
        self.screen = pyte.Screen(max(1, width), max(1, height))
        self.stream = pyte.Stream(self.screen)
        self.written = 0

    def resize(self, width: int, height: int) -> None:
        self.screen.resize(max(1, height), max(1, width))

    def cells(self) -> list[list[Cell]]:
        """(character, foreground, background, bold, reverse) of every cell."""
        out = []
        for y in range(self.screen.lines):
            line = self.screen.buffer[y]
            out.append([_cell(line[x]) for x in range(self.screen.columns)])
        return out

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)


def _cell(c: Any) -> Cell:
    return c.data, c.fg, c.bg, c.bold, c.reverse


def truth(app: DctopApp) -> list[list[Cell]]:
    """The same of the compositor's own rendering, which the fast path must equal."""
    rows = []
    for strip in app.screen._compositor.render_strips():
        row: list[Cell] = []
        for text, style, _ in strip:
            fg = _color(style.color if style else None)
            bg = _color(style.bgcolor if style else None)
            bold, reverse = bool(style and style.bold), bool(style and style.reverse)
            row += [(c, fg, bg, bold, reverse) for c in text]
        rows.append(row)
    return rows


def _color(color: Any) -> str:
    if color is None or color.is_default:
        return "default"
    triplet = color.downgrade(ColorSystem.TRUECOLOR).get_truecolor()
    return f"{triplet.red:02x}{triplet.green:02x}{triplet.blue:02x}"


class Shown:
    """A running app and the emulator it draws into."""

    def __init__(self, app: DctopApp, pilot: Any, terminal: Emulator) -> None:
        self.app, self.pilot, self.terminal = app, pilot, terminal

    def tick(self, n: int = 1) -> None:
        """The engine ticks and the app's timer fires."""
        self.app.source.tick(n)  # type: ignore[attr-defined]
        self.app.tick(0.0)

    async def resize(self, width: int, height: int) -> None:
        self.terminal.resize(width, height)
        await self.pilot.resize_terminal(width, height)

    async def settled(self, what: str = "") -> None:
        """Until the emulator shows exactly what the compositor says; fails when it does not get there."""
        seen: list[list[Cell]] = []
        wanted = seen
        for _ in range(150):
            await self.pilot.pause()
            seen, wanted = self.terminal.cells(), truth(self.app)
            if seen == wanted and not self.app.node._dirty_widgets:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"after {what}: {difference(seen, wanted)}\n{self.terminal.text}")


def difference(seen: list[list[Cell]], wanted: list[list[Cell]]) -> str:
    """The first cell that differs."""
    if len(seen) != len(wanted):
        return f"{len(seen)} rows instead of {len(wanted)}"
    for y, (a, b) in enumerate(zip(seen, wanted, strict=True)):
        if a != b:
            if len(a) != len(b):
                return f"row {y}: {len(a)} cells instead of {len(b)}"
            x = next(i for i in range(len(a)) if a[i] != b[i])
            return f"row {y} column {x}: {a[x]} instead of {b[x]}"
    return "none"


@asynccontextmanager
async def shown(width: int, height: int, source: Any = None, **options: Any) -> AsyncIterator[Shown]:
    """Run an app on a terminal of `width` x `height`."""
    app = make_app(source, **options)
    terminal = Emulator(width, height)

    def build(headless: bool, inline: bool, mouse: bool, size: tuple[int, int] | None) -> EmulatorDriver:
        driver = EmulatorDriver(app, debug=False, mouse=mouse, size=size)
        driver.terminal = terminal
        app._driver = driver
        return driver

    app._build_driver = build  # type: ignore[method-assign]
    async with app.run_test(size=(width, height)) as pilot:
        yield Shown(app, pilot, terminal)
