"""Labelled series and the scores of a detector on them: read, made, judged. Pure but for the two readers.

A detector is a function of a value and returns a number; a sample is flagged from a threshold on. Flagged
samples at most `APART` apart are one alarm. A window is found if a sample in it is flagged; an alarm that
touches no window is false. The NAB scores follow the published rules: each window earns by how early it was
found, each flagged sample outside costs by how long the last window is over, what is flagged in the first
15 % is not counted; 0 is a detector that never flags, 100 one that finds every window at its first sample and
flags nothing else (Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", 2015).
"""

from __future__ import annotations

import csv
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

APART = 5
"""Samples: what is told within as many counts together in the statistical layer, too."""
START = 300
"""Samples in which an alarm is one of the start."""
DAY = 86_400
PROBATION = 0.15
"""Share of a series, of 5,000 samples at most, in which the NAB scores count nothing."""
Windows = tuple[tuple[int, int], ...]
"""(first, last) sample of each labelled event, in order."""
PROFILES = {"standard": (1.0, 0.11, 1.0), "low FP": (1.0, 0.22, 1.0)}
"""Weights of a found window, a flagged sample outside, a missed window."""


@dataclass(frozen=True, slots=True)
class Series:
    name: str
    values: tuple[float, ...]
    windows: Windows = ()


# -- reading -----------------------------------------------------------------------------------------------


def read_nab(folder: Path) -> list[Series]:
    """Every series of a clone of NAB that its `labels/combined_windows.json` names."""
    labels = json.loads((folder / "labels" / "combined_windows.json").read_text())
    out = []
    for path in sorted((folder / "data").glob("*/*.csv")):
        name = path.relative_to(folder / "data").as_posix()
        if name in labels:
            rows = list(csv.DictReader(path.read_text().splitlines()))
            times = [r["timestamp"][:19] for r in rows]
            spans = [(a[:19], b[:19]) for a, b in labels[name]]
            out.append(Series(name, tuple(float(r["value"]) for r in rows), between(times, spans)))
    return out


def between(times: Sequence[str], spans: Iterable[tuple[str, str]]) -> Windows:
    """Sample indices of spans of time, both ends included; times as ISO text, which sorts."""
    out = []
    for a, b in spans:
        inside = [i for i, t in enumerate(times) if a <= t <= b]
        if inside:
            out.append((inside[0], inside[-1]))
    return tuple(out)


def read_csv(path: Path) -> list[Series]:
    """A table with a column `value` (or `count`), or v1, v2 ...; `label` is 1 where something is wrong."""
    rows = list(csv.DictReader(path.read_text().splitlines()))
    columns = [c for c in rows[0] if c in ("value", "count") or (c[:1] == "v" and c[1:].isdigit())]
    windows = runs([float(r.get("label") or 0) > 0 for r in rows])
    return [
        Series(f"{path.stem}:{c}" if len(columns) > 1 else path.stem,
               tuple(float(r[c] or "nan") for r in rows), windows)
        for c in columns
    ]  # fmt: skip


def runs(labels: Sequence[bool]) -> Windows:
    """Labelled samples as windows: those at most `APART` apart are one, each open `APART` samples longer."""
    marked = [(i, i) for i, on in enumerate(labels) if on]
    return tuple((a, min(b + APART, len(labels) - 1)) for a, b in joined(marked))


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    out: list[tuple[int, int]] = []
    for a, b in spans:
        if out and a - out[-1][1] <= APART:
            out[-1] = (out[-1][0], b)
        else:
            out.append((a, b))
    return out


# -- making ------------------------------------------------------------------------------------------------

LENGTH, AT = 6000, 4000


def noise(kind: str, r: random.Random) -> list[float]:
    """A healthy series of unit scale around 50."""
    out, state = [], 0.0
    for i in range(LENGTH):
        e = r.gauss(0.0, 1.0)
        if kind == "white":
            x = e
        elif kind == "wandering":  # half of what it was stays
            state = x = 0.5 * state + 0.866 * e
        elif kind == "bursts":  # a job every five minutes, of varying size
            x = e + (r.uniform(8.0, 20.0) if i % 300 < 3 else 0.0)
        else:  # heavy tails: a twentieth of the samples swings four times as far
            x = e * (4.0 if r.random() < 0.05 else 1.0)
        out.append(50.0 + x)
    return out


EVENTS: dict[str, tuple[int, Callable[[float, int, float], float]]] = {
    "spike": (3, lambda x, i, held: x + 40.0),
    "shift": (60, lambda x, i, held: x + 30.0),
    "drift": (1500, lambda x, i, held: x + 15.0 * min(1.0, i / 1500)),
    "stall": (240, lambda x, i, held: held),
}
"""Samples in which it is to be found; what becomes of a value, by samples since and the value before."""


def synthetic(seeds: int = 5) -> list[Series]:
    """Four kinds of healthy series, alone and with one of four events; shift and drift stay."""
    out = []
    for kind in ("white", "wandering", "bursts", "tails"):
        for seed in range(seeds):
            healthy = noise(kind, random.Random(f"{kind} {seed}"))
            out.append(Series(f"{kind}/healthy/{seed}", tuple(healthy)))
            for event, (length, change) in EVENTS.items():
                stays = event in ("shift", "drift")
                values = [
                    change(x, i - AT, healthy[AT - 1]) if i >= AT and (stays or i < AT + length) else x
                    for i, x in enumerate(healthy)
                ]
                window = (AT, AT + length - 1 + APART)
                out.append(Series(f"{kind}/{event}/{seed}", tuple(values), (window,)))
    return out


# -- judging -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Verdict:
    """A detector at one threshold on some series together."""

    samples: int
    windows: int
    found: int
    alarms: int
    false: int
    at_start: int
    """False alarms in the first `START` samples of a series."""
    series: int
    nab: dict[str, float]

    @property
    def recall(self) -> float | None:
        return self.found / self.windows if self.windows else None

    @property
    def precision(self) -> float | None:
        return (self.alarms - self.false) / self.alarms if self.alarms else None

    @property
    def per_day(self) -> float:
        """False alarms in 86,400 samples."""
        return self.false / self.samples * DAY if self.samples else 0.0


def alarms(flagged: Sequence[int]) -> list[tuple[int, int]]:
    """(first, last) flagged sample of each alarm."""
    return joined((i, i) for i in flagged)


def judge(series: Sequence[Series], scores: Sequence[Sequence[float]], threshold: float) -> Verdict:
    windows = found = told = false = at_start = 0
    raw = dict.fromkeys(PROFILES, 0.0)
    for s, score in zip(series, scores, strict=True):
        flagged = [i for i, x in enumerate(score) if x >= threshold]
        windows += len(s.windows)
        found += sum(any(a <= i <= b for i in flagged) for a, b in s.windows)
        for first, last in alarms(flagged):
            told += 1
            if not any(first <= b and last >= a for a, b in s.windows):
                false += 1
                at_start += first < START
        for name, weights in PROFILES.items():
            raw[name] += nab_raw(flagged, s.windows, len(s.values), weights)
    nab = {name: normalised(raw[name], windows, PROFILES[name]) for name in PROFILES}
    samples = sum(len(s.values) for s in series)
    return Verdict(samples, windows, found, told, false, at_start, len(series), nab)


def sigmoid(y: float) -> float:
    """+1 long before the end of a window (y = -1), 0 at its end, -1 long after."""
    return -1.0 if y > 3.0 else 2.0 / (1.0 + math.exp(5.0 * y)) - 1.0


def nab_raw(flagged: Sequence[int], windows: Windows, n: int, weights: tuple[float, float, float]) -> float:
    """Sum over one series: found windows, flagged samples outside, missed windows."""
    gain, cost, loss = weights
    best: dict[int, float] = {}
    total = 0.0
    quiet = int(PROBATION * min(n, 5000))
    for i in flagged:
        if i < quiet:
            continue
        k = next((k for k, (a, b) in enumerate(windows) if a <= i <= b), None)
        if k is not None:
            a, b = windows[k]
            earned = sigmoid(-(b - i + 1) / (b - a + 1)) / sigmoid(-1.0)
            best[k] = max(best.get(k, 0.0), earned)
            continue
        past = [(a, b) for a, b in windows if b < i]
        y = (i - past[-1][1]) / max(1, past[-1][1] - past[-1][0]) if past else math.inf
        total += cost * sigmoid(y)
    return total + sum(gain * (best[k]) if k in best else -loss for k in range(len(windows)))


def normalised(raw: float, windows: int, weights: tuple[float, float, float]) -> float:
    gain, _, loss = weights
    nothing, perfect = -loss * windows, gain * windows
    return 100.0 * (raw - nothing) / (perfect - nothing) if windows else math.nan


def thresholds(scores: Sequence[Sequence[float]], most: int = 60) -> list[float]:
    """Candidates for one threshold of all series: quantiles, ever closer to the top."""
    every = sorted({x for s in scores for x in s if x - x == 0})
    n = len(every)
    picks = {min(n - 1, int(n * (1.0 - 0.5 * 0.8**k))) for k in range(most)}
    return [every[i] for i in sorted(picks)] if every else []
