"""A long form: fields under headings, scrolled, with the command line that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from dctop.tui.dialogs.base import wrap
from dctop.tui.dialogs.forms import Field, FormDialog, Value
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, blank, fit, fit_row, width

BUTTONS = ("[ start ]", "[ cancel ]")


class OptionsDialog(FormDialog):
    """`command`: how the command line begins; options that differ from their defaults are added."""

    hint = (("↑↓", "option"), ("←→", "change"), ("⏎", "start"), ("esc", "cancel"))

    def __init__(
        self,
        title: str,
        fields: Sequence[Field],
        submit: Callable[[dict[str, Value]], str | None],
        command: str,
        note: str = "",
        problem: Callable[[dict[str, Value]], str | None] | None = None,
    ) -> None:
        """`problem`: what stands against the values as they are now, shown while typing."""
        super().__init__(title, fields, submit, note=note)
        self.command = command
        self.problem = problem
        self.defaults: dict[str, Value] = {f.name: f.value for f in self.fields}
        """Values that the command line need not say."""
        self._lines: list[int | str] = []
        self._first = 0
        self._buttons_at = -1

    # -- drawing ------------------------------------------------------------------------------------

    def size(self, w: int, h: int) -> tuple[int, int]:
        return min(92, w - 4), min(len(self._laid()) + 8, h - 2)

    def _laid(self) -> list[int | str]:
        """Lines of the form: the index of a field, or a heading."""
        out: list[int | str] = []
        group = ""
        for i, f in enumerate(self.fields):
            if f.group and f.group != group:
                group = f.group
                out.append(group)
            out.append(i)
        return out

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        foot = self._foot(w, look)[: max(0, h - 2)]
        room = max(1, h - len(foot) - 1)
        self._lines = self._laid()
        at = self._lines.index(self.at) if self.at in self._lines else 0
        lead = 1 if at and isinstance(self._lines[at - 1], str) else 0
        self._first = max(0, min(self._first, at - lead, len(self._lines) - room))
        self._first = max(self._first, at - room + 1)
        label_w = min(max((width(f.label) for f in self.fields), default=0), max(6, w // 2)) + 2
        rows: list[Row] = []
        for line in self._lines[self._first : self._first + room]:
            if isinstance(line, str):
                rule = ("─" if look.unicode else "-") * max(0, w - len(line) - 3)
                rows.append(fit_row(((f" {line} ", S.HEADER), (rule, S.FAINT)), w))
            else:
                rows.append(self._line(self.fields[line], line == self.at, label_w, w, look))
        rows = (rows + [blank(w)] * room)[:room] + foot
        self._buttons_at = len(rows)
        more = f"{self.at + 1}/{len(self.fields)} "
        left = f"  {BUTTONS[0]}  {BUTTONS[1]}"
        rows.append(fit_row(((left, S.ACCENT), (fit(more, max(0, w - len(left)), ">"), S.DIM)), w))
        return rows[:h]

    def _line(self, f: Field, selected: bool, label_w: int, w: int, look: Look) -> Row:
        if not f.enabled or not f.why_disabled or f.kind not in ("choice", "bool"):
            return super()._line(f, selected, label_w, w, look)
        # Some of its choices are impossible here: beside the value it says which and why.
        used = min(w, label_w + len(str(f.value)) + 7)
        row = super()._line(f, selected, label_w, used, look)
        return fit_row((*row, (f.why_disabled, S.SELECT if selected else S.FAINT)), w)

    def _foot(self, w: int, look: Look) -> list[Row]:
        """What the option means; what is wrong, or the note; the command line."""
        help_ = wrap(self.fields[self.at].help if self.fields else "", w - 1, S.DIM)[:2]
        lines: list[Row] = [blank(w), *(((" ", S.TEXT), *r) for r in help_)]
        lines += [blank(w)] * (2 - len(help_))
        wrong = self.error or self._problem()
        if wrong:
            text = wrap(("▲ " if look.unicode else "! ") + wrong, w - 1, S.WARN)
        else:
            text = wrap(self.note, w - 1, S.INFO)
        lines += [((" ", S.TEXT), *r) for r in text[:2]]
        lines += [blank(w)] * (2 - len(text[:2]))
        said = wrap("$ " + self.command_line(), w - 1, S.VALUE)
        lines += [((" ", S.TEXT), *r) for r in said[:2]]
        lines += [blank(w)] * (2 - len(said[:2]))
        return [fit_row(r, w) for r in lines]

    # -- values -------------------------------------------------------------------------------------

    def values(self) -> dict[str, Value]:
        """What is in the form now; what cannot be read is left out."""
        out: dict[str, Value] = {}
        for f in self.fields:
            value, error = f.parsed()
            if f.enabled and error is None:
                out[f.name] = value
        return out

    def _problem(self) -> str | None:
        for f in self.fields:
            error = f.parsed()[1]
            if f.enabled and error:
                return error
        return None if self.problem is None else self.problem(self.values())

    def arguments(self) -> dict[str, Value]:
        """Options as the command line has them, by name."""
        return self.values()

    def command_line(self) -> str:
        words = [self.command]
        for name, value in self.arguments().items():
            if value == self.defaults.get(name) or value in (None, "", False):
                continue
            words.append("--" + name.replace("_", "-"))
            if value is not True:
                words.append(shlex.quote(f"{value:g}" if isinstance(value, float) else str(value)))
        return " ".join(words)

    # -- mouse --------------------------------------------------------------------------------------

    def click(self, x: int, y: int) -> bool:
        if y == self._buttons_at:
            if 2 <= x < 2 + len(BUTTONS[0]):
                return self._apply()
            start = 4 + len(BUTTONS[0])
            return start <= x < start + len(BUTTONS[1])
        at = self._first + y
        if y >= self._buttons_at or at >= len(self._lines):
            return False
        line = self._lines[at]
        if isinstance(line, int) and self.fields[line].enabled:
            f = self.fields[line]
            if line == self.at and f.edit is None:
                label = min(max(width(one.label) for one in self.fields), 999) + 3
                self._turn(f, -1 if label <= x < label + 2 else 1)
            self.at = line
        return False

    def key(self, key: str, char: str | None) -> bool:
        if key in ("pageup", "pagedown"):
            for _ in range(8):
                self._step(-1 if key == "pageup" else 1)
            return False
        return super().key(key, char)
