"""Where a run's time goes: a step by its phases, and the whole run by the handbook's seven steps. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.training import runmath
from dctop.engine.training.runstate import PHASES, RunState
from dctop.tui.draw import units
from dctop.tui.draw.bars import shares, stacked
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit_row, width
from dctop.tui.panes.parts import Item, items_row

FILLS = "░▞▒▚▓█"
LETTERS = "dhflbu"
PHASE_STYLE = (S.PHASE_1, S.PHASE_2, S.PHASE_3, S.PHASE_4, S.PHASE_5, S.PHASE_6)
SHORT = {"data": "data", "h2d": "h2d", "forward": "fwd", "loss": "loss", "backward": "bwd", "update": "opt"}
_SEVEN: dict[str, tuple[str, str, S]] = {
    "preprocess": ("░", "p", S.PHASE_1), "initialise": ("╱", "i", S.PHASE_2),
    "forward": ("▒", "f", S.PHASE_3),
    "loss": ("▚", "l", S.PHASE_4), "backward": ("▓", "b", S.PHASE_5), "update": ("█", "u", S.PHASE_6),
    "repeat": ("·", "r", S.DIM),
}  # fmt: skip
"""Step of the handbook -> fill, letter of ASCII screens, style."""


def fill_of(name: str, look: Look) -> tuple[str, S]:
    """What stands for a phase in a bar."""
    if name == "other":
        return ("·" if look.unicode else "."), S.DIM
    i = PHASES.index(name)
    return (FILLS if look.unicode else LETTERS)[i], PHASE_STYLE[i]


def phase_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """A stacked bar of the mean step and, with room for it, what its parts are (in ms)."""
    means = runmath.mean_phases(run)
    if not means or h <= 0:
        return []
    legend: list[Item] = []
    for name, s in means:
        sign, style = fill_of(name, look)
        legend.append(((sign, style), (f" {SHORT.get(name, name)} ", S.DIM), (units.ms(s, 0), S.TEXT)))
    parts = [(s, *fill_of(name, look)) for name, s in means]
    rows: list[Row] = [fit_row(stacked(parts, w, look), w)]
    return [*rows, items_row(legend, w)][:h]


def seven_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """The whole run so far by the handbook's seven steps: a bar, and each one's share."""
    found = runmath.seven_steps(run)
    if not found or h <= 0:
        return []
    whole = sum(v for _, v in found)
    if whole <= 0:
        return []
    parts: list[tuple[float, str, S]] = []
    legend: list[Item] = []
    for number, (name, seconds) in enumerate(found, 1):
        sign, letter, style = _SEVEN[name]
        mark = sign if look.unicode else letter
        parts.append((seconds, mark, style))
        legend.append((
            (mark, style), (f" {number} {name} ", S.DIM), (units.pct(100 * seconds / whole, 0), S.TEXT),
        ))  # fmt: skip
    return [fit_row(stacked(parts, w, look), w), items_row(legend, w)][:h]


def seven_table(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """The same as one row a step: number, name, share, time and a bar of its own."""
    found = runmath.seven_steps(run)
    if not found or h <= 0:
        return []
    whole = sum(v for _, v in found) or 1.0
    top = max(v for _, v in found) or 1.0
    rows: list[Row] = []
    for number, (name, seconds) in enumerate(found, 1):
        sign, letter, style = _SEVEN[name]
        head: list[Span] = [
            (f"{number} {name:<11}", S.DIM), (units.pct(100 * seconds / whole, 4), S.VALUE),
            (" " + units.duration(seconds, 7) + " ", S.TEXT),
        ]  # fmt: skip
        room = w - sum(width(t) for t, _ in head)
        size = shares([seconds, top - seconds], room)[0] if room > 0 else 0
        rows.append(fit_row([*head, ((sign if look.unicode else letter) * size, style)], w))
    return rows[:h]


def heat_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """Each phase's share of the step over the run, one row a phase, one cell a stretch of steps: a phase
    that grows lights up."""
    whole = run.columns.get("step_s")
    names = [p for p in PHASES if runmath.recent(run, f"{p}_s")]
    if whole is None or not names or h < 2 or w < 24:
        return []
    room = w - 6
    n = min(room, len(whole))
    rows: list[Row] = []
    for name in names[:h]:
        column = run.columns[f"{name}_s"]
        cells = "".join(_heat(_share(column, whole, i, n), look) for i in range(n))
        rows.append(fit_row(((f"{SHORT[name]:<5} ", S.DIM), (cells, fill_of(name, look)[1])), w))
    return rows


def _share(column: Sequence[float], whole: Sequence[float], i: int, n: int) -> float | None:
    a, b = i * len(whole) // n, (i + 1) * len(whole) // n
    part, total = runmath.known_sum(column[a:b]), runmath.known_sum(whole[a:b])
    return part / total if part is not None and total else None


def _heat(share: float | None, look: Look) -> str:
    if share is None:
        return " "
    ramp = " ▁▂▃▄▅▆▇█" if look.unicode else "0123456789"
    return ramp[max(0, min(len(ramp) - 1, round(share * (len(ramp) - 1))))]
