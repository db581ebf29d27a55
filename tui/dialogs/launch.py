"""Start a training run: the launcher's options as a form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from dctop.tui.dialogs.forms import Field, FormDialog, Kind, Value

_KINDS: dict[str, Kind] = {
    "choice": "choice", "enum": "choice", "bool": "bool", "flag": "bool", "int": "int", "float": "float",
    "number": "float",
}  # fmt: skip


def field_of(option: Any) -> Field:
    """A form line for a `LaunchOption` (name, kind, default, choices, help, enabled, why_disabled)."""
    choices = tuple(str(c) for c in (option.choices or ()))
    kind = _KINDS.get(str(option.kind), "choice" if choices else "text")
    value = option.default
    if kind == "choice" and value is None and choices:
        value = choices[0]
    return Field(
        name=option.name,
        label=option.name.replace("_", " ").replace("-", " "),
        kind=kind,
        value=cast(Value, value if isinstance(value, (str, int, float, bool)) or value is None else str(value)),
        choices=choices,
        help=option.help or "",
        enabled=bool(option.enabled),
        why_disabled=option.why_disabled or "",
    )


class LaunchDialog(FormDialog):
    """The form at once; what the (slow) check finds is added when it comes."""

    hint = (("↑↓", "option"), ("←→", "change"), ("⏎", "start"), ("esc", "cancel"))

    def __init__(
        self, options: Sequence[Any], start: Callable[[dict[str, Value]], str | None], checking: bool = True
    ) -> None:
        super().__init__(
            "start training",
            [field_of(o) for o in options],
            start,
            note="checking Python, torch and the data ..." if checking else "",
        )

    def checked(self, options: Sequence[Any], problem: str | None, note: str = "") -> None:
        """The check is done: options as they are now (typed values stay) and what stands in the way."""
        mine = {f.name: f for f in self.fields}
        fresh = [field_of(o) for o in options]
        for f in fresh:
            old = mine.get(f.name)
            if old is not None:
                f.value, f.edit = old.value, old.edit
        if fresh:
            kept = FormDialog(self.title, fresh, self.submit)
            self.fields = kept.fields
            self.at = min(self.at, len(fresh) - 1)
        self.note = note
        self.error = problem or ""
