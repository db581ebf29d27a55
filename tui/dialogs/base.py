"""What every dialog is, and the line editor and text box most of them need."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit_row, width
from dctop.tui.draw.text import wrap as wrap_text
from dctop.tui.frame import clean


class Dialog:
    """A box over the panes that takes all keys until it closes.

    `key`, `paste`, `click` return True to close. What a dialog decides it hands to the callback it was
    given, after which the app redraws.
    """

    title: str = ""
    hint: tuple[tuple[str, str], ...] = (("esc", "close"),)
    """(key, meaning), shown in the bottom line of the box."""
    redraw_each_tick = False

    def size(self, w: int, h: int) -> tuple[int, int]:
        """Wanted size of the body on a screen of `w` x `h`; the app cuts it to what there is."""
        return min(70, w - 6), min(20, h - 4)

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        """Exactly `h` rows of `w` cells."""
        raise NotImplementedError

    def key(self, key: str, char: str | None) -> bool:
        return key in ("escape", "q")

    def paste(self, text: str) -> bool:
        return False

    def click(self, x: int, y: int) -> bool:
        """At body cell (x, y)."""
        return False

    def scroll(self, rows: int) -> None: ...


class LineEdit:
    """One line of text being typed. Cursor is an index into `text`."""

    def __init__(self, text: str = "", limit: int = 500, offered: bool = False) -> None:
        """`offered`: the text is a proposal, which the first thing typed takes the place of."""
        self.text = text[:limit]
        self.cursor = len(self.text)
        self.limit = limit
        self.offered = offered and bool(self.text)

    def key(self, key: str, char: str | None) -> bool:
        """True if the key meant something to the editor."""
        if self.offered and key in ("backspace", "ctrl+h", "delete"):
            self.text, self.cursor, self.offered = "", 0, False
            return True
        known = self._edit(key, char)
        if known:
            self.offered = False
        return known

    def _edit(self, key: str, char: str | None) -> bool:
        t, c = self.text, self.cursor
        if key in ("backspace", "ctrl+h"):
            if c:
                self.text, self.cursor = t[: c - 1] + t[c:], c - 1
        elif key == "delete":
            self.text = t[:c] + t[c + 1 :]
        elif key in ("left", "ctrl+b"):
            self.cursor = max(0, c - 1)
        elif key in ("right", "ctrl+f"):
            self.cursor = min(len(t), c + 1)
        elif key in ("home", "ctrl+a"):
            self.cursor = 0
        elif key in ("end", "ctrl+e"):
            self.cursor = len(t)
        elif key == "ctrl+u":
            self.text, self.cursor = t[c:], 0
        elif key == "ctrl+k":
            self.text = t[:c]
        elif key == "ctrl+w":
            head = t[:c].rstrip()
            head = head[: head.rfind(" ") + 1]
            self.text, self.cursor = head + t[c:], len(head)
        elif char is not None and len(char) == 1 and char.isprintable():
            self.insert(char)
        else:
            return False
        return True

    def insert(self, text: str) -> None:
        """Typed or pasted; line ends and control characters become spaces."""
        if self.offered:
            self.text, self.cursor, self.offered = "", 0, False
        new = "".join(c if c.isprintable() else " " for c in text)[: self.limit - len(self.text)]
        self.text = self.text[: self.cursor] + new + self.text[self.cursor :]
        self.cursor += len(new)

    def spans(self, w: int, style: S = S.INPUT) -> Row:
        """The text with its cursor (reversed cell) in exactly `w` cells, scrolled to show the cursor."""
        if w <= 0:
            return ()
        start = 0
        while start < self.cursor and width(self.text[start : self.cursor]) >= w:
            start += 1
        head, at, tail = (
            self.text[start : self.cursor],
            self.text[self.cursor : self.cursor + 1] or " ",
            self.text[self.cursor + 1 :],
        )
        other = S.SELECT if style != S.SELECT else S.INPUT
        if self.offered:
            style, other = other, style
        return fit_row([(head, style), (at, S.CRIT if other == style else S.BOLD), (tail, style)], w, style)


class TextDialog(Dialog):
    """Rows to read, scrollable. `lines(w)` lays the text out for a width."""

    hint = (("esc", "close"), ("pgup pgdn", "scroll"))

    def __init__(
        self, title: str, lines: Callable[[int], Sequence[Row]], want: tuple[int, int] = (78, 30)
    ) -> None:
        self.title = title
        self.lines = lines
        self.want = want
        self.top = 0
        self._cached: tuple[int, Sequence[Row]] | None = None
        self._shown = 1

    def laid(self, w: int) -> Sequence[Row]:
        if self._cached is None or self._cached[0] != w:
            self._cached = (w, self.lines(w))
        return self._cached[1]

    def size(self, w: int, h: int) -> tuple[int, int]:
        bw = min(self.want[0], w - 6)
        return bw, min(len(self.laid(max(1, bw))), self.want[1], h - 4)

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        rows = self.laid(w)
        self._shown = max(1, h)
        self.top = max(0, min(self.top, len(rows) - h))
        part = [fit_row(r, w) for r in rows[self.top : self.top + h]]
        return part + [blank(w)] * (h - len(part))

    def scroll(self, rows: int) -> None:
        self.top += rows

    def key(self, key: str, char: str | None) -> bool:
        moves = {"up": -1, "down": 1, "pageup": -self._shown, "pagedown": self._shown, "space": self._shown}
        if key in moves:
            self.scroll(moves[key])
        elif key == "home":
            self.top = 0
        elif key == "end":
            self.top = 1 << 30
        else:
            return key in ("escape", "q", "enter", "f1", "question_mark")
        return False


def wrap(text: str, w: int, style: S = S.TEXT, indent: str = "") -> list[Row]:
    """A paragraph as rows of at most `w` cells, broken at spaces; over-long words are cut."""
    return [((indent + line, style),) for line in wrap_text(clean(text), max(1, w - len(indent)))]


def heading(text: str) -> Row:
    return ((text, S.TITLE),)


def pair(left: str, right: str, left_w: int = 12, style: S = S.ACCENT) -> list[Span]:
    """`key   meaning`, the key in a column of its own."""
    return [(left.ljust(left_w), style), (" ", S.TEXT), (right, S.TEXT)]
