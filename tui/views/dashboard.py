"""The dashboard's layout: which pane is where, at every size. Pure; also used by the start-up skeleton."""

from __future__ import annotations

from collections.abc import Collection

from dctop.tui.views.place import Box, Leaf, Node, Split, arrange, fit_tree, keys_of, prune, size_class

PANE_KEYS = ("cpu", "gpu", "memory", "disk", "network", "processes", "training", "alerts")
"""In the order of the digits 1 to 8."""
PRIORITY = ("gpu", "cpu", "processes", "memory", "training", "network", "disk", "alerts")
"""Who stays when there is no room for all."""
NARROW = 60
"""Below this width panes stand below each other."""


def tree(w: int, h: int, gpus: int) -> Node:
    """The whole dashboard for a body of `w` x `h` cells on a node with `gpus` GPUs."""
    gpu_rows = max(1, gpus) + 2
    if w < NARROW:
        return Split("column", tuple(Leaf(k, 2 if k == "processes" else 1) for k in PRIORITY))
    kind = size_class(w, h + 2)
    if kind == "s":
        return Split("column", (
            Leaf("gpu", 1.7 if gpus else 0.01, least=3, most=gpu_rows),
            Split("row", (Leaf("cpu"), Leaf("memory")), 1.1, least=3, most=9),
            Split("row", (Leaf("network"), Leaf("disk")), 0.9, least=3, most=8),
            Leaf("processes", 1.5, least=4),
            Leaf("training", 0.6, least=3, most=6),
        ))  # fmt: skip
    if kind == "m":
        return Split("column", (
            Split("row", (Leaf("cpu", 0.45), Leaf("gpu", 0.55)), 1.0,
                  least=max(6, min(gpu_rows, 10)), most=14),
            Split("row", (Leaf("memory", 0.45), Leaf("training", 0.55)), 1.0, least=6, most=13),
            Split("row", (Leaf("network"), Leaf("disk")), 0.7, least=5, most=10),
            Split("row", (Leaf("processes", 0.66), Leaf("alerts", 0.34)), 1.4, least=6),
        ))  # fmt: skip
    return Split("column", (
        Split("row", (Leaf("cpu", 0.34), Leaf("gpu", 0.40), Leaf("alerts", 0.26)), 1.0,
              least=max(9, min(gpu_rows, 14)), most=20),
        Split("row", (
            Leaf("memory", 0.34),
            Leaf("training", 0.40),
            Split("column", (Leaf("network"), Leaf("disk")), 0.26),
        ), 1.1, least=10, most=22),
        Leaf("processes", 1.3, least=8),
    ))  # fmt: skip


def layout(body: Box, shown: Collection[str], gpus: int, wanted: Collection[str] = ()) -> dict[str, Box]:
    """Boxes of the panes in `shown` that fit, by priority; the room of the others goes to their neighbours.

    `wanted`: those the user asked for by hand; they come first even where the size has no place for them.
    """
    if body.w <= 0 or body.h <= 0 or not shown:
        return {}
    whole = tree(body.w, body.h, gpus)
    usual = set(keys_of(whole))
    main = prune(whole, shown)
    parts: list[Node] = list(main.parts) if isinstance(main, Split) else [main] if main else []
    roomy = body.h >= 3 * len(shown)
    parts += [Leaf(k, 0.8) for k in PRIORITY if k in shown and k not in usual and (roomy or k in wanted)]
    if not parts:
        parts = [Leaf(k) for k in PRIORITY if k in shown]
    order = sorted((k for k in PRIORITY if k in shown), key=lambda k: (k not in wanted, PRIORITY.index(k)))
    fitting = fit_tree(Split("column", tuple(parts)), order, body.w, body.h)
    return {} if fitting is None else arrange(fitting, body)
