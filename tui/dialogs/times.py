"""Moments and spans as people type them: `14:02`, `3m ago`, `-5m`, `1h30m`, `2026-11-23 14:02:10`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS = {
    "s": 1, "sec": 1, "second": 1, "seconds": 1, "m": 60, "min": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600, "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_CLOCK = re.compile(r"(?:(\d{4}-\d{1,2}-\d{1,2})[ t]+)?(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?")
_DAY = re.compile(r"\d{4}-\d{1,2}-\d{1,2}")
HINT = "14:02:10, 2026-11-23 14:02, 3m ago, -5m, +90s, start, end"


def span_s(text: str) -> float | None:
    """`90`, `90s`, `1h30m`, `1.5 h` -> seconds; None if it is no span."""
    rest = text.strip().lower()
    total, any_ = 0.0, False
    while rest:
        match = _PART.match(rest)
        if match is None:
            return None
        factor = _UNITS.get(match[2] or "s")
        if factor is None:
            return None
        total += float(match[1]) * factor
        any_ = True
        rest = rest[match.end() :].lstrip(" ,")
    return total if any_ and total < 1e10 else None


def moment_ns(text: str, now_ns: int, first_ns: int | None = None, last_ns: int | None = None) -> int | None:
    """The wall clock time `text` means, in ns; None if it means none.

    `now_ns` is the moment looked at: `-5m` and `+90s` count from it, `3m ago` counts from `last_ns` (the
    newest moment there is). A time of day is the one nearest before `last_ns`, in local time, with `Z` in
    UTC; a day alone is its midnight.
    """
    t = text.strip().lower()
    end = now_ns if last_ns is None else last_ns
    if t in ("start", "home", "begin", "beginning"):
        return first_ns
    if t in ("end", "now", "live"):
        return end
    if t[:1] in ("-", "+"):
        s = span_s(t[1:])
        return None if s is None else now_ns + int(s * 1e9) * (-1 if t[0] == "-" else 1)
    if t.endswith("ago"):
        s = span_s(t[:-3])
        return None if s is None else end - int(s * 1e9)
    return _clock_ns(t, end)


def _clock_ns(t: str, end_ns: int) -> int | None:
    zone = UTC if t.endswith("z") else None  # as exports write it
    t = t.removesuffix("z").rstrip()
    match = _CLOCK.fullmatch(f"{t} 00:00" if _DAY.fullmatch(t) else t)
    if match is None:
        return None
    day, hour, minute, second, fraction = match.groups()
    end = datetime.fromtimestamp(end_ns / 1e9, zone)
    try:
        date = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=zone) if day else end
        at = date.replace(hour=int(hour), minute=int(minute), second=int(second or 0), microsecond=0)
        if not day and at > end:
            at -= timedelta(days=1)
        return int(at.timestamp()) * 1_000_000_000 + int(float(fraction or 0) * 1e9)
    except (ValueError, OverflowError, OSError):
        return None
