"""The process table as a forest."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from dctop.probes.base import Process
from dctop.tui.draw.glyphs import Glyphs

MAX_DEPTH = 16
"""Deeper processes are drawn at this depth: a chain of thousands must not cost its square."""


class Branch(NamedTuple):
    process: Process
    prefix: str
    """Lines drawn before the command."""
    hidden: int
    """Descendants folded away under it."""


def forest(ordered: Sequence[Process], collapsed: Collection[tuple[int, int]], g: Glyphs) -> list[Branch]:
    """Parents before children, siblings in the order given. Whoever's parent is not in the list is a root;
    loops (a reused parent pid) are cut at the first of their members."""
    here = {p.pid for p in ordered}
    children: dict[int, list[Process]] = {}
    roots: list[Process] = []
    for p in ordered:
        if p.ppid in here and p.ppid != p.pid:
            children.setdefault(p.ppid, []).append(p)
        else:
            roots.append(p)
    out: list[Branch] = []
    seen: set[int] = set()
    _walk(roots, children, collapsed, g, seen, out)
    if len(seen) < len(here):
        for p in ordered:
            if p.pid not in seen:
                _walk([p], children, collapsed, g, seen, out)
    return out


def _walk(
    roots: Sequence[Process],
    children: dict[int, list[Process]],
    collapsed: Collection[tuple[int, int]],
    g: Glyphs,
    seen: set[int],
    out: list[Branch],
) -> None:
    # (process, lines before its own branch mark, is it the last sibling, depth)
    stack: list[tuple[Process, str, bool, int]] = [(p, "", True, 0) for p in reversed(roots)]
    while stack:
        p, lead, last, depth = stack.pop()
        if p.pid in seen:
            continue
        seen.add(p.pid)
        own = lead + (g.tree_last if last else g.tree_mid) if depth else ""
        below = children.get(p.pid, ())
        if below and (p.pid, p.start_ticks) in collapsed:
            out.append(Branch(p, own + g.collapsed + " ", _hide(p, children, seen)))
            continue
        out.append(Branch(p, own + (" " if own else ""), 0))
        inner = lead if depth >= MAX_DEPTH else lead + ("  " if last else g.tree_bar) if depth else ""
        n = len(below)
        for i in range(n - 1, -1, -1):
            stack.append((below[i], inner, i == n - 1, depth + 1))


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
