"""Pick one of a list: sort orders, signals, themes, and (with a filter line) the palette."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dctop.tui.dialogs.base import Dialog, LineEdit
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit, fit_row, width


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a list."""

    id: str
    label: str
    detail: str = ""
    key: str = ""
    """Shown at the right: the key that does the same."""


def matches(query: str, text: str) -> int | None:
    """How well `text` fits (smaller is better), None if not: all words, or the letters in order."""
    q, t = query.lower(), text.lower()
    words = q.split()
    if all(w in t for w in words):
        return sum(t.find(w) for w in words)
    at = -1
    first = -1
    for c in q.replace(" ", ""):
        at = t.find(c, at + 1)
        if at < 0:
            return None
        first = at if first < 0 else first
    return 1000 + at - first


def rank(query: str, item: Item) -> int | None:
    """Words in the label before words in the explanation before letters scattered over the label."""
    label = matches(query, item.label)
    if label is not None and label < 1000:
        return label
    both = matches(query, f"{item.label} {item.detail}")
    if both is not None and both < 1000:
        return 500 + both
    return label


class ListDialog(Dialog):
    """Up, down, enter. With `search` typing narrows the list; without, a letter jumps to its line."""

    hint = (("⏎", "choose"), ("esc", "cancel"))

    def __init__(
        self,
        title: str,
        items: Sequence[Item],
        choose: Callable[[str], None],
        current: str | None = None,
        search: bool = False,
        head: Sequence[Row] = (),
        preview: Callable[[str], None] | None = None,
        cancel: Callable[[], None] | None = None,
    ) -> None:
        self.title = title
        self.items = list(items)
        self.choose = choose
        self.head = list(head)
        self.preview = preview
        self.cancel = cancel
        self.edit = LineEdit() if search else None
        self.found = self.items
        self.at = next((i for i, item in enumerate(self.items) if item.id == current), 0)
        self.top = 0
        self._page = 1

    def size(self, w: int, h: int) -> tuple[int, int]:
        label = max((width(i.label) + width(i.detail) + width(i.key) for i in self.items), default=10)
        head = max((sum(width(t) for t, _ in row) for row in self.head), default=0)
        least = 60 if self.edit else 24
        rows = len(self.items) + len(self.head) + (2 if self.edit else 0)
        return max(min(max(label + 8, head + 2, least, len(self.title) + 8), 90, w - 6), 1), min(rows, h - 4)

    def body(self, w: int, h: int, look: Look) -> list[Row]:
        rows: list[Row] = [fit_row(r, w) for r in self.head[: max(0, h - 1)]]
        if self.edit is not None and h - len(rows) > 2:
            mark = "❯ " if look.unicode else "> "
            rows.append(((mark, S.ACCENT), *self.edit.spans(w - 2)))
            rows.append(blank(w))
        room = self._page = max(1, h - len(rows))
        self.at = max(0, min(self.at, len(self.found) - 1))
        self.top = max(0, min(self.top, self.at, len(self.found) - room))
        self.top = max(self.top, self.at - room + 1)
        self._first = len(rows)
        for i in range(self.top, min(len(self.found), self.top + room)):
            rows.append(self._line(self.found[i], i == self.at, w))
        if not self.found and len(rows) < h:
            rows.append(fit_row([(" nothing matches", S.DIM)], w))
        return (rows + [blank(w)] * (h - len(rows)))[:h]

    _first = 0

    def _line(self, item: Item, selected: bool, w: int) -> Row:
        base = S.SELECT if selected else S.TEXT
        key_w = min(width(item.key), max(0, w - 6))
        room = w - key_w - 2
        spans: list[Span] = [(" ", base)]
        label = fit(item.label, min(width(item.label), room))
        spans.append((label, base))
        left = room - width(label)
        if item.detail and left > 4:
            spans.append(("  " + fit(item.detail, left - 2), base if selected else S.DIM))
        else:
            spans.append((" " * left, base))
        spans.append((fit(item.key, key_w), base if selected else S.ACCENT))
        spans.append((" ", base))
        return fit_row(spans, w, base)

    def scroll(self, rows: int) -> None:
        self._move(self.at + rows)

    def _move(self, to: int) -> None:
        self.at = max(0, min(to, len(self.found) - 1))
        if self.preview is not None and self.found:
            self.preview(self.found[self.at].id)

    def key(self, key: str, char: str | None) -> bool:
        steps = {"up": -1, "down": 1, "pageup": -self._page, "pagedown": self._page}
        if key in steps:
            self._move(self.at + steps[key])
        elif key == "enter":
            return self._take()
        elif key == "escape" or (key == "q" and self.edit is None):
            if self.cancel is not None:
                self.cancel()
            return True
        elif self.edit is not None:
            if self.edit.key(key, char):
                self._filter()
        elif key in ("home", "end"):
            self._move(0 if key == "home" else len(self.found) - 1)
        elif char is not None:
            self._jump(char)
        return False

    def paste(self, text: str) -> bool:
        if self.edit is not None:
            self.edit.insert(text)
            self._filter()
        return False

    def click(self, x: int, y: int) -> bool:
        i = self.top + y - self._first
        if y >= self._first and i < len(self.found):
            self._move(i)
            return self._take()
        return False

    def _take(self) -> bool:
        if self.found:
            self.choose(self.found[self.at].id)
        return bool(self.found)

    def _filter(self) -> None:
        assert self.edit is not None
        query = self.edit.text.strip()
        if not query:
            self.found = self.items
        else:
            ranked = ((rank(query, item), n) for n, item in enumerate(self.items))
            order = sorted((r, n) for r, n in ranked if r is not None)
            # Letters scattered over a line are a guess: only where nothing has the words.
            worded = [(r, n) for r, n in order if r < 1000]
            self.found = [self.items[n] for _, n in worded or order]
        self.at = self.top = 0

    def _jump(self, char: str) -> None:
        n = len(self.found)
        order = [*range(self.at + 1, n), *range(self.at + 1)]
        low = char.lower()
        hit = next((i for i in order if self.found[i].label.strip().lower().startswith(low)), None)
        if hit is not None:
            self._move(hit)
