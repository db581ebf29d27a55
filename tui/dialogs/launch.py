"""Start a training run: the launcher's options as a form."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dctop.engine.training.options import LaunchOption
from dctop.tui.dialogs.forms import Field, FormDialog, Value


def field_of(option: LaunchOption) -> Field:
    """A form line for an option; a repeatable one is a text with commas."""
    value = ", ".join(option.default) if isinstance(option.default, list) else option.default
    return Field(
        name=option.name,
        label=option.name.replace("_", " "),
        kind=option.kind,
        value=value,
        choices=option.choices,
        help=option.help,
        enabled=option.enabled,
        why_disabled=option.why_disabled or "",
        check=lambda v: _in_range(option, v),
    )


def _in_range(option: LaunchOption, value: Value) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if option.minimum is not None and value < option.minimum:
        return f"at least {option.minimum:g}"
    if option.above is not None and value <= option.above:
        return f"greater than {option.above:g}"
    return None


class LaunchDialog(FormDialog):
    """The form at once; what the (slow) check finds is added when it comes."""

    hint = (("↑↓", "option"), ("←→", "change"), ("⏎", "start"), ("esc", "cancel"))

    def __init__(
        self, options: Sequence[LaunchOption], start: Callable[[dict[str, Value]], str | None]
    ) -> None:
        super().__init__(
            "start training",
            [field_of(o) for o in options],
            start,
            note="checking Python, torch and the data ...",
        )

    def checked(self, options: Sequence[LaunchOption], problem: str | None, note: str) -> None:
        """The check is done: what is possible now, and what stands in the way. What the user typed stays."""
        mine = {f.name: f for f in self.fields}
        for option in options:
            f = mine.get(option.name)
            if f is not None:
                f.enabled, f.why_disabled = option.enabled, option.why_disabled or ""
                f.choices = option.choices
                if f.kind == "choice" and f.value not in f.choices and f.choices:
                    f.value = f.choices[0]
        self.note = note
        self.error = problem or ""
