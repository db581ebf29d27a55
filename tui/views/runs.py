"""The training view: the selected run over the whole width, with its curves. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.tui.views.place import Box, Leaf, Split, arrange, fit_tree


def layout(body: Box, keys: Sequence[str]) -> dict[str, Box]:
    """`keys`: the run panes there are, most important first. One takes everything; of several the first
    has the upper half and the others share a grid of two columns below it."""
    if not keys or body.h <= 0 or body.w <= 0:
        return {}
    if len(keys) == 1:
        return {keys[0]: body}
    head, *rest = keys
    rows = [rest[i : i + 2] for i in range(0, len(rest), 2)] if body.w >= 70 else [[k] for k in rest]
    lower = tuple(Split("row", tuple(Leaf(k) for k in row), 1.0, 4) for row in rows)
    fitting = fit_tree(Split("column", (Leaf(head, 1.6, 6), *lower)), keys, body.w, body.h)
    return {} if fitting is None else arrange(fitting, body)
