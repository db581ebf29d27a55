"""The statistical layer: what is unusual though no rule has a name for it. A note, never more.

One series alone is a mark. A note needs three series of at least two families within five samples, or one
that stays at twice its threshold for 30 s; what an open alert explains has no vote; there is one such note
a node, and what comes within ten minutes of it is folded into it. All numbers are the detectors' own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from dctop.engine.rules.alert import Alert
from dctop.engine.rules.base import (
    INFO,
    NODE,
    Details,
    Ev,
    Needs,
    NodeRule,
    Outcome,
    Reading,
    Rule,
    num,
    size,
    span,
)
from dctop.engine.rules.detector import MUTE, Detector
from dctop.engine.rules.watched import TRAINING, Hit, Watch, watches
from dctop.engine.rules.window import ACTIVE, NS, Window, median

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Snapshot
    from dctop.engine.training.runstate import RunState

WITHIN = 5
"""Samples in which votes count together."""
BATCH_NS = 4 * NS
"""What is read is gone through in turns of this long: of a hundred series one after the other, two thirds of
the time go into coming back to them after a second of other work."""
BURST = 32
"""Steps of a tick fed one by one; beyond, medians of so many groups."""
SHOWN = 6
CAUTIOUS = 5 * MUTE[0]
"""Samples before which one series alone is no note: what is usual is hardly known."""


class Anomaly(NodeRule):
    """Statistics of every watched series: robust level and scale on three clocks, memory of earlier peaks.

    Deviation z = |x - level| / u, u = 1.25 x mean deviation, at least the series' floor / 8; threshold
    max(8, 1.25 x the second largest peak before / u); the same over means of 4 (6) and 16 samples (5). Gone
    through every four seconds, sample by sample: so much later a note may come.
    """

    id = "anomaly"
    problem = "compute"
    kind = "state"
    severities = "i"
    thresholds: ClassVar[Mapping[str, float]] = {
        "votes": 3.0, "families": 2.0, "score": 0.36, "alone_ratio": 2.0, "alone_s": 30.0,
    }  # fmt: skip
    source = (
        "peak memory, unit floors and votes of three measured on 303 public labelled series; families, "
        "single series and folding by design"
    )
    always = True

    def __init__(self, overrides: Mapping[str, float] | None = None) -> None:
        super().__init__(overrides)
        score = min(0.95, max(0.05, self.t["score"]))
        self._vote = score / (1.0 - score)
        self._labels: object = None
        self._by_probe: dict[str, list[Watch]] = {}
        self._known: dict[str, Watch] = {}
        self._samples: dict[str, object] = {}
        self._runs: dict[str, tuple[float, dict[str, Watch]]] = {}
        self._saved: Mapping[str, list[float]] = {}
        self._tick = self._through = 0
        """The latest tick, and the latest that was gone through."""
        self._seq = -1
        self._turn = -1
        self._waiting: list[tuple[int, Snapshot]] = []
        """(tick, what was read) since the latest turn."""
        self._votes: list[Watch] = []
        """Those with a vote now."""

    # -- a tick -----------------------------------------------------------------------------------------

    def stirred(self, w: Window) -> bool:
        """Keep what was read; it is gone through when a turn is over."""
        self._keep(w)
        return w.mono_ns // BATCH_NS != self._turn

    def judge(self, w: Window) -> Outcome:
        self._keep(w)
        self._turn = w.mono_ns // BATCH_NS
        bad: list[Watch] = []
        enough = False
        for tick, snap in self._take():
            self._node(tick, snap)
            votes = self._counted(tick, w)
            enough = self._enough(votes, tick, snap.frame.mono_ns)
            bad = votes if enough else bad
        if not self._known or all(v.detector.learning for v in self._known.values()):
            return Needs("learning")
        return (
            Reading(NODE, INFO if bad else 0, not enough, (lambda: self._details(bad, w)) if bad else None),
        )

    def _keep(self, w: Window) -> None:
        """Once a tick."""
        if w.frame.seq == self._seq:
            return
        self._seq = w.frame.seq
        self._tick += 1
        self._waiting.append((self._tick, w.snap))
        for run in w.runs:
            if run.status in ACTIVE:
                self._run(run, w.mono_ns)

    def _take(self) -> list[tuple[int, Snapshot]]:
        waiting, self._waiting = self._waiting, []
        self._through = self._tick
        return waiting

    def _node(self, tick: int, snap: Snapshot) -> None:
        if snap.labels is not self._labels:
            self._labels = snap.labels
            self._by_probe = watches(snap, self._known)
            self._known = {v.key: v for group in self._by_probe.values() for v in group}
            self._restore()
        values, samples, now = snap.values, snap.frame.samples, snap.frame.mono_ns
        numbers: dict[str, float | None] = {}
        """Of series with peers, looked up once for all of them."""
        for probe, group in self._by_probe.items():
            sample = samples.get(probe)
            if sample is None or self._samples.get(probe) is sample:
                continue  # nothing new was read: the last value again is no stall
            self._samples[probe] = sample
            for v in group:
                x = values.get(v.key)
                if v.peers:
                    if v.peers[0] not in numbers or v.key not in numbers:
                        numbers.update((k, snap.num(k)) for k in (v.key, *v.peers))
                    others = [o for k in v.peers if (o := numbers[k]) is not None]
                    middle = median(others)
                    if x is not None and middle is not None:
                        x = float(x) - middle
                v.detector.update(x)  # type: ignore[arg-type]  # texts are not watched
                if v.detector.ratio >= self._vote:
                    self._hit(v, tick, now)
                elif v.loud_since is not None:
                    v.loud_since = None

    def _run(self, run: RunState, now: int) -> None:
        """New steps of a run: training mode only, the logarithm of the loss."""
        from dctop.engine.training.runlog import kept, part

        seen, series = self._runs.get(run.id, (-math.inf, {}))
        n = kept(run.columns)
        if not n or run.mode not in ("train", None):
            return
        at = max(0, n - BURST * BURST)
        steps = part(run.columns, "step", at)
        if steps[-1] <= seen:
            return
        if at and steps[0] > seen:  # all at once: of a log just found
            at, steps = 0, part(run.columns, "step", 0)
        new = bisect_right(steps, seen)
        for name, floor in TRAINING.items():
            column = part(run.columns, name, at + new)
            if len(column) < len(steps) - new:
                continue
            v = series.get(name)
            if v is None:
                key = f"train.{name}{{run={run.id}}}"
                v = series[name] = Watch(
                    key, f"train.{name}", "training", Detector(floor.absolute, floor.relative)
                )
            values = grouped(column)
            if name == "loss":
                values = [math.log(x) if x > 0.0 else x for x in values]
            detector, vote = v.detector, self._vote
            for x in values:
                detector.update(x)
                if detector.ratio >= vote:
                    self._hit(v, self._tick, now)
                elif v.loud_since is not None:
                    v.loud_since = None
        self._runs[run.id] = (steps[-1], series)
        if len(self._runs) > 8:
            del self._runs[next(iter(self._runs))]

    def _hit(self, v: Watch, tick: int, now: int) -> None:
        f = v.detector.finding()
        hit = Hit(
            f.kind, f.ratio, f.value, f.level, f.swing, f.z, f.threshold, f.before, f.before_ago, f.samples
        )
        if v.hit is None or tick - v.hit_at >= WITHIN or hit.ratio >= v.hit.ratio:
            v.hit = hit
        v.hit_at = tick
        if v not in self._votes:
            self._votes.append(v)
        if f.ratio < self.t["alone_ratio"]:
            v.loud_since = None
        elif v.loud_since is None:
            v.loud_since = now

    # -- votes --------------------------------------------------------------------------------------------

    def _counted(self, tick: int, w: Window) -> list[Watch]:
        """Votes that no open alert explains, the largest deviation first."""
        if not self._votes:
            return []
        self._votes = [v for v in self._votes if tick - v.hit_at < WITHIN or v.loud_since is not None]
        votes = [v for v in self._votes if v.hit_at <= tick]
        if votes:
            known = explained(w.alerts)
            votes = [v for v in votes if v.key not in known and v.family not in known]
        return sorted(votes, key=lambda v: -(v.hit.ratio if v.hit else 0.0))

    def _enough(self, votes: Sequence[Watch], tick: int, now: int) -> bool:
        fresh = [v for v in votes if tick - v.hit_at < WITHIN]
        if len(fresh) >= self.t["votes"] and len({v.family for v in fresh}) >= self.t["families"]:
            return True
        alone = int(self.t["alone_s"] * NS)
        return any(
            v.loud_since is not None and now - v.loud_since >= alone and v.detector.n > CAUTIOUS
            for v in votes
        )

    def marks(self) -> dict[str, str]:
        """Series key -> kind (spike, shift, drift, stall) of those that alarm on their own just now."""
        return {
            v.key: v.hit.kind
            for v in self._votes
            if v.hit is not None and v.hit.ratio >= 1.0 and self._through - v.hit_at < WITHIN
        }

    def watched(self) -> Mapping[str, Sequence[Watch]]:
        """Probe -> what is watched of it now."""
        return self._by_probe

    def _details(self, votes: Sequence[Watch], w: Window) -> Details:
        facts: dict[str, object] = {f"m{i}": "" for i in range(1, SHOWN + 1)}
        evidence: list[Ev] = []
        for i, v in enumerate(votes[:SHOWN], 1):
            hit = v.hit
            assert hit is not None
            facts[f"m{i}"] = v.key
            unit = unit_of(v.metric)
            drawn = None if v.family == "training" else v.key  # runs are no series of the history
            usual = f"{shown(hit.level, unit)} ± {shown(hit.swing, unit)}"
            evidence.append(Ev(f"m{i}", _plain(v, hit.value), unit, f"{hit.kind}: {usual}", drawn))
        first = votes[0]
        hit = first.hit
        assert hit is not None
        unit = unit_of(first.metric)
        families = sorted({v.family for v in votes})
        facts |= {
            "series": first.key, "value": shown(_plain(first, hit.value), unit), "z": num(hit.z, 2),
            "level": shown(hit.level, unit), "swing": shown(hit.swing, unit), "limit": num(hit.threshold, 2),
            "before": num(hit.before, 2), "ago": span(hit.before_ago * w.source.interval_s),
            "over": span(hit.samples * w.source.interval_s),
            "others": ", ".join(v.key for v in votes[1:SHOWN]),
            "n": len(votes), "families": ", ".join(families),
        }  # fmt: skip
        kind = hit.kind if len(votes) == 1 else f"{hit.kind}.many"
        remedies: list[str | tuple[str, Mapping[str, object]]]
        remedies = ["look", "mute"] if first.family != "training" else ["run", "mute"]
        return Details(evidence, facts, remedies, ("rules",), None, kind)

    # -- a life longer than the process ----------------------------------------------------------------------

    def catch_up(self) -> None:
        """Go through what has been read before the turn is over; what follows is the same."""
        for tick, snap in self._take():
            self._node(tick, snap)

    def seen(self, samples: Mapping[str, object]) -> None:
        """These were taken already."""
        self._samples = {probe: samples[probe] for probe in self._by_probe if probe in samples}

    def state(self) -> dict[str, list[float]]:
        """Key -> numbers, of every series that has learned."""
        self.catch_up()
        return {k: v.detector.state() for k, v in self._known.items() if not v.detector.learning}

    def restore(self, saved: Mapping[str, list[float]]) -> None:
        """Go on where `state()` was, for series that have not begun."""
        self._saved = saved
        self._restore()

    def _restore(self) -> None:
        for key, v in self._known.items():
            if v.detector.n == 0 and key in self._saved:
                v.detector.restore(self._saved[key])


def grouped(values: Sequence[float]) -> list[float]:
    """Finite values; of more than 32 the medians of 32 groups in order."""
    known = [x for x in values if x - x == 0]
    n = len(known)
    if n <= BURST:
        return known
    if n >= 3 * BURST:
        return [sorted(known[a:b])[(b - a) // 2] for a, b in pairwise(_edges(n))]
    # Groups of one to three: the larger of two, as above.
    return [
        known[a] if b - a == 1 else max(known[a:b]) if b - a == 2 else sorted(known[a:b])[1]
        for a, b in pairwise(_edges(n))
    ]


@lru_cache(64)
def _edges(n: int) -> tuple[int, ...]:
    """Where `BURST` groups of `n` values begin and end."""
    return tuple(int(i * (n / BURST)) for i in range(BURST + 1))


# fmt: off
_FAMILY_OF = {
    "cpu": "cpu", "container": "cpu", "gpu": "gpu", "memory": "memory", "disk": "disk", "fs": "disk",
    "net": "network", "tcp": "network", "ib": "network", "train": "training",
}
_BY_RULE: Mapping[str, tuple[str, ...]] = {
    "cpu-contended": ("cpu", "training"), "cpu-saturated": ("cpu",), "cpu-steal": ("cpu", "training"),
    "cpu-throttled-cgroup": ("cpu", "training"), "input-bound": ("training",),
    "loss-nonfinite": ("training",), "throughput-regression": ("training",), "oom-killed": ("memory",),
    "oom-host-exception": ("memory",),
}
# fmt: on


def explained(alerts: Sequence[Alert]) -> set[str]:
    """Series keys and families that an open warning or worse is about."""
    out: set[str] = set()
    for a in alerts:
        if not a.open or a.severity == "info" or a.rule == Anomaly.id:
            continue
        out.update(_BY_RULE.get(a.rule, ()))
        if a.problem == "convergence":
            out.add("training")
        for e in a.evidence:
            if e.series:
                out.add(e.series)
                out.add(_family(e.series))
    return out


def _family(key: str) -> str:
    """The family of a series: pressure by what is waited for."""
    first, _, rest = key.partition(".")
    if first == "pressure":
        return {"io": "disk", "memory": "memory"}.get(rest.partition(".")[0], "cpu")
    return _FAMILY_OF.get(first, first)


def unit_of(metric: str) -> str:
    """The unit values are shown in."""
    from dctop.engine.metrics.derived import CATALOGUE

    found = CATALOGUE.get(metric)
    return found.unit if found is not None else "s" if metric == "train.step_s" else ""


def shown(x: float, unit: str) -> str:
    if unit in ("bytes", "bytes/s"):
        return size(x) + unit.removeprefix("bytes")
    return span(x) if unit == "s" and x >= 0 else f"{num(x)} {unit}".rstrip()


def _plain(v: Watch, x: float) -> float:
    """The loss is watched by its logarithm and shown as it is."""
    return x if v.metric != "train.loss" or abs(x) > 700 else math.exp(x)


RULES: tuple[type[Rule], ...] = (Anomaly,)
