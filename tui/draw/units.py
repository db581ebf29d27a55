"""Numbers as people read them: at most three significant digits, right-aligned, of fixed width.

Every function takes None (and NaN, and infinity) as missing and answers `-`. Results are never shorter than
`width` cells and, for the magnitudes a node can have, never longer, so columns stand still.
"""

from __future__ import annotations

import time

_BINARY = ("B", "K", "M", "G", "T", "P", "E")
_DECIMAL = ("", "k", "M", "G", "T", "P", "E")
_IEC = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
_MOST = float("inf")
_LEAST = -_MOST


def known(v: float | None) -> bool:
    """Is it a number one can draw?"""
    return v is not None and _LEAST < v < _MOST


def _scaled(v: float, base: float, names: tuple[str, ...], width: int) -> str:
    sign = ""
    if v < 0:
        sign, v = "-", -v
    step = 0
    # Powers of 1024 go to four digits before they change the unit: 1007G says more than 0.98T.
    most = 1023.5 if base == 1024.0 else 999.5
    while v >= most and step < len(names) - 1:
        v /= base
        step += 1
    if v >= most:
        v = most - 0.5
    if step == 0 or v >= 99.95 or sign:
        return f"{sign}{v:.0f}{names[step]}".rjust(width)
    return (f"{v:.1f}" if v >= 9.995 else f"{v:.2f}").rjust(width - len(names[step])) + names[step]


def size(v: float | None, width: int = 5) -> str:
    """Bytes: `  12B`, `1.23K`, `72.0G`; powers of 1024."""
    if not known(v):
        return "-".rjust(width)
    assert v is not None
    return "0".rjust(width) if v == 0 else _scaled(v, 1024.0, _BINARY, width)


def rate(v: float | None, width: int = 7) -> str:
    """Bytes per second: `12.3M/s`."""
    if not known(v):
        return "-".rjust(width)
    return size(v, width - 2) + "/s"


def iec(v: float | None) -> str:
    """Bytes in a sentence: `64 GiB`, `1.5 TiB`. Not padded."""
    if not known(v):
        return "-"
    assert v is not None
    step = 0
    while abs(v) >= 1023.5 and step < len(_IEC) - 1:
        v /= 1024.0
        step += 1
    # Three digits at most, and no `.0`: limits are mostly round.
    text = f"{v:.0f}" if step == 0 or abs(v) >= 99.95 else f"{v:.1f}".removesuffix(".0")
    return f"{text} {_IEC[step]}"


def count(v: float | None, width: int = 5) -> str:
    """Things: `  999`, `12.3k`, `1.20M`; powers of 1000. Fractions below 10 keep one digit."""
    if not known(v):
        return "-".rjust(width)
    assert v is not None
    if 0.05 <= v < 9.95 and v != int(v):
        return f"{v:.1f}".rjust(width)
    return _scaled(v, 1000.0, _DECIMAL, width)


def grouped(v: float | None) -> str:
    """A whole number with spaces between thousands: `12 840`. Not padded."""
    if not known(v):
        return "-"
    assert v is not None
    return f"{int(v):,}".replace(",", " ")


def pct(v: float | None, width: int = 4) -> str:
    """Percent without decimals: ` 94%`."""
    if not known(v):
        return "-".rjust(width)
    assert v is not None
    return f"{min(max(v, -99.0), 9999.0):.0f}%".rjust(width)


def pct1(v: float | None, width: int = 5) -> str:
    """A process's CPU share: `  0.3`, ` 99.9`, `  412`, ` 12.8k` (many cores)."""
    if not known(v):
        return "-".rjust(width)
    assert v is not None
    if v < 99.95:
        return f"{max(v, 0.0):.1f}".rjust(width)
    return f"{v:.0f}".rjust(width) if v < 9999.5 else count(v, width)


def fixed(v: float | None, digits: int = 2, width: int = 5) -> str:
    """A plain number with `digits` decimals; exponent form where it would not fit (`width` 0: any length)."""
    if not known(v):
        return "-".rjust(width)
    text = f"{v:.{digits}f}"
    return (text if not width or len(text) <= width else f"{v:.1e}").rjust(width)


def significant(v: float | None, width: int = 7) -> str:
    """A loss, a learning rate: four significant digits, `2.134`, `2.900e-04`, `118748`."""
    if v is None:
        return "-".rjust(width)
    if not known(v):
        # Unlike elsewhere these are findings, not gaps: a loss may really be NaN.
        return ("NaN" if v != v else "inf" if v > 0 else "-inf").rjust(width)
    magnitude = abs(v)
    if magnitude == 0:
        return "0".rjust(width)
    if 1e-3 <= magnitude < 9999.5:
        digits = 4 if magnitude < 1 else 3 if magnitude < 10 else 2 if magnitude < 100 else 1
        return f"{v:.{digits}f}".rjust(width)
    if 1 <= magnitude < 1e6:
        return f"{v:.0f}".rjust(width)
    return f"{v:.{1 if 1e-99 <= magnitude < 9.9e99 else 0}e}".rjust(width)


def duration(s: float | None, width: int = 6) -> str:
    """Seconds: `   12s`, ` 4m05s`, ` 3h12m`, `12d03h`, ` 9999d` at most."""
    if not known(s):
        return "-".rjust(width)
    assert s is not None
    t = int(max(0.0, s))
    if t < 60:
        text = f"{t}s"
    elif t < 3600:
        text = f"{t // 60}m{t % 60:02}s"
    elif t < 86400:
        text = f"{t // 3600}h{t // 60 % 60:02}m"
    elif t < 100 * 86400:
        text = f"{t // 86400}d{t // 3600 % 24:02}h"
    else:
        text = f"{min(t // 86400, 9999)}d"
    return text.rjust(width)


def ms(s: float | None, width: int = 6) -> str:
    """Seconds of a step or request: `0.52ms`, ` 9.1ms`, ` 311ms`, ` 2.31s`, then as a duration."""
    if not known(s):
        return "-".rjust(width)
    assert s is not None
    m = max(0.0, s) * 1000.0
    if m < 0.005:
        text = "0ms"
    elif m < 0.995:
        text = f"{m:.2f}ms"
    elif m < 9.95:
        text = f"{m:.1f}ms"
    elif m < 999.5:
        text = f"{m:.0f}ms"
    elif m < 99950.0:
        text = f"{m / 1000:.2f}s" if m < 9995.0 else f"{m / 1000:.1f}s"
    else:
        return duration(s, width)
    return text.rjust(width)


def watts(v: float | None, width: int = 5) -> str:
    """` 648W`, `4.97kW`."""
    if not known(v):
        return "-".rjust(width)
    assert v is not None
    if v < 999.5:
        return f"{max(v, 0.0):.0f}W".rjust(width)
    return f"{min(v / 1000, 999.0):.{2 if v < 9995 else 1 if v < 99950 else 0}f}kW".rjust(width)


def clock(wall_ns: int | None, seconds: bool = True) -> str:
    """Local time of day, `14:03:22`."""
    if wall_ns is None:
        return "-"
    try:
        t = time.localtime(wall_ns // 1_000_000_000)
    except (OverflowError, ValueError, OSError):
        return "-"
    return time.strftime("%H:%M:%S" if seconds else "%H:%M", t)
