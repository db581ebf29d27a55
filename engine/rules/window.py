"""The read-only window through which rules see the node, and robust statistics in plain Python.

Medians, MAD, Theil-Sen and Kendall's tau instead of mean and standard deviation: one slow step or one big
file moves the latter, not the former. No numpy: the dashboard must not load it, and the windows are small.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from operator import is_not
from typing import TYPE_CHECKING, Any, TypeVar, cast

from dctop.engine.config import Energy
from dctop.engine.metrics import trend
from dctop.engine.metrics.trend import Trend, theil_sen
from dctop.probes.base import Value, series

if TYPE_CHECKING:
    from dctop.engine.metrics.model import Frame, Snapshot
    from dctop.engine.metrics.source import Source
    from dctop.engine.rules.alert import Alert
    from dctop.engine.training.runstate import RunState
    from dctop.probes.base import KernelEvent, Process

T = TypeVar("T")
NS = 1_000_000_000
RECENT_NS = 3600 * NS
"""A run that ended within the hour before dctop started is judged as fresh: nobody may have seen it."""
MAD_SCALE = 1.4826
"""Makes the median absolute deviation estimate the standard deviation of normal data."""

__all__ = ["Trail", "Trend", "Window", "finite", "mad", "median", "quantile", "theil_sen"]


def finite(values: Iterable[float]) -> list[float]:
    """What is neither NaN nor infinite."""
    return [v for v in values if v - v == 0]


def median(values: Sequence[float]) -> float | None:
    """Median of finite values; None of none."""
    return trend.median(values) if values else None


def mad(values: Sequence[float], centre: float | None = None) -> float | None:
    """1.4826 x median absolute deviation from `centre` (default: the median)."""
    middle = median(values) if centre is None else centre
    if middle is None:
        return None
    spread = median([abs(v - middle) for v in values])
    return None if spread is None else MAD_SCALE * spread


def quantile(values: Sequence[float], q: float) -> float | None:
    """The q-quantile (0-1), the nearest of the values."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


class Trail:
    """A thinned memory of one or several numbers: at most one entry each `every_s`, `span_s` long.

    For windows of minutes and hours, where the history of ticks is too short or too costly to go through,
    and which must not depend on how many ticks were lost. Time is the snapshots' monotonic time.
    """

    __slots__ = ("_every", "_points", "_span", "fresh")

    def __init__(self, span_s: float, every_s: float) -> None:
        self._every = int(every_s * NS)
        self._span = int(span_s * NS)
        self._points: deque[tuple[int, tuple[float | None, ...]]] = deque()
        self.fresh = False
        """Whether the latest push was kept."""

    def push(self, mono_ns: int, *values: float | None) -> None:
        points = self._points
        if points and mono_ns - points[-1][0] < self._every:
            self.fresh = False
            return
        points.append((mono_ns, values))
        self.fresh = True
        # One entry older than the span stays, so that a difference over the whole span is known.
        while len(points) > 2 and mono_ns - points[1][0] >= self._span:
            points.popleft()

    def covered_s(self) -> float:
        points = self._points
        return (points[-1][0] - points[0][0]) / NS if points else 0.0

    def delta(self, mono_ns: int, *now: float | None) -> tuple[float, tuple[float | None, ...]] | None:
        """(seconds, now - oldest) for each number; a counter that went back or is missing gives None."""
        if not self._points:
            return None
        at, old = self._points[0]
        if mono_ns <= at:
            return None
        differences = tuple(
            None if a is None or b is None or a < b else a - b for a, b in zip(now, old, strict=True)
        )
        return (mono_ns - at) / NS, differences

    def values(self, i: int = 0) -> list[float]:
        """One of the numbers, oldest first, NaN where missing."""
        return [math.nan if v[i] is None else float(v[i]) for _, v in self._points]  # type: ignore[arg-type]

    def growth(self, i: int = 0) -> float:
        """Newest less oldest of one of the numbers; NaN where either is missing."""
        ends = [p[1][i] for p in (self._points[0], self._points[-1])] if self._points else [None]
        return math.nan if None in ends else ends[-1] - ends[0]  # type: ignore[operator]

    def trend(self, i: int = 0, most: int = 60) -> Trend | None:
        """Theil-Sen slope (per second) and Kendall's tau over what is kept."""
        points = self._points
        if len(points) < 3:
            return None
        return theil_sen(self.values(i), self.covered_s() / (len(points) - 1), most)

    def __len__(self) -> int:
        return len(self._points)


class Window:
    """The node at one tick. The engine binds it; rules only read.

    A value of a stale probe is missing: the engine does not ask rules whose probe is stale, and `num` of
    another probe's series says None.
    """

    def __init__(self) -> None:
        self.source: Source
        self.snap: Snapshot
        self.frame: Frame
        self.mono_ns = 0
        self.wall_ns = 0
        self.runs: Sequence[RunState] = ()
        self.alerts: Sequence[Alert] = ()
        """The engine's own, as of the tick before."""
        self.energy = Energy()
        """Budgets and factors of the configuration."""
        self.stir = True
        """Kernel events came with this tick, or a run is another than it was at the tick before."""
        self.first_wall_ns = 0
        """Of the first tick since the engine began: what lies before it is history."""
        self.stepped_mono_ns: int | None = None
        """When the wall clock was last set by more than a second."""
        self._stale: frozenset[str] = frozenset()
        self._once: dict[Hashable, Any] = {}

    def bind(self, source: Source, snap: Snapshot) -> None:
        frame = snap.frame
        self.source, self.snap, self.frame = source, snap, frame
        self.mono_ns, self.wall_ns = frame.mono_ns, frame.wall_ns
        before, self.runs = self.runs, source.runs()
        self.stir = bool(frame.events) or len(self.runs) != len(before) or any(map(is_not, self.runs, before))
        self._once.clear()
        self._stale = frozenset(n for n, s in frame.status.items() if s.stale)
        if not self.first_wall_ns:
            self.first_wall_ns = frame.wall_ns
        step = self.num("clock.step_ns")
        if step is not None and abs(step) > NS:
            self.stepped_mono_ns = frame.mono_ns

    def once(self, name: Hashable, find: Callable[[], T]) -> T:
        """What `find` finds, looked for once a tick, whoever asks."""
        if name not in self._once:
            self._once[name] = find()
        return cast(T, self._once[name])

    # -- values -------------------------------------------------------------------------------------

    def has(self, probe: str) -> bool:
        """The probe has read, and lately enough."""
        return probe in self.frame.samples and probe not in self._stale

    def num(self, key: str) -> float | None:
        """A gauge or derived series now; None if missing."""
        value = self.snap.values.get(key)
        return value if isinstance(value, (int, float)) else None

    def raw(self, key: str) -> float | None:
        """A raw counter (or gauge) now; None if missing."""
        value: Value = self.frame.value(key)
        return value if isinstance(value, (int, float)) else None

    def text(self, key: str) -> str | None:
        return self.snap.text(key)

    def labels(self, metric: str) -> Sequence[str]:
        """Instances of a metric with one label: disks, mounts, interfaces."""
        return self.snap.labels.get(metric, ())

    def last(self, key: str, seconds: float) -> array[float]:
        """The series' values of the last `seconds`, NaN where missing."""
        return self.source.window(key, max(1, round(seconds / self.source.interval_s)))

    def mean(self, key: str, seconds: float, coverage: float = 0.5) -> float | None:
        """Mean over the last `seconds`; None if less than `coverage` of it was read."""
        values = self.last(key, seconds)
        total = sum(values)
        if total - total == 0:  # all were read
            return total / len(values)
        known = finite(values)
        return sum(known) / len(known) if known and len(known) >= coverage * len(values) else None

    # -- events and processes -----------------------------------------------------------------------

    @property
    def events(self) -> Sequence[KernelEvent]:
        """Kernel records new at this tick."""
        return self.frame.events

    def process(self, pid: int | None) -> Process | None:
        """None: not there, or processes are not read."""
        if pid is None:
            return None
        return next((p for p in self.frame.processes if p.pid == pid), None)

    def _children(self) -> dict[int, list[int]]:
        children: dict[int, list[int]] = {}
        for p in self.frame.processes:
            children.setdefault(p.ppid, []).append(p.pid)
        return children

    def tree(self, pids: Iterable[int]) -> set[int]:
        """These processes and all their descendants."""
        children = self.once("children", self._children)
        found: set[int] = set()
        todo = list(pids)
        while todo:
            pid = todo.pop()
            if pid not in found:
                found.add(pid)
                todo += children.get(pid, ())
        return found

    def run_pids(self) -> set[int]:
        """Processes of the active training runs."""
        roots = [r.pid for r in self.runs if r.pid is not None and r.status in ACTIVE]
        return self.tree(roots) if roots else set()

    def busiest(self, n: int = 3, without: Iterable[int] = ()) -> list[tuple[Process, float]]:
        """(process, % of one core) of the `n` largest users of CPU outside `without`."""
        skip = set(without)
        used = sorted(self.snap.process_cpu_pct.items(), key=lambda item: (-item[1], item[0]))
        top = [(pid, pct) for pid, pct in used if pid not in skip][:n]
        by_pid = {p.pid: p for p in self.frame.processes}
        return [(by_pid[pid], pct) for pid, pct in top if pid in by_pid]

    def largest(self, n: int = 3) -> list[Process]:
        """The processes with most resident memory."""
        return sorted(
            (p for p in self.frame.processes if p.rss_bytes), key=lambda p: (-(p.rss_bytes or 0), p.pid)
        )[:n]

    def mount_of(self, path: str) -> str | None:
        """The mount label that holds `path`: the longest one that is a prefix."""
        best: str | None = None
        for mount in self.labels("fs.used_bytes"):
            inside = path == mount or path.startswith(mount.rstrip("/") + "/")
            if inside and (best is None or len(mount) > len(best)):
                best = mount
        return best


ACTIVE = ("starting", "running", "stopping")


class Keys:
    """Series keys by label, built once: `keys("disk.reads", "sda")`."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._keys: dict[tuple[str, str], str] = {}

    def __call__(self, metric: str, value: str) -> str:
        key = self._keys.get((metric, value))
        if key is None:
            key = self._keys[metric, value] = series(metric, **{self._label: value})
        return key


disk_key, mount_key, nic_key, port_key = Keys("disk"), Keys("mount"), Keys("nic"), Keys("port")
