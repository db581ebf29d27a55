"""The live engine: one thread that ticks, and everything that hangs on the tick.

    lanes -> Hub -> tick: Frame -> Snapshot -> History, runs, rules, recorder -> (UI reads)

It owns no terminal and needs none: `dctop record`, `check`, `snapshot` use it as the dashboard does. A slow
or stopped terminal delays nothing here.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import time
from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from dctop.engine import paths
from dctop.engine.metrics.builder import TICK_HZ, SnapshotBuilder
from dctop.engine.metrics.gpujoin import GpuJoin, XidJoin
from dctop.engine.metrics.gpulog import Energy, GpuLog
from dctop.engine.metrics.history import History
from dctop.engine.metrics.hub import LEAD_S, Hub, one_line, usual
from dctop.engine.metrics.lookback import LookBack
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.engine.recording.past import Past
from dctop.engine.recording.wide import joined, thinned
from dctop.engine.training.folder import RunsFolder
from dctop.probes.base import KeptFile, KernelEvent, Probe, Sample, Value, series

if TYPE_CHECKING:
    from dctop.engine.config import Energy as Factors
    from dctop.engine.config import Outside
    from dctop.engine.outside import Notifier
    from dctop.engine.recording.facts import RecEvent
    from dctop.engine.recording.recorder import Recorder
    from dctop.engine.recording.replay import ReplaySource
    from dctop.engine.rules.alert import Alert
    from dctop.engine.rules.board import Standing
    from dctop.engine.rules.engine import RuleEngine
    from dctop.engine.training.runstate import RunState
    from dctop.engine.training.watcher import RunWatcher

log = logging.getLogger(__name__)
T = TypeVar("T")

LOOK_BACK_TICKS = 300
"""Frames kept for looking back while live (five minutes at 1 Hz, about 1 kB each)."""
HISTORY_TICKS = 900
SOON_S = 0.3
"""With `soon`: how long after the first tick the second follows, for first rates while the screen is still
being made. Shorter than that, a tick of CPU time (10 ms) is too coarse a measure."""
_M_ARENA_MAX = -8
_M_MMAP_THRESHOLD = -3


class Present:
    """The live `Source` as of now. Rules judge this one, whatever the screen is looking at."""

    mode: Literal["live", "replay"] = "live"

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self.history = History(HISTORY_TICKS)
        self.current: Snapshot | None = None
        self.known_runs: Sequence[RunState] = ()
        self.known_alerts: Sequence[Alert] = ()

    def snapshot(self) -> Snapshot | None:
        return self.current

    def window(self, key: str, n: int) -> array[float]:
        return self.history.window(key, n)

    def alerts(self) -> Sequence[Alert]:
        return self.known_alerts

    def runs(self) -> Sequence[RunState]:
        return self.known_runs


class LiveEngine:
    """Samples the node once an interval. A `Source` for the screen, which can look back.

    `proc`, `sys`: roots of the pseudo file systems; `rules`: judge every tick; `runs_dir`: where runs
    are looked for (None: the user's, False: none); `soon`: the second tick follows the first after
    `SOON_S` instead of an interval, so that rates are there early.
    """

    mode: Literal["live", "replay"] = "live"

    def __init__(
        self,
        interval_s: float = 1.0,
        proc: str | Path = "/proc",
        sys: str | Path = "/sys",
        rules: bool = True,
        runs_dir: Path | Literal[False] | None = None,
        thresholds: Mapping[str, Mapping[str, float]] | None = None,
        lang: str = "en",
        probes: Sequence[Probe] | None = None,
        soon: bool = False,
        own_rules: Mapping[str, Mapping[str, object]] | None = None,
        energy: Factors | None = None,
    ) -> None:
        if probes is None:
            from dctop.probes.registry import all_probes

            probes = all_probes(proc, sys, interval_s)
        self.interval_s, self.lang = interval_s, lang
        self._soon_s = SOON_S if soon and interval_s >= 2 * SOON_S else 0.0
        self.hub = Hub(probes)
        self.now = Present(interval_s)
        self.tick_seq = 0
        self.next_tick_mono = 0.0
        """When the next tick will usually be done."""
        self.on_tick: list[Callable[[LiveEngine], None]] = []
        self.recorder: Recorder | None = None
        self._begun: Recorder | None = None
        """The recording that has been given what was before it."""
        self.recording_dir: Path | None = None
        """Where `start_recording` without a path puts its file; None: the user's state directory."""
        self.recording_options: dict[str, Any] = {}
        """Options of `Recorder` that hold where the caller names none."""
        self.notifier: Notifier | None = None
        self._usual: Path | None = None
        self.problem: str | None = None
        """One line while a part of the engine itself fails (rules, watcher)."""
        self._failed: list[str] = []
        self._builder = SnapshotBuilder()
        self._gpu_join, self._xid_join = GpuJoin(), XidJoin()
        self._gpus = GpuLog()
        self._frames = LookBack(LOOK_BACK_TICKS)
        self._stop = threading.Event()
        self._gate = threading.Lock()
        """Held until the end: the thread of the ticks waits for it, as the lanes do for theirs."""
        self._gate.acquire()
        self._ticked = threading.Condition()
        self._statm = KeptFile("/proc/self/statm", 256)
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._anchor: int | None = None
        self._back_snap: tuple[int, Snapshot] | None = None
        self._past = Past()
        self._thread: threading.Thread | None = None
        self._rules: RuleEngine | None = None
        self._watcher: RunWatcher | None = None
        self._runs = None if runs_dir is False else RunsFolder(runs_dir or paths.runs_dir())
        """Where the first one is looked for."""
        self._make_rules: Callable[[], RuleEngine] | None = None
        if rules:
            self._make_rules = lambda: _rule_engine(lang, thresholds or {}, own_rules, energy)
            if not self._soon_s:
                self._load_rules()

    # -- life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start reading. The first tick follows at once, so the first rates are there one interval later
        (with `soon`, `SOON_S` later)."""
        _share_arena()
        base = time.monotonic()
        self.hub.start(base, self._soon_s)
        self._thread = threading.Thread(target=self._run, args=(base,), name="dctop-engine", daemon=True)
        self._thread.start()

    def stop(self, reason: str = "quit") -> None:
        """End: closes a recording cleanly; waits for no probe."""
        if not self._stop.is_set():
            self._stop.set()
            self._gate.release()
        self.hub.stop()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(2.0)
        if self.notifier is not None:
            self.notifier.stop()
        self._past.close()  # a reader would keep the recorder from leaving one file
        self.stop_recording(reason)
        self._past.close()
        if self._usual is not None and self._rules is not None:
            from dctop.engine.rules import usual

            path, self._usual = self._usual, None
            usual.save(self._rules, path, time.time())
        with self._ticked:
            self._ticked.notify_all()

    def _run(self, base: float) -> None:
        """A tick follows the readings that are due at `base` + k x interval: as soon as all are usually
        there, and where one is not, `LEAD_S` after."""
        due, step, lead, took = base, self._soon_s or self.interval_s, LEAD_S, 0.0
        while not self._gate.acquire(timeout=max(0.0, due + lead - time.monotonic())):
            if lead < LEAD_S and self.hub.behind(due):
                lead = LEAD_S
                continue
            due, step = due + step, self.interval_s
            begun = time.monotonic()
            if begun >= due:
                due += self.interval_s * (int((begun - due) / self.interval_s) + 1)
            lead = self.hub.pace(due) if self.tick_seq > 1 else LEAD_S
            self.next_tick_mono = due + lead + took
            try:
                self._tick()
            except Exception as e:  # the engine must outlive any of its parts
                self.problem = one_line(e)
                log.exception("tick failed")
            with self._ticked:
                self._ticked.notify_all()
            if self.tick_seq > 2:  # the second loads the rules
                took = min(LEAD_S, usual(took, time.monotonic() - begun))

    def _tick(self) -> None:
        hub, now = self.hub, self.now
        seq = self.tick_seq + 1
        status = hub.status(self.interval_s)
        samples = dict(hub.latest)
        samples["self"] = self._self_sample()
        self._gpu_join.apply(samples)
        kernel = samples.get("kernel")
        log_is_read = kernel is not None and kernel.values.get("kernel.records") is not None
        events = self._xid_join.apply(hub.drain_events(), log_is_read)
        frame = Frame(seq, time.monotonic_ns(), time.time_ns(), samples, events, status)
        snap = self._builder.push(frame)
        now.history.push(snap.values)
        self._frames.append(frame)
        self._gpus.tick(snap)
        self._failed.clear()
        if self._runs is not None and self._guard("runs", self._poll_runs) and self._watcher is not None:
            now.known_runs = tuple(self._watcher.states())
        now.current = snap
        if self._make_rules is not None and seq > 1:
            self._guard("rules", self._load_rules)
        recorder = self.recorder
        # Rules that are still to be loaded will know something (what is usual) that belongs to the beginning.
        if recorder is not None and recorder is not self._begun and self._make_rules is None:
            self._guard("recording", lambda: self._begin(recorder))
        if self._rules is not None:
            self._guard("rules", self._judge)
        if recorder is not None:
            recorder.put(frame, now.known_alerts, now.known_runs, snap.values)
        self.tick_seq = seq
        for call in tuple(self.on_tick):
            self._guard("listener", lambda call=call: call(self))  # type: ignore[misc]
        self.problem = "; ".join(self._failed) or None

    def _poll_runs(self) -> bool:
        """Whether something new is known of runs. What reads them is loaded when there is one."""
        if self._watcher is None:
            assert self._runs is not None
            if not self._runs.news():
                return False
            from dctop.engine.training.watcher import RunWatcher

            self._watcher = RunWatcher(self._runs.path)
        return self._watcher.poll()

    def _begin(self, recorder: Recorder) -> None:
        """A recording begins with this tick, which is not judged yet: give it what was before."""
        self._begun = recorder
        frames = self._frames.last(LOOK_BACK_TICKS)[:-1]
        first = recorder.first_seq
        before = [f for f in frames if first is None or f.seq < first]
        body = None
        if self._rules is not None:
            from dctop.engine.recording.begun import body_of

            body = body_of(self._rules, frames[-1].seq if frames else None)
        recorder.begin(before, [a for a in self.now.known_alerts if a.open], body)

    def _judge(self) -> None:
        assert self._rules is not None
        self._rules.tick(self.now)
        self.now.known_alerts = self._rules.alerts()
        if self.notifier is not None:
            self.notifier.put(self.now.known_alerts, time.time_ns())

    def _load_rules(self) -> None:
        """With `soon` after the first tick only: a third of what there is to import, and nothing can be
        judged by one reading."""
        make, self._make_rules = self._make_rules, None
        if make is not None:
            self._rules = make()
            self._restore_usual()

    def keep_usual(self, path: Path) -> None:
        """What the statistical layer has learned is read from `path` and written there at the end: a restart
        is not a new life. Called before `start`."""
        self._usual = path
        self._restore_usual()

    def _restore_usual(self) -> None:
        if self._rules is not None and self._usual is not None:
            from dctop.engine.rules import usual

            usual.restore(self._rules, self._usual, time.time())

    def tell_outside(self, settings: Outside) -> None:
        """The settings `alerts.*` of the configuration file: from now on alerts are told to these."""
        if settings.command or settings.webhook:
            from dctop.engine.outside import Notifier

            self.notifier = Notifier(settings, os.uname().nodename)

    def _guard(self, what: str, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except Exception as e:
            text = f"{what}: {one_line(e)}"
            self._failed.append(text)
            if self.problem is None or text not in self.problem:  # once, not every tick
                log.exception("%s failed", what)
            return None

    def _self_sample(self) -> Sample:
        values: dict[str, Value] = {"dctop.cpu_ms": time.process_time_ns() // 1_000_000}
        try:
            values["dctop.rss_bytes"] = int(self._statm.read().split()[1]) * self._page
        except (OSError, IndexError, ValueError):
            values["dctop.rss_bytes"] = None
        for name, slot in self.hub.slots.items():
            values[_probe_key(name)] = slot.cost_ms
        recorder = self.recorder
        values["dctop.lost_frames"] = None if recorder is None else recorder.status.lost_frames
        return Sample("self", time.monotonic_ns(), time.time_ns(), values)

    def wait_ticks(self, n: int, timeout: float | None = None) -> bool:
        """Block until `n` further ticks are done; False on time-out or stop."""
        with self._ticked:
            goal = self.tick_seq + n
            return self._ticked.wait_for(lambda: self.tick_seq >= goal or self._stop.is_set(), timeout) and (
                self.tick_seq >= goal
            )

    # -- Source, as the screen sees it --------------------------------------------------------------

    @property
    def frame(self) -> Frame | None:
        current = self.now.current
        return None if current is None else current.frame

    @property
    def back(self) -> int:
        """How many ticks the screen looks back; 0 = live."""
        return 0 if self._anchor is None else max(0, self.tick_seq - self._anchor)

    def look_back(self, ticks: int) -> int:
        """Look `ticks` before now (0 = live again); returns what was possible: what is in memory, and before
        that what was recorded. The moment stays put while time goes on."""
        near, ticks = max(0, len(self._frames) - 2), max(0, ticks)
        if ticks > near:
            found = self._past.seek(self.tick_seq - ticks)
            ticks = near if found is None else max(near, self.tick_seq - found)
        self._anchor = None if ticks == 0 else self.tick_seq - ticks
        if ticks == 0:
            self._past.close()
        return ticks

    def _recorded(self) -> ReplaySource | None:
        """The recording at the moment looked at, if that is no longer in memory."""
        anchor = self._anchor
        oldest = self.tick_seq - len(self._frames) + 1  # in memory; ticks are numbered without a hole
        if anchor is None or anchor > oldest:
            return None
        found = self._past.seek(anchor)
        return None if found is None or found > oldest else self._past.source()

    def snapshot(self) -> Snapshot | None:
        anchor = self._anchor
        if anchor is None:
            return self.now.current
        cached = self._back_snap
        if cached is not None and cached[0] == anchor:
            return cached[1]
        recorded = self._recorded()
        if recorded is not None:
            return recorded.snapshot()
        frames = self._frames.up_to(anchor, 13)
        if anchor < frames[-1].seq:  # its moment has left the ring: stay at the oldest one
            self._anchor = anchor = frames[-1].seq
        builder = SnapshotBuilder()
        for frame in frames[:-1]:
            builder.push(frame)
        snap = builder.push(frames[-1])
        self._back_snap = (anchor, snap)
        return snap

    def window(self, key: str, n: int) -> array[float]:
        recorded = self._recorded()
        return self.now.history.window(key, n, self.back) if recorded is None else recorded.window(key, n)

    def wide(self, key: str, n: int, k: int) -> array[float]:
        """`n` means over `k` ticks each, newest last; what memory does not hold is taken from the recording
        that is being made, if there is one. NaN = missing."""
        recorded = self._recorded()
        if recorded is not None:
            return recorded.wide(key, n, k)
        back, history = self.back, self.now.history
        last = history.ticks - back
        ticks = min(n * k, max(0, HISTORY_TICKS - back))
        fine = history.window(key, ticks, back)
        if n * k <= ticks or last <= ticks:
            return thinned(fine, last, n, k)
        past = self._past.source()
        return (
            thinned(fine, last, n, k) if past is None else joined(past.recording.means(key), fine, last, n, k)
        )

    def snapshots_at(self, wall_ns: int, n: int) -> list[Snapshot]:
        """The last `n` snapshots up to a moment, newest last; what the screen looks at stays."""
        frames = list(self._frames)
        at = sum(f.wall_ns <= wall_ns for f in frames)
        if at < 2:
            past = self._past.source()
            if past is not None and past.t0_ns <= wall_ns:
                return past.snapshots_at(wall_ns, n)
            at = min(2, len(frames))
        builder = SnapshotBuilder()
        return [builder.push(f) for f in frames[max(0, at - n - 12) : at]][-n:]

    def events(self) -> Sequence[RecEvent]:
        """What was recorded in this session; empty without a recording."""
        past = self._past.source()
        return () if past is None else past.events()

    def alerts(self) -> Sequence[Alert]:
        recorded = self._recorded()
        if recorded is not None:
            return recorded.alerts()
        moment = self._moment()
        alerts = self.now.known_alerts
        return alerts if moment is None else [a for a in alerts if a.opened_wall_ns <= moment]

    def runs(self) -> Sequence[RunState]:
        recorded = self._recorded()
        if recorded is not None:
            return recorded.runs()
        moment = self._moment()
        if moment is None:
            return self.now.known_runs
        from dctop.engine.training.runstate import as_of

        return [as_of(r, moment) for r in self.now.known_runs if r.started_wall_ns <= moment]

    def gpu_energy(self, uuid: str) -> Energy | None:
        """Used by a GPU from the start of this session up to the moment looked at."""
        snap = self.snapshot()
        return None if snap is None else self._gpus.energy(uuid, snap.frame)

    def gpu_events(self) -> Sequence[KernelEvent]:
        """Xids and the like up to the moment looked at, oldest first."""
        return self._gpus.events(self._moment())

    def _moment(self) -> int | None:
        if self._anchor is None:
            return None
        snap = self.snapshot()
        return None if snap is None else snap.frame.wall_ns

    # -- what the user asks for ---------------------------------------------------------------------

    def configure_recording(self, dir: str | None, size_mb: float, age_days: float, durability: str) -> None:  # noqa: A002
        """The settings `recording.*` of the configuration file."""
        self.recording_dir = None if dir is None else Path(dir)
        self.recording_options = {
            "max_bytes": int(size_mb * 1_000_000),
            "max_age_s": age_days * 86400.0,
            "durability": durability,
        }

    def start_recording(self, path: Path | None = None, **options: Any) -> Path:
        """Record from the next tick on into `path` (None: a new file in the user's state directory).

        `options` go to `Recorder`. Raises OSError where the directory cannot be made; all later trouble
        is the recorder's status, not an exception.
        """
        from dctop.engine.recording.recorder import Recorder

        self.stop_recording("replaced")
        if path is None:
            folder = self.recording_dir or paths.recordings_dir()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stamp = time.strftime("%Y%m%d-%H%M%S")
            path = folder / f"{os.uname().nodename}-{stamp}.dctop"
        recorder = Recorder(
            path, interval_s=self.interval_s, meta=self._meta(), **{**self.recording_options, **options}
        )
        recorder.start()
        self.recorder, self._past.path = recorder, path
        return path

    def _meta(self) -> dict[str, str]:
        """What a reader of the recording must know of this machine."""
        host = self.hub.latest.get("host")
        names = ("host.name", "host.kernel", "host.boot_id")
        facts = {k.removeprefix("host."): str(host.values[k]) for k in names if host and host.values.get(k)}
        return {"host": facts.pop("name", os.uname().nodename), **facts, "tick_hz": str(TICK_HZ)}

    def stop_recording(self, reason: str = "stopped") -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is not None:
            recorder.stop(reason)

    def mark(self, text: str) -> bool:
        """Write a marker, with text a note, into the recording; False where nothing is recorded."""
        recorder = self.recorder
        if recorder is None:
            return False
        recorder.mark(text, "note" if text else "marker")
        return True

    def ack(self, alert_id: int) -> None:
        if self._rules is not None:
            self._rules.ack(alert_id)
            self.now.known_alerts = self._rules.alerts()

    def mute(self, alert_id: int, minutes: float) -> None:
        if self._rules is not None:
            self._rules.mute(alert_id, time.time_ns() + int(minutes * 60e9))
            self.now.known_alerts = self._rules.alerts()

    def not_checked(self) -> Sequence[tuple[str, str]]:
        return () if self._rules is None else self._rules.not_checked()

    def board(self) -> Sequence[Standing]:
        return () if self._rules is None else self._rules.board()

    def marks(self) -> Mapping[str, str]:
        return {} if self._rules is None else self._rules.marks()

    def problem_status(self) -> Mapping[str, str]:
        return {} if self._rules is None else self._rules.problem_status()


def _rule_engine(
    lang: str,
    thresholds: Mapping[str, Mapping[str, float]],
    own: Mapping[str, Mapping[str, object]] | None,
    energy: Factors | None,
) -> RuleEngine:
    from dctop.engine.rules.engine import RuleEngine

    return RuleEngine(lang=lang, thresholds=thresholds, own=own, energy=energy, runs_later=True)


def _share_arena() -> None:
    """All threads allocate from one arena of glibc instead of one each: 2 MB less (5 %), and the interpreter
    lets only one of them allocate at a time anyway. What is large (zlib takes 0.25 MB for a moment) goes back
    to the kernel at once: left alone, glibc would take such sizes from its heap after the first."""
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 128 << 10)


def _probe_key(name: str) -> str:
    key = _probe_keys.get(name)
    if key is None:
        key = _probe_keys[name] = series("dctop.probe_ms", probe=name)
    return key


_probe_keys: dict[str, str] = {}
