"""Every key of the app as data. Key handling, footer, help and palette are all built from this table."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from dctop.tui.keys import Action
from dctop.tui.views.dashboard import PANE_KEYS

Mode = Literal["live", "replay"]

PANE_NAMES = ("CPU", "GPU", "memory", "disk", "network", "processes", "training", "alerts")


def _a(id: str, keys: str, label: str, help: str, footer: bool = False) -> Action:  # noqa: A002
    return Action(id, tuple(keys.split()), label, help, footer)


COMMON: tuple[Action, ...] = (
    _a("app.help", "f1 question_mark h", "help", "Explain the focused pane: its keys and its numbers.", True),
    _a("app.setup", "f2", "setup", "Theme, graph style, interval and panes.", True),
    _a(
        "app.palette",
        "colon ctrl+p",
        "palette",
        "Find any action, view, pane, theme or sort order by name.",
        True,
    ),
    _a("app.quit", "f10 q ctrl+c", "quit", "Leave dctop. A running training goes on.", True),
    _a("app.escape", "escape", "back", "Close, leave zoom or view, return to now."),
    _a("app.zoom", "e", "zoom", "The focused pane over the whole screen, and back.", True),
    _a("app.enter", "enter", "zoom", "Zoom, where the focused pane has no use of its own for enter."),
    _a("focus.next", "tab", "next", "Focus the next pane."),
    _a("focus.previous", "shift+tab", "previous", "Focus the previous pane."),
    *(
        _a(f"pane.{key}", str(i), name, f"Show or hide the {name} pane; the others take its room.")
        for i, (key, name) in enumerate(zip(PANE_KEYS, PANE_NAMES, strict=True), 1)
    ),
    _a("view.dashboard", "D", "dashboard", "The whole node on one screen."),
    _a(
        "view.gpu",
        "G",
        "GPUs",
        "All GPUs, their processes and energy; enter: one in detail.",
        True,
    ),
    _a("view.alerts", "A", "alerts", "All alerts, with the diagnosis of the selected one.", True),
    _a("view.runs", "R", "runs", "The training view: curves and figures of a run.", True),
    _a("view.processes", "P", "processes", "The process table over the whole screen."),
    _a("app.goto", "b", "go to", "Go to a moment: 14:02, 3m ago, -5m.", False),
    _a("time.events", "E", "events", "All events: type to search, enter goes there.", True),
    _a("time.compare", "C", "compare", "What differs between this moment and another one."),
    _a("time.wider", "right_square_bracket", "wider", "More time in every graph, up to days."),
    _a("time.narrower", "left_square_bracket", "narrower", "Less time in every graph, down to single ticks."),
    _a("mark.now", "m", "mark", "Put a marker at this moment."),
    _a("mark.note", "M", "note", "Put a marker with a note at this moment."),
    _a("app.redraw", "ctrl+l", "redraw", "Paint the whole screen again."),
    _a("app.suspend", "ctrl+z", "suspend", "Back to the shell; `fg` returns."),
    _a("theme.next", "", "theme", "The next theme."),
    _a("graph.next", "", "graphs", "The next way to draw graphs: braille, block, ascii."),
    _a("app.notices", "", "notices", "What dctop said since it started."),
)

LIVE: tuple[Action, ...] = (
    _a("app.pause", "space", "pause", "Freeze the screen; sampling, rules and recording go on.", True),
    _a("train.launch", "t", "train", "Start a training run.", True),
    _a("record.toggle", "r", "record", "Start or stop recording this node.", True),
    _a("look.back", "left T", "1s back", "Look back one tick; before what is in memory, into the recording."),
    _a("look.forward", "right", "1s on", "One tick towards now."),
    _a("look.back10", "shift+left", "10s back", "Look back ten seconds."),
    _a("look.forward10", "shift+right", "10s on", "Ten seconds towards now."),
    _a("look.back60", "ctrl+left", "1m back", "Look back one minute."),
    _a("look.forward60", "ctrl+right", "1m on", "One minute towards now."),
    _a("look.jump_back", "J", "jump back", "Look back by a time you give."),
    _a("look.jump", "j", "jump", "Towards now by a time you give."),
    _a("look.oldest", "home", "oldest", "The oldest moment that is kept."),
    _a("look.live", "z end", "now", "Return to now."),
    _a("alert.next", "n", "next alert", "Look at the next alert's beginning."),
    _a("alert.previous", "", "last alert", "Look at the previous alert's beginning."),
)

REPLAY: tuple[Action, ...] = (
    _a("replay.play", "space", "play", "Play or pause.", True),
    _a("replay.back", "left T", "step back", "One frame back.", True),
    _a("replay.forward", "right t", "step", "One frame on.", True),
    _a("replay.back10", "shift+left", "10s back", "Ten seconds back."),
    _a("replay.forward10", "shift+right", "10s on", "Ten seconds on."),
    _a("replay.back60", "ctrl+left", "1m back", "One minute back."),
    _a("replay.forward60", "ctrl+right", "1m on", "One minute on."),
    _a("replay.jump", "j", "jump", "Jump forward by a time you give.", True),
    _a("replay.jump_back", "J", "jump back", "Jump back by a time you give."),
    _a("alert.next", "n", "next alert", "Go to the next alert.", True),
    _a("alert.previous", "N", "last alert", "Go to the previous alert."),
    _a("replay.faster", "plus equals_sign", "faster", "Play faster, up to 60 times.", True),
    _a("replay.slower", "minus", "slower", "Play slower, down to a quarter."),
    _a("replay.start", "home", "start", "To the beginning of the recording."),
    _a("replay.end", "end", "end", "To the end of the recording; while it is being made, follow it."),
)

FIRST = frozenset(
    a.keys[0]
    for a in COMMON
    if a.id in ("app.help", "app.quit", "focus.next", "focus.previous", "app.palette")
) | {"ctrl+c", "ctrl+z", *"12345678"}
"""Keys no pane may take for itself."""

PROCESS_KEYS = frozenset({"f3", "slash", "f5", "f6", "f7", "f8", "f9", "N"})
"""Where the focused pane does not know one of these, the process table gets it, as htop's users expect."""

_NAMES = {
    "solidus": "slash", "reverse_solidus": "backslash", "commercial_at": "at", "hyphen_minus": "minus",
    "plus_sign": "plus", "low_line": "underscore",
}  # fmt: skip
_SIGNS = {
    "question_mark": "?", "slash": "/", "colon": ":", "plus": "+", "minus": "-", "backslash": "\\",
    "equals_sign": "=", "less_than_sign": "<", "greater_than_sign": ">", "left_square_bracket": "[",
    "right_square_bracket": "]", "full_stop": ".", "comma": ",", "semicolon": ";", "number_sign": "#",
    "exclamation_mark": "!", "escape": "esc", "pageup": "pgup", "pagedown": "pgdn",
}  # fmt: skip
_FANCY = {"left": "←", "right": "→", "up": "↑", "down": "↓", "enter": "⏎", "space": "␣"}


def key_name(key: str) -> str:
    """A key as a user may write it (`?`, `F5`, `Ctrl+R`, `shift+left`) -> its name here."""
    key = key.strip()
    if len(key) == 1:
        if key.isalnum():
            return key
        name = unicodedata.name(key, "").lower().replace(" ", "_").replace("-", "_")
        return _NAMES.get(name, name)
    *modifiers, last = key.split("+")
    if modifiers or last.lower() in _SIGNS or len(last) > 1:
        last = last.lower()
    return "+".join([m.lower() for m in modifiers] + [last])


def key_label(key: str, unicode: bool = True) -> str:
    """A key's name as shown: `f1` -> F1, `question_mark` -> ?, `shift+left` -> S-←."""
    *modifiers, last = key.split("+")
    if last in _SIGNS:
        last = _SIGNS[last]
    elif unicode and last in _FANCY:
        last = _FANCY[last]
    elif last[:1] == "f" and last[1:].isdigit():
        last = last.upper()
    return "".join({"shift": "S-", "ctrl": "^", "alt": "A-"}.get(m, m + "-") for m in modifiers) + last


class KeyMap:
    """Which key means which action, after the user's remapping (`[keys]` of dctop.toml: id -> keys)."""

    def __init__(self, remap: Mapping[str, str | Sequence[str]] | None = None) -> None:
        self._remap: dict[str, tuple[str, ...]] = {}
        self._tables: dict[tuple[Action, ...], dict[str, Action]] = {}
        for action, keys in (remap or {}).items():
            names = keys.split() if isinstance(keys, str) else keys
            self._remap[action] = tuple(key_name(k) for k in names)

    def unknown(self, known: Iterable[str]) -> list[str]:
        """Ids the user remapped that no action has."""
        return sorted(self._remap.keys() - set(known))

    def keys(self, action: Action) -> tuple[str, ...]:
        return self._remap.get(action.id, action.keys)

    def find(self, actions: tuple[Action, ...], key: str) -> Action | None:
        table = self._tables.get(actions)
        if table is None:
            table = {}
            for action in actions:
                for k in self.keys(action):
                    table.setdefault(key_name(k), action)
            self._tables[actions] = table
        return table.get(key)

    def hint(self, action: Action, unicode: bool = True) -> str:
        """The first key as shown; empty where there is none."""
        keys = self.keys(action)
        return key_label(keys[0], unicode) if keys else ""


def of_mode(mode: Mode) -> tuple[Action, ...]:
    """The app's actions in this mode, the mode's own first (they win)."""
    return _BY_MODE[mode]


_BY_MODE: dict[Mode, tuple[Action, ...]] = {"live": (*LIVE, *COMMON), "replay": (*REPLAY, *COMMON)}
