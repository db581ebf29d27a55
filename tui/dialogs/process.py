"""What is done to a process: a signal, another niceness, a closer look."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

from dctop.tui.dialogs.base import TextDialog, heading, wrap
from dctop.tui.dialogs.forms import InputDialog
from dctop.tui.dialogs.lists import Item, ListDialog
from dctop.tui.draw.rows import Row, S, fit
from dctop.tui.frame import clean

_MEANING = {
    "TERM": "ask it to end", "KILL": "end it now, nothing is saved", "INT": "as ctrl+c does",
    "HUP": "hang up, often: reload", "QUIT": "end with a core dump", "STOP": "freeze",
    "CONT": "go on after STOP", "USR1": "a training worker: checkpoint now", "USR2": "its own meaning",
}  # fmt: skip


def signal_items(signals: object) -> list[Item]:
    """Items (id = number) of the engine's SIGNALS, whatever it is: a mapping name -> number, or a
    sequence of numbers, names or (name, number[, help]) tuples."""
    items: list[Item] = []
    for entry in signals.items() if isinstance(signals, Mapping) else _each(signals):
        name, number, text = _entry(entry)
        if number is None:
            continue
        short = name.removeprefix("SIG")
        items.append(Item(str(number), f"{number:>2} SIG{short}", text or _MEANING.get(short, "")))
    return items


def _each(signals: object) -> Iterable[object]:
    return signals if isinstance(signals, (list, tuple, frozenset, set)) else ()


def _entry(entry: object) -> tuple[str, int | None, str]:
    import signal

    if isinstance(entry, tuple):
        name = next((e for e in entry if isinstance(e, str)), "")
        number = next((int(e) for e in entry if isinstance(e, int)), None)
        texts = [e for e in entry if isinstance(e, str)][1:]
        return name, number, texts[0] if texts else ""
    if isinstance(entry, int):
        return signal.Signals(entry).name, int(entry), ""
    if isinstance(entry, str):
        full = entry if entry.startswith("SIG") else f"SIG{entry}"
        found = getattr(signal, full, None)
        return full, None if found is None else int(found), ""
    name = getattr(entry, "name", "")
    value = getattr(entry, "number", getattr(entry, "value", None))
    return str(name), value if isinstance(value, int) else None, str(getattr(entry, "help", ""))


def signal_dialog(
    pid: int, name: str, signals: object, send: Callable[[int], None], protected: str = ""
) -> ListDialog:
    """Choose and thereby confirm. TERM is preselected."""
    head: list[Row] = [((" Send to ", S.TEXT), (f"{pid} {clean(name)}", S.VALUE))]
    if protected:
        head.append(((" " + protected, S.WARN),))
    head.append(((" ", S.TEXT),))
    dialog = ListDialog("signal", signal_items(signals), lambda i: send(int(i)), current="15", head=head)
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


def detail_dialog(pid: int, detail: object | None) -> TextDialog:
    """Everything `read_detail` found, whatever its fields are; None: the process has ended."""

    def lines(w: int) -> Sequence[Row]:
        if detail is None:
            return [((f"Process {pid} has ended.", S.WARN),)]
        rows: list[Row] = []
        for field, value in _fields(detail):
            rows += _value_rows(field, value, w)
        return rows

    return TextDialog(f"process {pid}", lines, want=(100, 40))


def _fields(detail: object) -> list[tuple[str, object]]:
    if dataclasses.is_dataclass(detail) and not isinstance(detail, type):
        return [(f.name, getattr(detail, f.name)) for f in dataclasses.fields(detail)]
    as_dict = getattr(detail, "_asdict", None)
    return list(as_dict().items()) if as_dict is not None else list(vars(detail).items())


def _value_rows(name: str, value: object, w: int) -> list[Row]:
    label = name.replace("_", " ")
    if value is None:
        return [((fit(label, 18), S.DIM), ("not readable", S.FAINT))]
    if isinstance(value, Mapping):
        value = [f"{k} = {v}" for k, v in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        rows: list[Row] = [heading(f"{label} ({len(value)})")]
        return rows + [r for v in value for r in wrap(str(v), w, S.TEXT, "  ")]
    text = clean(str(value).replace("\n", " "))
    if len(text) + 18 <= w:
        return [((fit(label, 18), S.DIM), (text, S.TEXT))]
    return [((label, S.DIM),), *wrap(text, w, S.TEXT, "  ")]
