"""The process table as a forest."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dctop.probes.base import Process
from dctop.tui.draw.glyphs import Glyphs

MAX_DEPTH = 16
"""Deeper processes are indented no further: a chain of thousands must not fill the row with lines."""


class Forest:
    """Parents before children, siblings in the order given. Whoever's parent is not in the list is a root;
    loops (a parent pid used again) are cut at the first of their members.

    Only the order is worked out for all; the lines before a name are made for the rows that are drawn.
    """

    __slots__ = ("_last", "_parent", "hidden", "order")

    def __init__(self, ordered: Sequence[Process], collapsed: Collection[tuple[int, int]] = ()) -> None:
        self.order: list[Process] = []
        self.hidden: dict[int, int] = {}
        """pid of a folded process -> how many are below it."""
        self._parent: list[int] = []
        """For each place in the order, the place of its parent, -1 for a root."""
        self._last: list[bool] = []
        here = {p.pid for p in ordered}
        children: dict[int, list[Process]] = {}
        roots: list[Process] = []
        for p in ordered:
            if p.ppid in here and p.ppid != p.pid:
                if p.ppid in children:
                    children[p.ppid].append(p)
                else:
                    children[p.ppid] = [p]
            else:
                roots.append(p)
        seen: set[int] = set()
        self._walk(roots, children, collapsed, seen)
        if len(seen) < len(here):
            for p in ordered:
                if p.pid not in seen:
                    self._walk([p], children, collapsed, seen)

    def _walk(
        self,
        roots: Sequence[Process],
        children: dict[int, list[Process]],
        collapsed: Collection[tuple[int, int]],
        seen: set[int],
    ) -> None:
        order, parent, last = self.order, self._parent, self._last
        stack = [(p, -1, False) for p in reversed(roots)]
        while stack:
            p, above, is_last = stack.pop()
            pid = p.pid
            if pid in seen:
                continue
            seen.add(pid)
            at = len(order)
            order.append(p)
            parent.append(above)
            last.append(is_last)
            below = children.get(pid)
            if below is None:
                continue
            if collapsed and (pid, p.start_ticks) in collapsed:
                self.hidden[pid] = _hide(p, children, seen)
                continue
            is_last = True
            for child in reversed(below):
                stack.append((child, at, is_last))
                is_last = False

    def prefix(self, at: int, g: Glyphs) -> str:
        """The lines drawn before the command of the process at this place."""
        folded = f"{g.collapsed} " if self.order[at].pid in self.hidden else ""
        if self._parent[at] < 0:
            return folded
        parts = [(g.tree_last if self._last[at] else g.tree_mid) + (" " if not folded else "")]
        up = self._parent[at]
        while self._parent[up] >= 0 and len(parts) < MAX_DEPTH:
            parts.append("  " if self._last[up] else g.tree_bar)
            up = self._parent[up]
        return "".join(reversed(parts)) + folded


def _hide(root: Process, children: dict[int, list[Process]], seen: set[int]) -> int:
    """Mark everything below `root` as dealt with; how many there are."""
    count = 0
    stack = list(children.get(root.pid, ()))
    while stack:
        p = stack.pop()
        if p.pid not in seen:
            seen.add(p.pid)
            count += 1
            stack += children.get(p.pid, ())
    return count
