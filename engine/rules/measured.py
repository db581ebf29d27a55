"""What a measurement of inference (`dctop infer`, docs/RUNLOG.md) says so far, as its rules read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dctop.engine.training.inferlog import PARTS

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunEvent, RunState

KINDS = frozenset((*PARTS, "start", "autograd", "reference", "checkpoint"))
NOTHING: Mapping[str, Any] = {}
_STAGES = ("pre", "h2d", "forward", "post", "queue")


class Request(NamedTuple):
    """Seconds of one request."""

    whole: float
    queue: float
    pre: float
    cpu_share: float | None
    """Thread CPU / wall of the rest; None: not measured."""


class Measured:
    """The newest event of each part, and the windows of the latency."""

    def __init__(self, run: RunState) -> None:
        self._run = run
        self.events: dict[str, RunEvent] = {}
        self.windows: list[RunEvent] = []
        """Of 200 requests each, oldest first."""
        for e in run.events:
            if e.kind == "latency" and e.data.get("window") is not None:
                self.windows.append(e)
            elif e.kind in KINDS:
                self.events[e.kind] = e

    def data(self, kind: str) -> Mapping[str, Any] | None:
        """None: not measured (yet)."""
        event = self.events.get(kind)
        return None if event is None else event.data

    def at(self, kind: str, *path: str) -> float | None:
        return number_at(self.data(kind), *path)

    def fact(self, *path: str) -> Any:
        """Of the `start` event, which says what run.json says."""
        return value_at(self.data("start"), *path)

    def asked(self, *path: str) -> Any:
        """Of run.json: what was asked for, and what is known of the training (`measures`)."""
        return value_at(self._run.config, *path)

    @property
    def name(self) -> str:
        """How to call what is measured in `dctop infer NAME`."""
        found = self.asked("measures", "run") or self.asked("measures", "checkpoint")
        return str(found or "RUN")

    @property
    def whole(self) -> Mapping[str, Any] | None:
        """The latency over all requests, once they are done."""
        return self.data("latency")

    def figures(self) -> Mapping[str, Any] | None:
        """Latency and stages: over all requests, while they go on of the newest window."""
        if self.whole is not None:
            return self.whole
        return self.windows[-1].data if self.windows else None

    def stage(self, name: str) -> float | None:
        """Median seconds of a stage."""
        return number_at(self.figures(), "stages", name, "p50_s")

    def stages(self) -> dict[str, float]:
        """Of those that are known."""
        return {name: v for name in _STAGES if (v := self.stage(name)) is not None}

    def p50(self) -> float | None:
        return number_at(self.figures(), "latency", "p50_s")

    def p99(self) -> float | None:
        return number_at(self.figures(), "latency", "p99_s")

    def points(self) -> list[tuple[int, float, float]]:
        """(batch, seconds, samples/s) of the throughput curve."""
        data = self.data("throughput") or NOTHING
        rows = data.get("points")
        out = []
        for p in rows if isinstance(rows, Sequence) else ():
            found = [number_at(p, name) for name in ("batch", "latency_s", "samples_per_s")]
            if None not in found:
                out.append((int(found[0] or 0), found[1] or 0.0, found[2] or 0.0))
        return out

    def pace(self, most: int) -> float | None:
        """Requests a second that were answered, of the newest `most`."""
        walls = self._run.columns.get("wall_ns")
        if walls is None or len(walls) < 2:
            return None
        kept = walls[-most:]
        return (len(kept) - 1) * 1e9 / (kept[-1] - kept[0]) if kept[-1] > kept[0] else None

    def requests(self, most: int, span_s: float | None = None) -> list[Request]:
        """The newest `most`, of them only those of the last `span_s`."""
        columns = self._run.columns
        walls: Sequence[float] = columns.get("wall_ns", ())
        first = max(0, len(walls) - most)
        if span_s is not None and len(walls):
            while first < len(walls) and walls[-1] - walls[first] > span_s * 1e9:
                first += 1
        names = ("step_s", "queue_s", "data_s", "cpu_s", "data_cpu_s")
        if any(name not in columns for name in names):
            return []
        a, b, c, d, e = (columns[name][first:] for name in names)
        out = []
        for whole, queue, pre, cpu, pre_cpu in zip(a, b, c, d, e, strict=True):
            if whole != whole:
                continue
            waited, prepared = (v if v == v else 0.0 for v in (queue, pre))
            wall = whole - waited - prepared
            known = wall > 0 and cpu == cpu and pre_cpu == pre_cpu
            share = min(1.0, (cpu - pre_cpu) / wall) if known else None
            out.append(Request(whole, waited, prepared, share))
        return out


def same_data(m: Measured) -> bool:
    """The training evaluated on the data set that is measured on now; an old log does not say."""
    then, now = m.asked("measures", "data_source"), m.fact("data", "source")
    return then is None or now is None or then == now


def growing(evals: Sequence[Mapping[str, Any]], key: str = "accuracy") -> float | None:
    """What a step of training gained, from the fourth last evaluation to the last; None: nothing."""
    points = [(number_at(e, "step"), number_at(e, key)) for e in evals]
    known = [(step, v) for step, v in points if step is not None and v is not None][-4:]
    if len(known) < 2 or known[-1][0] <= known[0][0]:
        return None
    gain = (known[-1][1] - known[0][1]) / (known[-1][0] - known[0][0])
    return gain if gain > 0 else None


def value_at(value: object, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def number_at(value: object, *path: str) -> float | None:
    """A finite number, else None."""
    found = value_at(value, *path)
    if isinstance(found, bool) or not isinstance(found, (int, float)) or found - found != 0:
        return None
    return float(found)
