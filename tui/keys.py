"""Keys as data: one table feeds bindings, the footer, help and the palette."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Action:
    """Something a key, the palette or a click can ask for."""

    id: str
    """`process.kill`, `app.pause` ...: stable, used in dctop.toml to remap."""
    keys: tuple[str, ...]
    """Textual key names (`f9`, `space`, `slash`, `A`), first one is shown."""
    label: str
    """One or two words for the footer."""
    help: str
    """One sentence for help and palette."""
    footer: bool = True
