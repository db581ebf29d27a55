"""What is done to a process: a signal, another niceness, a closer look."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from dctop.probes.process_detail import ProcessDetail
from dctop.tui.dialogs.base import TextDialog, heading, wrap
from dctop.tui.dialogs.forms import InputDialog
from dctop.tui.dialogs.lists import Item, ListDialog
from dctop.tui.draw import units
from dctop.tui.draw.rows import Row, S, fit
from dctop.tui.frame import clean


def signal_dialog(
    pid: int, name: str, signals: Iterable[tuple[int, str, str]], send: Callable[[int], None]
) -> ListDialog:
    """Choosing the signal is the confirmation; TERM is preselected. `signals`: (number, name, meaning)."""
    items = [Item(str(number), f"{number:>2} SIG{short}", meaning) for number, short, meaning in signals]
    head: list[Row] = [((" Send to ", S.TEXT), (f"{pid} {clean(name)}", S.VALUE)), ((" ", S.TEXT),)]
    dialog = ListDialog("signal", items, lambda i: send(int(i)), current="15", head=head)
    dialog.hint = (("⏎", "send"), ("esc", "cancel"))
    return dialog


def renice_dialog(pid: int, name: str, nice: int, apply: Callable[[int], str | None]) -> InputDialog:
    """`apply` gets the new niceness and returns an error line or None."""

    def ok(text: str) -> str | None:
        try:
            value = int(text)
        except ValueError:
            return "a whole number from -20 to 19"
        return apply(value) if -20 <= value <= 19 else "from -20 (first) to 19 (last)"

    return InputDialog(
        "renice", f"{pid} {clean(name)[:24]}", str(nice), ok, note="-20 goes first, 19 goes last, 0 is usual"
    )


def detail_dialog(pid: int, detail: ProcessDetail | None) -> TextDialog:
    """Everything that could be read of a process; None: it has ended."""

    def lines(w: int) -> Sequence[Row]:
        if detail is None:
            return [((f"Process {pid} has ended.", S.WARN),)]
        rows: list[Row] = []
        for field in dataclasses.fields(detail):
            rows += _rows(field.name, getattr(detail, field.name), w)
        return rows

    return TextDialog(f"process {pid}", lines, want=(100, 40))


def _rows(name: str, value: object, w: int) -> list[Row]:
    label = name.removesuffix("_bytes").replace("_", " ")
    if value is None:
        return [((fit(label, 20), S.DIM), ("-", S.FAINT))]
    if name.endswith("_bytes") and isinstance(value, int):
        value = f"{units.iec(value)}  ({value:,} bytes)"
    if isinstance(value, Mapping):
        return [heading(label), *(r for k, v in value.items() for r in _rows(f"  {k}", v, w))]
    if isinstance(value, tuple):
        listed = [_one(v) for v in value]
        if all(len(t) < 12 for t in listed):
            value = " ".join(listed) or "none"
        else:
            return [
                heading(f"{label} ({len(listed)})"),
                *(r for t in listed for r in wrap(t, w, S.TEXT, "  ")),
            ]
    text = clean(str(value))
    if len(text) + 20 <= w:
        return [((fit(label, 20), S.DIM), (text, S.TEXT))]
    return [((label, S.DIM),), *wrap(text, w, S.TEXT, "  ")]


def _one(value: object) -> str:
    """A thread or a number on one line."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = ((f.name, getattr(value, f.name)) for f in dataclasses.fields(value))
        return "  ".join(f"{k.replace('_', ' ')} {v}" for k, v in pairs if v is not None)
    return str(value)
