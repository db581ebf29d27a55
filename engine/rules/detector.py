"""A streaming detector for one series: spike, change of level, drift, stall. O(1) a sample, about 2 KiB.

What makes an alarm usable is not the model but the memory of what has already happened: an alarm needs a
deviation well beyond the largest ones seen before. So each stage keeps a robust level and scale and the two
largest earlier peaks; the first of a kind is told, a second is still told, the third is known. Three stages
see the samples, their means over 4 and over 16; drift looks at means over 64. One event is told once: what
comes back before it is over must exceed it, and a mean over what is already over is not told again.

No clock: everything is counted in samples. Pure Python, no numpy. Constants are those measured on 303
public labelled series (precision 0.53, 19 false alarms per 86,400 samples for one series alone).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["spike", "shift", "drift", "stall"]

FIRST_Z = (8.0, 6.0, 5.0)
"""Deviation, in units of the scale, from which a stage may alarm at all."""
BEYOND = 1.25
"""An alarm exceeds this many times the second largest peak seen before."""
MUTE = (60, 16, 10)
"""Ticks of a stage in which it only learns; until five times that its threshold falls from 3 x to 1 x."""
GAP = (40, 10, 4)
"""Peaks this close together, in ticks of the stage, are one."""
AKIN = 4.0
"""What comes back in an excursion is more of the same unless it is so many times smaller: no giant blinds."""
TOLD = 0.99
"""Ratio of what has been told already: it still has a vote, but is no alarm."""
HALF_LIFE = 6000
"""Samples in which a remembered peak fades to a half."""
_CANDIDATE = 3.0
_ADOPT = 5
"""Ticks in a row beyond 3 scales on one side: the level has changed."""
_SLOWEST = 1000
_LEVEL = 1 / 12
_FADE_EVERY = 64
MIN_CHANGES = 200
"""A series must have changed this often before equal values can be a stall."""
STALL = 30
DRIFT_MEANS = 24
"""Means over 64 samples that a drift is judged by: 26 minutes at 1 Hz."""
DRIFT_Z = 8.0
_DRIFT_TAU = 0.93
LIMIT = 1e150
"""Values beyond this are cut: squares and sums stay finite."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The deviation that scored most in a sample, in the series' own unit."""

    kind: Kind
    ratio: float
    """Deviation over threshold: 1 is an alarm."""
    value: float
    """Of the stage that saw it: a mean over `samples`."""
    level: float
    """What it was before."""
    swing: float
    """The usual deviation (one scale)."""
    z: float
    threshold: float
    """In scales, as `z`."""
    before: float
    """Largest earlier peak, in scales; 0: none remembered."""
    before_ago: int
    """How many samples ago that was."""
    samples: int
    """Over how many samples this was seen."""

    @property
    def score(self) -> float:
        """0-1; 0.5 is an alarm."""
        return self.ratio / (1.0 + self.ratio)


class _Stage:
    """One clock: robust level and scale of a stream, and its two largest earlier peaks."""

    __slots__ = (
        "_buffer", "_fade", "_gap", "_mute", "_peak", "_peak_at", "_peak_from", "anew", "before", "ended",
        "last", "level", "mean", "n", "off", "p1", "p1_at", "p2", "ratio", "scale", "side", "threshold", "z",
        "z0",
    )  # fmt: skip

    def __init__(self, index: int, step: int) -> None:
        self.z0 = FIRST_Z[index]
        self._gap, self._mute = GAP[index], MUTE[index]
        self._fade = 0.5 ** (_FADE_EVERY * step / HALF_LIFE)
        self.n = 0
        self.anew = False
        """Restored: what it swung by is known, where it stands now is not."""
        self.level = self.last = 0.0
        self.off = 0.0
        """Latest value less the level before it."""
        self.mean = 0.0
        """EW mean of the deviation."""
        self.scale = 0.0
        self.z = self.ratio = 0.0
        self.threshold = self.z0
        self.p1 = self.p2 = 0.0
        """The two largest deviations of before, in the series' unit: the scale may have changed since."""
        self.p1_at = 0
        self.before = 0.0
        """Level before the latest change of level."""
        self.ended = -(10**9)
        """Tick at which a new level was adopted last."""
        self.side = 0
        self._buffer: list[float] = []
        self._peak = 0.0
        self._peak_at = self._peak_from = 0

    def push(self, x: float, least: float) -> float:
        """One tick; `least`: smallest scale allowed. Returns deviation over threshold."""
        n = self.n = self.n + 1
        self.last = x
        if n == 1 or self.anew:
            self.anew = False
            self.level = x
            self.scale = max(least, 1.25 * self.mean)
            return 0.0
        level = self.level
        d = self.off = x - level
        a = -d if d < 0.0 else d
        scale = 1.25 * self.mean
        small = 1e-3 * (level if level >= 0.0 else -level)
        if small > scale:
            scale = small
        if least > scale:
            scale = least
        self.scale = scale
        if scale <= 0.0:
            z = 0.0 if a == 0.0 else 1e6
        else:
            z = a / scale
        self.z = z
        self._learn(x, d, a, scale, n)
        if self._peak and n - self._peak_at > self._gap:
            self._commit()
        told = self._peak
        if z >= _CANDIDATE and n > 10:
            if not self._peak:
                self._peak_from = n
            elif n - self._peak_from > 4 * self._gap:
                self._commit()
                self._peak_from = n
            if a > self._peak:
                self._peak = a
            self._peak_at = n
        if n % _FADE_EVERY == 0:
            self.p1 *= self._fade
            self.p2 *= self._fade
        mute = self._mute
        if n <= mute:
            self.ratio = 0.0
            return 0.0
        threshold = self.z0
        if scale > 0.0 and BEYOND * self.p2 > threshold * scale:
            threshold = BEYOND * self.p2 / scale
        if n < 5 * mute:
            threshold *= 3.0 - 2.0 * (n - mute) / (4.0 * mute)
        self.threshold = threshold
        ratio = z / threshold
        if ratio >= 1.0 and self.ratio < 1.0 and a < BEYOND * told < BEYOND * AKIN * a:
            ratio = TOLD  # one excursion is told once, however often it comes back before it is over
        self.ratio = ratio
        return ratio

    def still(self, x: float) -> float:
        """`ratio` between two ticks: no alarm any more once the series, at `x` by now, is half-way back.

        What is over by the time a mean is complete is the finer clock's to tell.
        """
        if self.ratio >= 1.0:
            half = 0.5 * self.off
            back = self.last - x
            if back >= half if half > 0.0 else back <= half:
                self.ratio = TOLD
        return self.ratio

    def _learn(self, x: float, d: float, a: float, scale: float, n: int) -> None:
        """Move level and scale; one value moves either by little, five in a row replace the level."""
        cut = 4.0 * scale
        term = cut if a > cut > 0.0 and n > 10 else a  # a series that stood still at 0 has no scale to cut by
        self.mean += (term - self.mean) / (n if n < _SLOWEST else _SLOWEST)
        far = 3.0 * scale
        if a <= far or n <= 10:
            self.side = 0
            self.level += d / n if n < 12 else d * _LEVEL
            return
        side = 1 if d > 0.0 else -1
        if side != self.side:
            self.side, self._buffer = side, [x]
        else:
            self._buffer.append(x)
        if len(self._buffer) >= _ADOPT:
            self.before = self.level
            self.level = sorted(self._buffer)[_ADOPT // 2]
            self.ended, self.side = n, 0
        else:
            self.level += (far if d > 0.0 else -far) * _LEVEL

    def _commit(self) -> None:
        """An excursion is over: it is remembered from now on."""
        peak, self._peak = self._peak, 0.0
        if peak > self.p1:
            self.p1, self.p2, self.p1_at = peak, self.p1, self._peak_at
        elif peak > self.p2:
            self.p2 = peak

    STATE = ("n", "level", "mean", "p1", "p2", "p1_at")


class Detector:
    """`update(x)` -> score (0-1, 0.5 is an alarm); `finding()` tells what it was.

    `floor`: no deviation below this, in the series' unit, alarms; `relative`: nor below this share of the
    level. What is not finite is skipped and counted as a gap.
    """

    __slots__ = (
        "_changes",
        "_drift",
        "_drift_before",
        "_drift_hold",
        "_drift_threshold",
        "_drift_way",
        "_drift_z",
        "_equal",
        "_last",
        "_longest",
        "_means",
        "_s0",
        "_s1",
        "_s2",
        "_sum4",
        "_sum16",
        "_sum64",
        "_which",
        "floor",
        "gaps",
        "n",
        "ratio",
        "relative",
        "value",
    )  # fmt: skip

    def __init__(self, floor: float = 0.0, relative: float = 0.0) -> None:
        self.floor, self.relative = floor, relative
        self._s0, self._s1, self._s2 = _Stage(0, 1), _Stage(1, 4), _Stage(2, 16)
        self._sum4 = self._sum16 = self._sum64 = 0.0
        self.n = self.gaps = 0
        self.value = self._last = 0.0
        self._equal = self._longest = self._changes = 0
        self._means: list[float] = []
        self._drift = 0.0
        """Deviation over threshold of the drift, while it is told."""
        self._drift_before = 0.0
        self._drift_hold = 0
        self._drift_way, self._drift_z, self._drift_threshold = 0.0, 1.0, DRIFT_Z
        self._which: Kind | int = 0
        self.ratio = 0.0

    @property
    def learning(self) -> bool:
        """So new that it is silent."""
        return self.n <= MUTE[0]

    @property
    def peaks(self) -> tuple[float, float]:
        """The two largest deviations remembered, in the series' unit."""
        return self._s0.p1, self._s0.p2

    def update(self, x: float | None) -> float:
        """One sample; returns the score (0-1, 0.5 is an alarm)."""
        if x is None or x - x != 0.0:
            self.gaps += 1
            return 0.0
        if x > LIMIT:
            x = LIMIT
        elif x < -LIMIT:
            x = -LIMIT
        s0, n = self._s0, self.n + 1
        self.n, self.value = n, x
        floor = self.floor
        if self.relative:
            level = s0.level
            share = self.relative * (level if level >= 0.0 else -level)
            if share > floor:
                floor = share
        best = s0.push(x, floor / 8.0)
        which: Kind | int = 0
        self._sum4 += x
        if n & 3 == 0:
            mean, self._sum4 = self._sum4 / 4.0, 0.0
            self._sum16 += mean
            self._s1.push(mean, max(floor / 6.0, 0.2 * s0.scale))
            if n & 15 == 0:
                mean, self._sum16 = self._sum16 / 4.0, 0.0
                self._sum64 += mean
                self._s2.push(mean, max(floor / 5.0, 0.2 * s0.scale))
                if n & 63 == 0:
                    mean, self._sum64 = self._sum64 / 4.0, 0.0
                    self._drifting(mean, floor)
        if self._s1.ratio > best:
            ratio = self._s1.still(x)
            if ratio > best:
                best, which = ratio, 1
        if self._s2.ratio > best:
            ratio = self._s2.still(x)
            if ratio > best:
                best, which = ratio, 2
        if self._drift > best:
            best, which = self._drift, "drift"
        if x == self._last:
            self._equal += 1
            if self._changes >= MIN_CHANGES:
                stall = self._equal / (STALL + 3.0 * self._longest)
                if stall > best:
                    best, which = stall, "stall"
        elif n > 1:
            if self._equal > self._longest:
                self._longest = self._equal
            self._equal = 0
            self._changes += 1
        self._last = x
        self._which, self.ratio = which, best
        return best / (1.0 + best)

    def _drifting(self, mean: float, floor: float) -> None:
        """Means over 64 samples that rise or fall nearly without a break, over a long way."""
        if self._drift_hold:
            self._drift_hold -= 1
            if not self._drift_hold:
                self._drift = 0.0
        means = self._means
        means.append(mean)
        if len(means) > DRIFT_MEANS:
            del means[0]
        if len(means) < DRIFT_MEANS:
            return
        way = means[-1] - means[0]
        far = -way if way < 0.0 else way
        scale = max(self._s0.scale, floor / DRIFT_Z)
        threshold = max(DRIFT_Z, BEYOND * self._drift_before / scale if scale > 0.0 else 0.0)
        if scale <= 0.0 or far < threshold * scale or abs(_tau(means)) < _DRIFT_TAU:
            return
        self._drift = far / scale / threshold
        self._drift_z, self._drift_threshold = far / scale, threshold
        self._drift_way = way
        self._drift_before = max(far, 0.9 * self._drift_before)
        self._drift_hold = 1
        self._means = means[-1:]

    def finding(self) -> Finding:
        """What scored most in the latest sample."""
        which = self._which
        if which == "stall":
            limit = float(STALL + 3 * self._longest)
            s = self._s0
            return Finding(
                "stall", self.ratio, self.value, s.level, s.scale, float(self._equal), limit,
                float(self._longest), 0, self._equal + 1,
            )  # fmt: skip
        if which == "drift":
            swing = abs(self._drift_way) / self._drift_z
            return Finding(
                "drift", self.ratio, self.value, self.value - self._drift_way, swing, self._drift_z,
                self._drift_threshold, 0.0, 0, 64 * DRIFT_MEANS,
            )  # fmt: skip
        stage = (self._s0, self._s1, self._s2)[which if isinstance(which, int) else 0]
        step = 4**which if isinstance(which, int) else 1
        shifted = step > 1 or stage.n - stage.ended < _ADOPT
        level = stage.before if stage.n == stage.ended else stage.level
        ago = (stage.n - stage.p1_at) * step if stage.p1 else 0
        before = stage.p1 / stage.scale if stage.scale else 0.0
        return Finding(
            "shift" if shifted else "spike", self.ratio, stage.last, level, stage.scale, stage.z,
            stage.threshold, before, ago, step,
        )  # fmt: skip

    # -- a life longer than the process ---------------------------------------------------------------

    def state(self) -> list[float]:
        """About 25 numbers to save."""
        stages = [float(getattr(s, name)) for s in (self._s0, self._s1, self._s2) for name in _Stage.STATE]
        return [*stages, float(self.n), float(self._changes), float(self._longest), self._drift_before]

    def restore(self, numbers: list[float]) -> bool:
        """Go on where `state()` was; False if the numbers are no such state."""
        names = len(_Stage.STATE)
        if len(numbers) != 3 * names + 4 or not all(
            isinstance(v, (int, float)) and v - v == 0 for v in numbers
        ):
            return False
        whole = {"n", "p1_at"}
        for i, stage in enumerate((self._s0, self._s1, self._s2)):
            for name, v in zip(_Stage.STATE, numbers[i * names : (i + 1) * names], strict=True):
                setattr(stage, name, int(v) if name in whole else float(v))
            stage.anew = True
        n, self._changes, self._longest, self._drift_before = (
            int(numbers[-4]), int(numbers[-3]), int(numbers[-2]), float(numbers[-1]),
        )  # fmt: skip
        self.n = n - n % 64  # whole blocks of the pyramid
        return True


def _tau(values: list[float]) -> float:
    """Kendall's tau against time."""
    n = len(values)
    score = 0
    for i in range(n - 1):
        a = values[i]
        for b in values[i + 1 :]:
            score += (b > a) - (b < a)
    return 2.0 * score / (n * (n - 1))
