"""F1: the focused pane explained - what it shows, its keys, its metrics from the catalogue."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.derived import CATALOGUE
from dctop.tui.bindings import KeyMap, Mode, key_label, of_mode
from dctop.tui.dialogs.base import TextDialog, heading, wrap
from dctop.tui.draw.rows import Row, S
from dctop.tui.keys import Action
from dctop.tui.panes.base import PaneModel

_DIGITS = "1 - 8"


def help_dialog(model: PaneModel | None, keymap: KeyMap, mode: Mode, unicode: bool) -> TextDialog:
    """For the focused pane; without one, the app's keys alone."""

    def lines(w: int) -> Sequence[Row]:
        rows: list[Row] = []
        if model is not None:
            rows += wrap(model.about or f"The {model.name} pane.", w)
            if model.actions:
                rows += [(), heading(f"Keys of {model.name}")]
                rows += [r for a in model.actions for r in _key_rows(a, keymap, w, unicode)]
            if model.metrics:
                rows += [(), heading("What the numbers mean")]
                rows += [r for m in model.metrics for r in metric_rows(m, w)]
        rows += [(), heading("Keys everywhere")]
        rows += [r for a in _everywhere(mode) for r in _key_rows(a, keymap, w, unicode)]
        return rows

    name = model.name if model is not None else "dctop"
    return TextDialog(f"help: {name}", lines, want=(84, 44))


def _everywhere(mode: Mode) -> list[Action]:
    out: list[Action] = []
    for action in of_mode(mode):
        if action.id.startswith("pane."):
            if action.id == "pane.cpu":
                out.append(Action("pane", (_DIGITS,), "panes", "Show or hide a pane by its digit."))
        else:
            out.append(action)
    return out


def _key_rows(action: Action, keymap: KeyMap, w: int, unicode: bool) -> list[Row]:
    keys = keymap.keys(action)
    if not keys:
        return []
    shown = " ".join(k if k == _DIGITS else key_label(k, unicode) for k in keys)
    text = wrap(action.help, max(10, w - 15))
    rows: list[Row] = []
    for i, row in enumerate(text or [()]):
        rows.append(((f"{shown if i == 0 else '':<14} ", S.ACCENT), *row))
    return rows


def metric_rows(metric: str, w: int) -> list[Row]:
    """Id, unit, sentence and origin of one catalogue entry (raw or derived)."""
    entry = CATALOGUE.get(metric)
    if entry is None:
        return [((metric, S.VALUE),)]
    unit, text, how = entry.unit, entry.help, entry.how
    head: Row = ((metric, S.VALUE), (f"  {unit}" if unit else "", S.DIM))
    return [head, *wrap(text, w, S.TEXT, "  "), *wrap(f"from {how}" if how else "", w, S.DIM, "  ")]
