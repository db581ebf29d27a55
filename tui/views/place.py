"""Dividing a screen among panes: rows and columns with weights, minima and priorities. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

SizeClass = Literal["s", "m", "l"]
TOO_SMALL_W, TOO_SMALL_H = 20, 5
"""Below this the screen holds one line that asks for more room."""
RIBBON_H = 12
"""Below this no line is spent on the alerts' ribbon."""


class Box(NamedTuple):
    """Cells: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int

    def contains(self, x: int, y: int) -> bool:
        return self.x <= x < self.x + self.w and self.y <= y < self.y + self.h


@dataclass(frozen=True, slots=True)
class Leaf:
    """A pane. `weight` shares what is left after the minima; `most` caps it (0: no cap)."""

    key: str
    weight: float = 1.0
    least: int = 3
    most: int = 0


@dataclass(frozen=True, slots=True)
class Split:
    """Parts beside each other (`row`) or below each other (`column`); its own share as in `Leaf`."""

    way: Literal["row", "column"]
    parts: tuple[Leaf | Split, ...]
    weight: float = 1.0
    least: int = 3
    most: int = 0


Node = Leaf | Split


def size_class(w: int, h: int) -> SizeClass:
    """Of a screen of `w` x `h` cells: made for 80x24 (s), 120x40 (m) and 200x60 (l)."""
    if w >= 160 and h >= 45:
        return "l"
    return "m" if w >= 100 and h >= 32 else "s"


def prune(node: Node, keys: Collection[str]) -> Node | None:
    """The tree without panes that are not in `keys`; None if nothing is left."""
    if isinstance(node, Leaf):
        return node if node.key in keys else None
    parts = tuple(p for p in (prune(part, keys) for part in node.parts) if p is not None)
    if not parts:
        return None
    return Split(node.way, parts, node.weight, node.least, node.most)


def keys_of(node: Node) -> list[str]:
    """Pane keys in reading order."""
    if isinstance(node, Leaf):
        return [node.key]
    return [key for part in node.parts for key in keys_of(part)]


def needed(node: Node, min_w: int = 20) -> tuple[int, int]:
    """Smallest (width, height) in which every pane of the tree has its minimum height."""
    if isinstance(node, Leaf):
        return min_w, node.least
    sizes = [needed(part, min_w) for part in node.parts]
    if node.way == "row":
        return sum(w for w, _ in sizes), max(node.least, *(h for _, h in sizes))
    return max(w for w, _ in sizes), sum(h for _, h in sizes)


def shares(total: int, parts: Sequence[Node], least: Sequence[int]) -> list[int]:
    """`total` cells divided by weight, none below its minimum nor above its cap while others can take more.

    The result always sums to `total`; minima that do not fit together are cut from the end.
    """
    sizes = [max(0, m) for m in least]
    over = sum(sizes) - total
    for i in range(len(sizes) - 1, -1, -1):
        if over <= 0:
            break
        cut = min(over, sizes[i])
        sizes[i] -= cut
        over -= cut
    free = total - sum(sizes)
    open_ = [i for i, p in enumerate(parts) if not p.most or sizes[i] < p.most] or list(range(len(parts)))
    while free > 0:
        weight = sum(parts[i].weight for i in open_)
        wanted = {i: total * parts[i].weight / weight if weight else total / len(open_) for i in open_}
        # One cell at a time to whoever is furthest below its share: at most a screen's height or width.
        i = max(open_, key=lambda i: wanted[i] - sizes[i])
        sizes[i] += 1
        free -= 1
        if parts[i].most and sizes[i] >= parts[i].most and len(open_) > 1:
            open_.remove(i)
    return sizes


def arrange(node: Node, box: Box) -> dict[str, Box]:
    """Every pane of the tree and its box; together they fill `box`."""
    if isinstance(node, Leaf):
        return {node.key: box}
    out: dict[str, Box] = {}
    if node.way == "row":
        x = box.x
        widths = shares(
            box.w, [_unit(p) for p in node.parts], [min(20, box.w // len(node.parts))] * len(node.parts)
        )
        for part, w in zip(node.parts, widths, strict=True):
            out.update(arrange(part, Box(x, box.y, w, box.h)))
            x += w
        return out
    y = box.y
    for part, h in zip(
        node.parts, shares(box.h, node.parts, [needed(p)[1] for p in node.parts]), strict=True
    ):
        out.update(arrange(part, Box(box.x, y, box.w, h)))
        y += h
    return out


def _unit(node: Node) -> Node:
    """Caps count rows; across, only the weight matters."""
    return Leaf("", node.weight)


def fit_tree(node: Node, keys: Sequence[str], w: int, h: int) -> Node | None:
    """The tree with as many of `keys` (most important first) as fit into `w` x `h`; at least one."""
    keep = [k for k in keys if k in set(keys_of(node))]
    while keep:
        tree = prune(node, keep)
        if tree is None:
            return None
        if len(keep) == 1 or (lambda need: need[0] <= w and need[1] <= h)(needed(tree)):
            return tree
        keep.pop()
    return None
