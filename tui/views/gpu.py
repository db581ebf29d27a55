"""The GPU view: all GPUs with their processes and energy, or one of them in detail. Pure."""

from __future__ import annotations

from dctop.tui.views.place import Box, Leaf, Node, Split, arrange, fit_tree

LIST, PROCESSES, ENERGY = "gpu", "gpu-processes", "gpu-energy"
GRAPHS, FACTS, HEALTH = "gpu-graphs", "gpu-facts", "gpu-health"
BLOCKS = 4
"""Up to so many GPUs are drawn as blocks with graphs, which take the room there is."""
OWN = (GRAPHS, FACTS, HEALTH, PROCESSES, ENERGY)
"""Panes of this view only."""
OVERVIEW_ORDER = (LIST, PROCESSES, ENERGY, GRAPHS)
DETAIL_ORDER = (FACTS, HEALTH, GRAPHS, PROCESSES, LIST)


def overview(body: Box, devices: int) -> dict[str, Box]:
    """`devices`: GPUs and MIG devices. The list has a row for each, also where nothing else fits
    then; where there is much room the selected one's history stands below it."""
    blocks = devices <= BLOCKS
    tall = devices + 3  # a heading and the border
    if tall > body.h - 6:
        tall = min(devices + 2, body.h)  # every GPU before any process
    tall = 9 if blocks else tall
    top = Leaf(LIST, 1.5 if blocks else 0.01, least=min(tall, body.h), most=0 if blocks else tall)
    if body.w >= 110:
        lower: Node = Split("row", (Leaf(PROCESSES, 0.66), Leaf(ENERGY, 0.34)), 1.0, least=4)
    else:
        lower = Split("column", (Leaf(PROCESSES, 1.0, 4), Leaf(ENERGY, 0.2, 3, 6)), 1.0, least=4)
    roomy = not blocks and body.h - tall >= 24
    middle = (Leaf(GRAPHS, 0.8, 10, 18),) if roomy else ()
    return _fit(Split("column", (top, *middle, lower)), OVERVIEW_ORDER, body)


def detail(body: Box, devices: int) -> dict[str, Box]:
    """Graphs beside words and health from 100 columns on, else one above the other."""
    processes = Leaf(PROCESSES, 0.3, 4, 12)
    if body.w >= 100:
        left: Node = Leaf(GRAPHS, 1.0)
        if body.h >= 45 and devices > 1:
            tall = min(devices + 3, 20)
            left = Split("column", (Leaf(LIST, 0.01, tall, tall), Leaf(GRAPHS, 1.0, 8)), 1.0)
        right = Split("column", (Leaf(FACTS, 1.0, 6), Leaf(HEALTH, 1.1, 6)), 1.0)
        tree = Split("column", (Split("row", (left, right), 1.0, least=12), processes))
    else:
        words = Split("row", (Leaf(FACTS), Leaf(HEALTH)), 1.2, least=5)
        tree = Split("column", (Leaf(GRAPHS, 1.0, 5), words, processes))
    return _fit(tree, DETAIL_ORDER, body)


def _fit(tree: Node, order: tuple[str, ...], body: Box) -> dict[str, Box]:
    if body.w <= 0 or body.h <= 0:
        return {}
    fitting = fit_tree(tree, order, body.w, body.h)
    return {} if fitting is None else arrange(fitting, body)
