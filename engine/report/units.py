"""Numbers and times as a report prints them. UTC throughout: it is read in more than one place."""

from __future__ import annotations

from datetime import UTC, datetime

_IEC = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def utc(wall_ns: int, day: bool = False, fraction: bool = False) -> str:
    """`14:02:31`, `2026-11-23 14:02:31`"""
    at = datetime.fromtimestamp(wall_ns // 1_000_000_000, UTC)
    text = f"{at:%Y-%m-%d %H:%M:%S}" if day else f"{at:%H:%M:%S}"
    return f"{text}.{wall_ns // 100_000_000 % 10}" if fraction else text


def span(seconds: float) -> str:
    """`0.4 s`, `59 s`, `3m12s`, `4h05m`, `2d03h`"""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    s = round(seconds)
    if s < 60:
        return f"{s} s"
    if s < 3600:
        return f"{s // 60}m{s % 60:02d}s"
    if s < 86_400:
        return f"{s // 3600}h{s % 3600 // 60:02d}m"
    return f"{s // 86_400}d{s % 86_400 // 3600:02d}h"


def offset(ns: int) -> str:
    """Time from the beginning as `--at` takes it, not before the moment: `+47.4s`, `+2h3m5s`"""
    tenths = -(-max(0, ns) // 100_000_000)
    s, tenth = divmod(tenths, 10)
    fine = f"{s % 60}.{tenth}s" if tenth else f"{s % 60}s"
    if s < 60:
        return f"+{fine}"
    if s < 3600:
        return f"+{s // 60}m{fine}"
    return f"+{s // 3600}h{s % 3600 // 60}m{fine}"


def number(v: float) -> str:
    """Four significant digits, thousands grouped."""
    if v != v:
        return "nan"
    if v and abs(v) < 1e-4:
        return f"{v:.3g}"
    if abs(v) >= 1e15:
        return f"{v:.4g}"
    text = f"{v:,.{max(0, 3 - len(str(int(abs(v)))) + (abs(v) < 1))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def quantity(v: float | None, unit: str) -> str:
    """`12.4 %`, `3.2 GiB/s`, `-` where nothing is known."""
    if v is None:
        return "-"
    if unit in ("bytes", "bytes/s", "bytes per s"):
        size, n = abs(v), 0
        while size >= 1024 and n < len(_IEC) - 1:
            size, n = size / 1024, n + 1
        sign = "-" if v < 0 else ""
        return f"{sign}{number(size)} {_IEC[n]}{unit.removeprefix('bytes').replace(' per s', '/s')}"
    if unit == "s" and abs(v) >= 0.0995:
        return span(v)
    if unit == "s":
        return f"{number(v * 1000)} ms"
    return f"{number(v)} {unit}".rstrip()


_BARS = "▁▂▃▄▅▆▇█"


def spark(values: list[float | None], width: int = 24) -> str:
    """A line of blocks; a space where nothing is known."""
    known = [v for v in values if v is not None and v == v]
    if not known:
        return ""
    lo, hi = min(known), max(known)
    n = len(values)
    out = []
    for i in range(min(width, n)):
        a, z = i * n // min(width, n), (i + 1) * n // min(width, n)
        part = [v for v in values[a:z] if v is not None and v == v]
        if not part:
            out.append(" ")
            continue
        mean = sum(part) / len(part)
        out.append(_BARS[0 if hi == lo else min(7, int((mean - lo) / (hi - lo) * 8))])
    return "".join(out).rstrip() if known else ""
