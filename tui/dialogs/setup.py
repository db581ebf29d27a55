"""F2: what the user may set, applied at once."""

from __future__ import annotations

from collections.abc import Callable, Collection

from dctop.tui.bindings import PANE_NAMES
from dctop.tui.dialogs.forms import Field, FormDialog, Value
from dctop.tui.theme import THEMES
from dctop.tui.views.dashboard import PANE_KEYS

INTERVALS = ("0.5", "1.0", "2.0", "5.0", "10.0")


def setup_dialog(
    theme: str,
    graph: str,
    interval_s: float | None,
    shown: Collection[str],
    changed: Callable[[str, Value], None],
    save: Callable[[dict[str, Value]], str | None],
) -> FormDialog:
    """`changed(name, value)` at every change; `save` on enter. `interval_s` None: not to be changed here
    (a replay has the recording's)."""
    fields = [
        Field("theme", "theme", "choice", theme, tuple(THEMES), "Colours; `mono` uses none."),
        Field(
            "graph", "graphs", "choice", graph, ("braille", "block", "ascii"),
            "braille is finest; block where the font lacks braille; ascii everywhere.",
        ),
        Field(
            "interval_s", "interval (s)", "choice", str(interval_s), INTERVALS,
            "How often everything is read. Takes effect at the next start.",
            enabled=interval_s is not None, why_disabled="as recorded",
        ),
        *(
            Field(f"pane.{key}", f"pane {i} {name}", "bool", key in shown, help="Shown on the dashboard.")
            for i, (key, name) in enumerate(zip(PANE_KEYS, PANE_NAMES, strict=True), 1)
        ),
    ]  # fmt: skip
    dialog = FormDialog("setup", fields, save, changed)
    dialog.hint = (("↑↓", "field"), ("←→", "change"), ("⏎", "save"), ("esc", "close, not saved"))
    return dialog
