"""`:` - everything the app can do, by name: actions, views, panes, sort orders, themes, alerts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from dctop.tui.bindings import KeyMap, Mode, of_mode
from dctop.tui.dialogs.lists import Item, ListDialog
from dctop.tui.keys import Action
from dctop.tui.theme import THEMES

_HIDDEN = frozenset({"app.escape", "app.enter", "app.palette"})


def palette_dialog(
    mode: Mode,
    keymap: KeyMap,
    unicode: bool,
    panes: Iterable[tuple[str, str, Sequence[Action]]],
    sorts: Iterable[tuple[str, str]],
    alerts: Iterable[tuple[int, str]],
    run: Callable[[str], None],
) -> ListDialog:
    """`run` gets the chosen id: an action's, `pane:KEY:ACTION`, `sort:ID`, `theme:NAME`, `focus:KEY`,
    `alert:ID`. `panes`: (key, name, its actions) of the panes on the screen."""
    items: list[Item] = []
    seen: set[str] = set()
    for action in of_mode(mode):
        if action.id in _HIDDEN or action.id in seen:
            continue
        seen.add(action.id)
        items.append(Item(action.id, _label(action), action.help, keymap.hint(action, unicode)))
    for key, title, actions in panes:
        items.append(Item(f"focus:{key}", f"focus {title}", "Move to this pane."))
        for action in actions:
            items.append(
                Item(
                    f"pane:{key}:{action.id}",
                    f"{title}: {action.label}",
                    action.help,
                    keymap.hint(action, unicode),
                )
            )
    items += [Item(f"sort:{i}", f"sort by {label}", "Order of the process table.") for i, label in sorts]
    items += [Item(f"theme:{t.name}", f"theme {t.name}", t.label) for t in THEMES.values()]
    items += [Item(f"alert:{i}", f"alert {title}", "Show its diagnosis.") for i, title in alerts]
    return ListDialog("palette", items, run, search=True)


def _label(action: Action) -> str:
    words = {"pane": "toggle pane", "view": "view", "theme": "next", "graph": "next", "look": "look"}
    word = words.get(action.id.partition(".")[0])
    return f"{word} {action.label}" if word else action.label
