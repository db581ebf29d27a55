"""Forms: fields to choose, type or switch, and the one-line question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dctop.tui.dialogs.base import Dialog, LineEdit, wrap
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit, fit_row, width

Value = str | int | float | bool | None
Kind = Literal["choice", "bool", "int", "float", "text"]


@dataclass(slots=True)
class Field:
    """One line of a form. `choices` for kind choice; `check` returns an error line or None."""

    name: str
    label: str
    kind: Kind
    value: Value
    choices: tuple[str, ...] = ()
    help: str = ""
    enabled: bool = True
    why_disabled: str = ""
    check: Callable[[Value], str | None] | None = None
    group: str = ""
    """Heading under which it stands, in forms that have headings."""
    edit: LineEdit | None = field(default=None)

    def parsed(self) -> tuple[Value, str | None]:
        """(value, error)."""
        value = self.value
        if self.edit is not None:
            text = self.edit.text.strip()
            try:
                value = _number(text, self.kind)
            except ValueError:
                return None, f"{self.label}: {text!r} is not a number"
        error = self.check(value) if self.check is not None else None
        return value, error and f"{self.label}: {error}"


def _typed(value: Value) -> str:
    """A value as one would type it: 0, not 0.0."""
    if value is None:
        return ""
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def _number(text: str, kind: Kind) -> Value:
    if kind == "int":
        return int(text) if text else None
    if kind == "float":
        return float(text) if text else None
    return text or None


class FormDialog(Dialog):
    """Up and down move, left and right (or space) change, enter submits the whole form."""

    hint: tuple[tuple[str, str], ...] = (
        ("↑↓", "field"), ("←→", "change"), ("⏎", "apply"), ("esc", "cancel"),
    )  # fmt: skip

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        submit: Callable[[dict[str, Value]], str | None],
        changed: Callable[[str, Value], None] | None = None,
        note: str = "",
        close: Callable[[], None] | None = None,
    ) -> None:
        """`submit` gets the values by name and returns an error line to show, or None to close.
        `changed` is told of every change at once (live preview)."""
        self.title = title
        self.fields = list(fields)
        self.submit = submit
        self.changed = changed
        self.note = note
        self.close = close
        self.error = ""
        self.at = next((i for i, f in enumerate(self.fields) if f.enabled), 0)
        self.top = 0
        self._make_edits()

    def _make_edits(self) -> None:
        for f in self.fields:
            if f.kind in ("int", "float", "text") and f.edit is None:
                f.edit = LineEdit(_typed(f.value))

    def size(self, w: int, h: int) -> tuple[int, int]:
        return min(76, w - 6), min(len(self.fields) + 4, h - 2)

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        foot = self._foot(w, look)[: max(0, h - 1)]
        room = h - len(foot)
        self.top = max(0, min(self.top, self.at))
        self.top = max(self.top, self.at - room + 1)
        label_w = min(max((width(f.label) for f in self.fields), default=0), max(6, w // 2)) + 2
        rows = [
            self._line(self.fields[i], i == self.at, label_w, w, look)
            for i in range(self.top, min(len(self.fields), self.top + room))
        ]
        return (rows + [blank(w)] * (room - len(rows)) + foot)[:h]

    def _foot(self, w: int, look: Look) -> list[Row]:
        """What the field means, then the note; an error takes the place of both."""
        text = self.fields[self.at].help if self.fields else ""
        lines = [*wrap(text, w, S.DIM)[:2], *wrap(self.note, w, S.INFO)]
        if self.error:
            lines = wrap(("▲ " if look.unicode else "! ") + self.error, w, S.WARN)
        return [blank(w)] + [fit_row(r, w) for r in lines[:3]] + [blank(w)] * (3 - len(lines))

    def _line(self, f: Field, selected: bool, label_w: int, w: int, look: Look) -> Row:
        base = S.SELECT if selected else (S.TEXT if f.enabled else S.FAINT)
        label: Span = (" " + fit(f.label, label_w), base)
        room = max(0, w - label_w - 1)
        if not f.enabled:
            return fit_row([label, (fit(f.why_disabled or "not available", room), S.FAINT)], w)
        if f.edit is not None:
            if selected:
                return fit_row([label, *f.edit.spans(room)], w, S.INPUT)
            shown = f.edit.text or "-"
            return fit_row([label, (fit(shown, room), S.VALUE if f.edit.text else S.DIM)], w)
        text = ("on" if f.value else "off") if f.kind == "bool" else str(f.value)
        if selected:
            left, right = ("◂ ", " ▸") if look.unicode else ("< ", " >")
            return fit_row([label, (left + text + right, base)], w, base)
        return fit_row([label, ("  " + text, S.VALUE)], w)

    def key(self, key: str, char: str | None) -> bool:
        if key == "escape":
            if self.close is not None:
                self.close()
            return True
        if key == "enter":
            return self._apply()
        if not self.fields:
            return False
        f = self.fields[self.at]
        if key in ("up", "shift+tab"):
            self._step(-1)
        elif key in ("down", "tab"):
            self._step(1)
        elif not f.enabled:
            return False
        elif f.edit is not None:
            if f.edit.key(key, char):
                self._tell(f)
        elif key in ("left", "right", "space"):
            self._turn(f, -1 if key == "left" else 1)
        return False

    def _step(self, by: int) -> None:
        n = len(self.fields)
        for k in range(1, n + 1):
            i = (self.at + by * k) % n
            if self.fields[i].enabled:
                self.at = i
                return

    def _turn(self, f: Field, by: int) -> None:
        if f.kind == "bool":
            f.value = not f.value
        elif f.choices:
            at = f.choices.index(str(f.value)) if str(f.value) in f.choices else -1
            f.value = f.choices[(at + by) % len(f.choices)]
        self._tell(f)

    def _tell(self, f: Field) -> None:
        self.error = ""
        if self.changed is not None:
            value, error = f.parsed()
            if error:
                self.error = error
            else:
                self.changed(f.name, value)

    def _apply(self) -> bool:
        values: dict[str, Value] = {}
        for f in self.fields:
            if not f.enabled:
                continue
            value, error = f.parsed()
            if error:
                self.error = error
                return False
            values[f.name] = value
        self.error = self.submit(values) or ""
        return not self.error

    def paste(self, text: str) -> bool:
        f = self.fields[self.at] if self.fields else None
        if f is not None and f.edit is not None:
            f.edit.insert(text)
            self._tell(f)
        return False

    def click(self, x: int, y: int) -> bool:
        i = self.top + y
        if i < len(self.fields) and self.fields[i].enabled:
            if i == self.at and self.fields[i].edit is None:
                self._turn(self.fields[i], 1)
            self.at = i
        return False

    def scroll(self, rows: int) -> None:
        self._step(1 if rows > 0 else -1)


class InputDialog(FormDialog):
    """One question, one line."""

    hint = (("⏎", "ok"), ("esc", "cancel"))

    def __init__(
        self,
        title: str,
        label: str,
        text: str,
        ok: Callable[[str], str | None],
        note: str = "",
    ) -> None:
        """`text` is offered: typing replaces it. `ok` gets the text and returns an error line, or None to
        close."""
        super().__init__(
            title,
            [Field("text", label, "text", text, edit=LineEdit(text, offered=True))],
            lambda values: ok(str(values["text"] or "")),
            note=note,
        )


class ConfirmDialog(Dialog):
    """y or enter: yes; n, q or escape: no; other keys mean nothing."""

    hint = (("y", "yes"), ("n esc", "no"))

    def __init__(self, title: str, lines: Sequence[str], yes: Callable[[], None]) -> None:
        self.title = title
        self.text = list(lines)
        self.yes = yes

    def size(self, w: int, h: int) -> tuple[int, int]:
        bw = min(max([*(width(t) for t in self.text), len(self.title) + 6, 30]) + 2, 76, w - 6)
        return bw, min(sum(len(wrap(t, max(1, bw - 2))) or 1 for t in self.text), h - 4)

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        rows = [fit_row([(" ", S.TEXT), *r], w) for t in self.text for r in (wrap(t, max(1, w - 2)) or [()])]
        return (rows + [blank(w)] * h)[:h]

    def key(self, key: str, char: str | None) -> bool:
        if key in ("y", "Y", "enter"):
            self.yes()
        return key in ("y", "Y", "enter", "n", "N", "escape", "q")
