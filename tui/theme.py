"""Themes: what each style name of `draw.rows.S` looks like, in truecolour, 256, 16 colours or none.

A theme is a table of colours; which role carries which attribute (bold, reverse) is the same in all.
Colour means state only and a glyph always stands beside it, so every theme may also be drawn without.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from rich.color import ColorSystem
from rich.style import Style

from dctop.tui.draw.rows import S

Colors = Literal["truecolor", "256", "16", "none"]
SYSTEMS: dict[Colors, ColorSystem | None] = {
    "truecolor": ColorSystem.TRUECOLOR,
    "256": ColorSystem.EIGHT_BIT,
    "16": ColorSystem.STANDARD,
    "none": None,
}


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours by role, `#rrggbb`. `bg` is painted everywhere, so a theme is readable in any terminal."""

    name: str
    label: str
    dark: bool
    bg: str
    fg: str
    dim: str
    faint: str
    border: str
    focus: str
    title: str
    value: str
    good: str
    warn: str
    crit: str
    info: str
    accent: str
    select: str
    select_dim: str
    graph: str
    graph_2: str
    graph_3: str
    graph_4: str
    phases: tuple[str, str, str, str, str, str]


DARK = Theme(
    name="dctop-dark", label="Dark", dark=True,
    bg="#0b0e14", fg="#c5ccd6", dim="#8390a2", faint="#3f4a59", border="#2f3946", focus="#5aa9e6",
    title="#dfe6ee", value="#f4f7fa", good="#4fc1a6", warn="#e6b450", crit="#f2555a", info="#5aa9e6",
    accent="#7fc8f8", select="#24405c", select_dim="#1b2736", graph="#3fb8af", graph_2="#6f9bd8",
    graph_3="#b48ead", graph_4="#8fbc6a",
    phases=("#e6b450", "#b48ead", "#3fb8af", "#8fbc6a", "#5aa9e6", "#d98e73"),
)  # fmt: skip
LIGHT = Theme(
    name="dctop-light", label="Light (for light terminals)", dark=False,
    bg="#fbfbf9", fg="#2b323a", dim="#5c6773", faint="#b9c0c8", border="#c9ced4", focus="#1f6fb2",
    title="#14191f", value="#000000", good="#0b7a63", warn="#9a6200", crit="#c01f2e", info="#1f6fb2",
    accent="#175c96", select="#cfe3f5", select_dim="#e6edf3", graph="#0f8a7e", graph_2="#3a69b0",
    graph_3="#8a4f9e", graph_4="#4b7a1f",
    phases=("#b07a0c", "#8a4f9e", "#0f8a7e", "#4b7a1f", "#1f6fb2", "#b5533c"),
)  # fmt: skip
# Okabe and Ito's palette: told apart with protanopia, deuteranopia and tritanopia.
COLOURBLIND = Theme(
    name="colour-blind", label="Colour-blind safe (Okabe-Ito)", dark=True,
    bg="#0a0a0c", fg="#d6d6d6", dim="#9a9a9a", faint="#454545", border="#3a3a3a", focus="#56b4e9",
    title="#efefef", value="#ffffff", good="#56b4e9", warn="#f0e442", crit="#d55e00", info="#0e86c9",
    accent="#56b4e9", select="#123a57", select_dim="#20262c", graph="#0e86c9", graph_2="#e69f00",
    graph_3="#cc79a7", graph_4="#009e73",
    phases=("#e69f00", "#cc79a7", "#56b4e9", "#009e73", "#0e86c9", "#f0e442"),
)  # fmt: skip
CONTRAST = Theme(
    name="high-contrast", label="High contrast", dark=True,
    bg="#000000", fg="#ffffff", dim="#d0d0d0", faint="#7a7a7a", border="#a0a0a0", focus="#ffff00",
    title="#ffffff", value="#ffffff", good="#00ff66", warn="#ffff00", crit="#ff5050", info="#66ccff",
    accent="#00ffff", select="#0000c0", select_dim="#303060", graph="#00ffff", graph_2="#ffa0ff",
    graph_3="#ffff00", graph_4="#00ff66",
    phases=("#ffff00", "#ffa0ff", "#00ffff", "#00ff66", "#66ccff", "#ff9040"),
)  # fmt: skip
SOLAR = Theme(
    name="solar", label="Solar (solarized-like)", dark=True,
    bg="#002b36", fg="#93a1a1", dim="#75878c", faint="#2f5560", border="#19485a", focus="#2aa198",
    title="#c9d3cf", value="#eee8d5", good="#859900", warn="#b58900", crit="#dc322f", info="#268bd2",
    accent="#2aa198", select="#0d4c5e", select_dim="#073642", graph="#2aa198", graph_2="#268bd2",
    graph_3="#6c71c4", graph_4="#859900",
    phases=("#b58900", "#6c71c4", "#2aa198", "#859900", "#268bd2", "#cb4b16"),
)  # fmt: skip
SOLAR_LIGHT = Theme(
    name="solar-light", label="Solar light", dark=False,
    bg="#fdf6e3", fg="#586e75", dim="#7b8a8f", faint="#c9c4b1", border="#d8d2bd", focus="#268bd2",
    title="#073642", value="#002b36", good="#677800", warn="#9a7400", crit="#c92a27", info="#1f74b0",
    accent="#1d7a73", select="#e0dcc0", select_dim="#eee8d5", graph="#1f8a82", graph_2="#268bd2",
    graph_3="#6c71c4", graph_4="#859900",
    phases=("#b58900", "#6c71c4", "#2aa198", "#859900", "#268bd2", "#cb4b16"),
)  # fmt: skip
MONO = Theme(
    name="mono", label="No colour", dark=True,
    bg="", fg="", dim="", faint="", border="", focus="", title="", value="", good="", warn="", crit="",
    info="", accent="", select="", select_dim="", graph="", graph_2="", graph_3="", graph_4="",
    phases=("", "", "", "", "", ""),
)  # fmt: skip

THEMES: Mapping[str, Theme] = {
    t.name: t for t in (DARK, LIGHT, COLOURBLIND, CONTRAST, SOLAR, SOLAR_LIGHT, MONO)
}
DEFAULT = DARK.name


def _truecolor(t: Theme) -> list[Style]:
    def on(fg: str, bg: str = t.bg, bold: bool | None = None) -> Style:
        return Style(color=fg, bgcolor=bg, bold=bold)

    p = t.phases
    table = {
        S.TEXT: on(t.fg), S.DIM: on(t.dim), S.FAINT: on(t.faint), S.BORDER: on(t.border),
        S.BORDER_FOCUS: on(t.focus), S.TITLE: on(t.title, bold=True), S.VALUE: on(t.value, bold=True),
        S.GOOD: on(t.good), S.WARN: on(t.warn), S.CRIT: on(t.crit, bold=True), S.INFO: on(t.info),
        S.ACCENT: on(t.accent), S.SELECT: on(t.value, t.select), S.SELECT_DIM: on(t.fg, t.select_dim),
        S.HEADER: on(t.dim, bold=True), S.GRAPH: on(t.graph), S.GRAPH_WARN: on(t.warn),
        S.GRAPH_CRIT: on(t.crit), S.GRAPH_2: on(t.graph_2), S.GRAPH_3: on(t.graph_3),
        S.GRAPH_4: on(t.graph_4), S.PHASE_1: on(p[0]), S.PHASE_2: on(p[1]), S.PHASE_3: on(p[2]),
        S.PHASE_4: on(p[3]), S.PHASE_5: on(p[4]), S.PHASE_6: on(p[5]), S.BOLD: on(t.fg, bold=True),
        S.INPUT: on(t.value, t.select), S.REC: on(t.crit, bold=True),
    }  # fmt: skip
    return [table[s] for s in S]


def _ansi16() -> list[Style]:
    """For terminals of 16 colours: their own palette and background, whatever the theme."""
    names: dict[S, str] = {
        S.TEXT: "default", S.DIM: "default", S.FAINT: "bright_black", S.BORDER: "bright_black",
        S.BORDER_FOCUS: "bright_cyan", S.TITLE: "bold", S.VALUE: "bold", S.GOOD: "green",
        S.WARN: "bold yellow", S.CRIT: "bold red", S.INFO: "cyan", S.ACCENT: "bold cyan",
        S.SELECT: "reverse", S.SELECT_DIM: "underline", S.HEADER: "bold", S.GRAPH: "cyan",
        S.GRAPH_WARN: "yellow", S.GRAPH_CRIT: "red", S.GRAPH_2: "blue", S.GRAPH_3: "magenta",
        S.GRAPH_4: "green", S.PHASE_1: "yellow", S.PHASE_2: "magenta", S.PHASE_3: "cyan",
        S.PHASE_4: "green", S.PHASE_5: "blue", S.PHASE_6: "red", S.BOLD: "bold", S.INPUT: "reverse",
        S.REC: "bold red",
    }  # fmt: skip
    return [Style.parse(names[s]) for s in S]


def _mono() -> list[Style]:
    """NO_COLOR: bold, reverse, underline and dim remain; glyphs carry the states."""
    names: dict[S, str] = {
        S.DIM: "dim", S.FAINT: "dim", S.BORDER: "dim", S.BORDER_FOCUS: "bold", S.TITLE: "bold",
        S.VALUE: "bold", S.WARN: "bold", S.CRIT: "bold reverse", S.ACCENT: "bold", S.SELECT: "reverse",
        S.SELECT_DIM: "underline", S.HEADER: "underline", S.GRAPH_WARN: "bold", S.GRAPH_CRIT: "bold",
        S.PHASE_2: "dim", S.PHASE_3: "bold", S.PHASE_4: "dim", S.PHASE_5: "bold", S.PHASE_6: "dim",
        S.BOLD: "bold", S.INPUT: "reverse", S.REC: "bold",
    }  # fmt: skip
    return [Style.parse(names.get(s, "none")) for s in S]


class Paint:
    """A theme made ready for one colour depth: rich styles for the safe path, SGR strings for the fast.

    `full[s]` sets style `s` from any state. `short[s]` sets it from any style of the same `group`
    (same background and attributes), so along most of a row only the foreground is sent.
    """

    __slots__ = ("colors", "full", "group", "short", "styles", "theme")

    def __init__(self, theme: Theme, colors: Colors) -> None:
        self.theme = theme
        self.colors = colors
        if colors == "none" or theme is MONO:
            self.styles = _mono()
        elif colors == "16":
            self.styles = _ansi16()
        else:
            self.styles = _truecolor(theme)
        system = SYSTEMS[colors]
        self.full: list[str] = []
        self.short: list[str] = []
        self.group: list[int] = []
        groups: dict[tuple[str, str], int] = {}
        for style in self.styles:
            back = Style(bgcolor=style.bgcolor)
            rest = style.without_color
            codes = _codes(style, system)
            self.full.append(f"\x1b[0;{codes}m" if codes else "\x1b[0m")
            fore = _codes(Style(color=style.color), system)
            key = (_codes(back, system), _codes(rest, ColorSystem.TRUECOLOR))
            self.group.append(groups.setdefault(key, len(groups)))
            self.short.append(f"\x1b[{fore}m" if fore else "\x1b[39m")

    @property
    def clear(self) -> Style:
        return self.styles[S.TEXT]


def _codes(style: Style, system: ColorSystem | None) -> str:
    """SGR parameters of a style; without a colour system attributes only."""
    if system is None:
        style, system = style.without_color, ColorSystem.STANDARD
    rendered = style.render("x", color_system=system)
    return rendered[2 : rendered.index("m")] if rendered.startswith("\x1b[") else ""


ALIASES = {
    "dark": "dctop-dark",
    "light": "dctop-light",
    "colorblind": "colour-blind",
    "color-blind": "colour-blind",
}


def find(name: str) -> str | None:
    """The full name of a theme given by its name or a usual other one; None: there is no such theme."""
    low = name.strip().lower()
    low = ALIASES.get(low, low)
    return low if low in THEMES else None


@lru_cache(16)
def paint(theme: str, colors: Colors) -> Paint:
    """By name; an unknown name is the default theme."""
    return Paint(THEMES.get(find(theme) or DEFAULT, DARK), colors)


def colors_of(env: Mapping[str, str]) -> Colors:
    """How many colours the terminal has, from its environment.

    NO_COLOR (no-color.org: set and not empty), then COLORTERM, then TERM. ssh seldom forwards COLORTERM,
    so an unknown TERM gets 16 colours, never truecolour.
    """
    term = env.get("TERM", "").lower()
    if env.get("NO_COLOR") or term in ("dumb", "unknown", "vt100", "vt102", "vt220"):
        return "none"
    if env.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit"):
        return "truecolor"
    if term.endswith("-direct") or term in ("xterm-kitty", "alacritty", "wezterm", "foot", "xterm-ghostty"):
        return "truecolor"
    if "256color" in term:
        return "256"
    return "16"
