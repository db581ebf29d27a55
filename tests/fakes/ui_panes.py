"""Panes for tests of the screen: graphs, a table with cursor and filter, every intent on a key."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.tui import intents
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.intents import Intent
from dctop.tui.keys import Action
from dctop.tui.panes.base import PaneModel, View
from dctop.tui.views.dashboard import PANE_KEYS

BARS = " ⡀⣀⣄⣤⣦⣶⣷⣿"


class GraphPane(PaneModel):
    probes = ("cpu",)
    metrics = ("cpu.util_pct", "memory.total_bytes")
    about = "A graph for tests."

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        value = view.source.window(self.key, 1)[0]
        return [(self.name, S.TITLE)], [(f"{value:5.1f}%", S.VALUE)]

    def body(self, view: View, w: int, h: int) -> list[Row]:
        values = view.source.window(self.key, w)
        rows: list[Row] = []
        for y in range(h, 0, -1):
            levels = (max(0, min(8, int((v / 100 * h - y + 1) * 8))) for v in values)
            text = (
                "".join(BARS[i] for i in levels)
                if view.look.unicode
                else "".join(" #"[v * h > 100 * y] for v in values)
            )
            rows.append(((text, S.GRAPH_WARN if y > 0.7 * h else S.GRAPH),))
        return rows


class TablePane(PaneModel):
    key = "processes"
    name = "PROC"
    about = "A table for tests."
    actions = (
        Action("process.up", ("up",), "up", "Up.", False),
        Action("process.down", ("down",), "down", "Down.", False),
        Action("process.filter", ("f3", "slash"), "filter", "Filter."),
        Action("process.sort", ("f6",), "sort", "Sort."),
        Action("process.kill", ("f9",), "signal", "Send a signal."),
        Action("process.nice", ("f7", "f8", "N"), "nice", "Renice."),
        Action("process.detail", ("enter",), "detail", "Detail."),
    )
    sorts = (("cpu", "CPU"), ("rss", "memory"))

    def __init__(self) -> None:
        self.cursor, self.filter, self.sort = 0, "", "cpu"

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        return [(self.name, S.TITLE), (f" /{self.filter}" if self.filter else "", S.INPUT)], [
            (self.sort, S.VALUE)
        ]

    def body(self, view: View, w: int, h: int) -> list[Row]:
        n = view.snap.frame.seq if view.snap else 0
        rows: list[Row] = []
        for i in range(h):
            cpu = (i * 7 + n * 3 * (i % 3)) % 100
            style = S.TEXT if i != self.cursor else (S.SELECT if view.focused else S.SELECT_DIM)
            state = S.CRIT if cpu > 90 else S.WARN if cpu > 70 else S.GOOD
            rows.append(
                fit_row(
                    [
                        (f"{1000 + i:>7} ", style if style != S.TEXT else S.DIM),
                        (f"{cpu:5.1f} ", state),
                        (fit(f"command {i} --with {self.filter or 'arguments'}", max(0, w - 14)), style),
                    ],
                    w,
                )
            )
        return rows

    def act(self, action_id: str, view: View) -> Intent | None:
        pid, start, name = 1000 + self.cursor, 5, "command"
        match action_id:
            case "process.up":
                self.cursor = max(0, self.cursor - 1)
            case "process.down":
                self.cursor += 1
            case "process.filter":
                return intents.EditFilter(self.filter)
            case "process.sort":
                return intents.ChooseSort(self.sorts, self.sort)
            case "process.kill":
                return intents.SignalProcess(pid, start, name)
            case "process.nice":
                return intents.ReniceProcess(pid, start, name, 0)
            case "process.detail":
                return intents.ShowProcess(pid, start)
        return None

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        self.cursor = y
        return None

    def scroll(self, rows: int) -> bool:
        self.cursor = max(0, self.cursor + rows)
        return True

    def set_filter(self, text: str) -> None:
        self.filter = text

    def set_sort(self, column: str) -> None:
        self.sort = column


def all_panes() -> list[PaneModel]:
    """One of each digit; fresh every time."""
    names = {"memory": "MEM", "network": "NET", "training": "TRAIN"}
    made: list[PaneModel] = []
    for key in PANE_KEYS:
        if key == "processes":
            made.append(TablePane())
        else:
            made.append(
                type(f"{key.title()}Pane", (GraphPane,), {"key": key, "name": names.get(key, key.upper())})()
            )
    return made
