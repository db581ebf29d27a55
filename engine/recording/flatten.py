"""A frame taken apart into rows of plain cells, a stream a probe, and put together again.

Streams: one a probe, a row for each *new* sample; and `@`, the control stream, a row for each frame, which
says which samples were new. So a slow probe costs nothing between its readings, and a replayed frame holds
the very same sample object until the next one was read. Cells that begin with `@` are ours:

    control   @seq @mono @wall (wall - mono), @new{probe=X} 1 | 0 (as before), @events, @status (names),
              @stale{probe=X} @error{..} @cost{..} @problems{..}, and of active runs @step|ID @rows|ID ...
    sample    @mono @wall (wall - mono) @problems @events @procs @gpus
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import SupportsFloat

from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.engine.recording.codec import ABSENT, Cell
from dctop.engine.recording.gputable import RecordedGpus, gpus_text
from dctop.engine.recording.masking import mask_text
from dctop.engine.recording.plain import dump, kernel_from, kernel_text, load
from dctop.engine.recording.schema import Damaged
from dctop.probes.base import KernelEvent, Process, Sample, Value, series

CONTROL = "@"
DERIVED = "="
Cells = dict[str, Cell]


@dataclass(slots=True)
class FlatFrame:
    """One frame as cells."""

    seq: int
    mono_ns: int
    wall_ns: int
    control: Cells
    readings: dict[str, Cells]
    """Stream -> cells of its latest sample; the same dict object as in the frame before if not new."""
    procs: tuple[Process, ...] | None
    """Selected, masked processes of the latest process sample; None: no table."""


_PLAIN = frozenset((int, float, str, type(None)))
_keys: dict[str, dict[str, str]] = {}


def _key(name: str, probe: str) -> str:
    """`@new{probe=cpu}`, made once."""
    made = _keys.setdefault(name, {})
    key = made.get(probe)
    if key is None:
        key = made[probe] = series(name, probe=probe)
    return key


class Flattener:
    """Frames of one recording, in order, to `FlatFrame`s."""

    def __init__(self) -> None:
        self._samples: dict[str, Sample] = {}
        self._readings: dict[str, Cells] = {}

    def flatten(self, frame: Frame, procs: tuple[Process, ...] | None, hot: Mapping[str, Cell]) -> FlatFrame:
        """`procs`: what is recorded of the process sample; `hot`: cells of active runs."""
        control: Cells = {"@seq": frame.seq, "@mono": frame.mono_ns, "@wall": frame.wall_ns - frame.mono_ns}
        readings: dict[str, Cells] = {}
        fresh_events: list[KernelEvent] = []
        for probe, sample in frame.samples.items():
            if self._samples.get(probe) is sample:
                readings[probe] = self._readings[probe]
                continue
            readings[probe] = _reading(sample, procs is not None)
            if sample.events:
                fresh_events += sample.events
        self._samples = dict(frame.samples)
        self._readings = readings
        if frame.events:
            same = list(frame.events) == fresh_events
            control["@events"] = "=" if same else kernel_text(frame.events)
        elif fresh_events:
            control["@events"] = "[]"
        _flatten_status(frame, control)
        control.update(hot)
        return FlatFrame(frame.seq, frame.mono_ns, frame.wall_ns, control, readings, procs)


def new_key(probe: str) -> str:
    """The control cell that says whether the probe's sample is new in this frame: 1 | 0."""
    return _key("@new", probe)


def mark_new(flat: FlatFrame, before: Mapping[str, Cells]) -> None:
    """Set `@new` against what was *written* before: after lost frames a carried sample is new."""
    control, get = flat.control, before.get
    for probe, cells in flat.readings.items():
        control[new_key(probe)] = 0 if get(probe) is cells else 1


def clean(flat: FlatFrame) -> None:
    """Make foreign numbers (bool, numpy) plain. Only called where one was met."""
    for cells in (flat.control, *flat.readings.values()):
        for key, value in cells.items():
            if value.__class__ not in _PLAIN:
                if isinstance(value, int):
                    cells[key] = int(value)
                else:
                    cells[key] = float(value) if isinstance(value, SupportsFloat) else str(value)


def _reading(sample: Sample, with_procs: bool) -> Cells:
    cells: Cells = {"@mono": sample.mono_ns, "@wall": sample.wall_ns - sample.mono_ns}
    if sample.problems:
        cells["@problems"] = dump(tuple(map(_masked, sample.problems)))
    if sample.events:
        cells["@events"] = kernel_text(sample.events)
    if sample.processes is not None:
        cells["@procs"] = 1 if with_procs and sample.probe == "process" else 0
    if sample.gpu_processes is not None:
        cells["@gpus"] = gpus_text(sample.gpu_processes)
    cells.update(sample.values)
    return cells


@lru_cache(256)
def _masked(text: str) -> str:
    """An error stays for many frames."""
    return mask_text(text)


def _cost_of(frame: Frame, probe: str) -> Value:
    """The self probe reports what each read cost; a status that agrees needs no cell of its own."""
    own = frame.samples.get("self")
    return None if own is None else own.values.get(_key("dctop.probe_ms", probe))


def _flatten_status(frame: Frame, control: Cells) -> None:
    if not frame.status:
        return
    control["@status"] = " ".join(frame.status)
    for probe, st in frame.status.items():
        if st.stale:
            control[_key("@stale", probe)] = 1
        if st.error is not None:
            control[_key("@error", probe)] = _masked(st.error)
        if st.cost_ms != _cost_of(frame, probe):
            control[_key("@cost", probe)] = st.cost_ms
        sample = frame.samples.get(probe)
        if st.problems != (() if sample is None else sample.problems):
            control[_key("@problems", probe)] = dump(tuple(map(_masked, st.problems)))


class LazyStatus(Mapping[str, ProbeStatus]):
    """`Frame.status` of a replayed frame, computed when looked at (hundreds of frames are loaded for their
    numbers only). Age is reckoned from the times in the frame."""

    __slots__ = ("_control", "_made", "_mono_ns", "_samples")

    def __init__(self, mono_ns: int, control: Mapping[str, Cell], samples: Mapping[str, Sample]) -> None:
        self._mono_ns = mono_ns
        self._control = control
        self._samples = samples
        self._made: dict[str, ProbeStatus] | None = None

    def _all(self) -> dict[str, ProbeStatus]:
        if self._made is None:
            names = self._control.get("@status")
            self._made = {n: self._one(n) for n in names.split(" ")} if isinstance(names, str) else {}
        return self._made

    def _one(self, probe: str) -> ProbeStatus:
        get = self._control.get
        sample = self._samples.get(probe)
        error, problems = get(_key("@error", probe)), get(_key("@problems", probe))
        own = self._samples.get("self")
        cost = get(_key("@cost", probe), own and own.values.get(_key("dctop.probe_ms", probe)))
        return ProbeStatus(
            name=probe,
            age_s=None if sample is None else (self._mono_ns - sample.mono_ns) / 1e9,
            stale=get(_key("@stale", probe)) == 1,
            error=error if isinstance(error, str) else None,
            problems=_problems(problems) if problems else () if sample is None else sample.problems,
            cost_ms=cost if isinstance(cost, (int, float)) else None,
        )

    def __getitem__(self, probe: str) -> ProbeStatus:
        return self._all()[probe]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


def _problems(text: Cell) -> tuple[str, ...]:
    return tuple(load(text))


_NO_EVENTS: tuple[KernelEvent, ...] = ()


def restore_sample(
    probe: str, values: dict[str, Value], cells: Mapping[str, Cell], procs: Sequence[Process] | None
) -> Sample:
    """A sample from its values and its own (`@`) cells. Raises Damaged where they are not one."""
    mono, offset = cells.get("@mono"), cells.get("@wall")
    if not isinstance(mono, int) or not isinstance(offset, int):
        raise Damaged("a sample without its time")
    events, problems = cells.get("@events", ABSENT), cells.get("@problems", ABSENT)
    gpus = cells.get("@gpus")
    return Sample(
        probe,
        mono,
        mono + offset,
        values,
        procs if cells.get("@procs") == 1 else None,
        _NO_EVENTS if events is ABSENT else kernel_from(events),
        () if problems is ABSENT else _problems(problems),
        RecordedGpus(gpus) if isinstance(gpus, str) else None,
    )


def restore_frame(control: Mapping[str, Cell], samples: Mapping[str, Sample]) -> Frame:
    """A frame from its control cells and the samples it holds. Raises Damaged."""
    seq, mono, offset = control.get("@seq"), control.get("@mono"), control.get("@wall")
    if not isinstance(seq, int) or not isinstance(mono, int) or not isinstance(offset, int):
        raise Damaged("a frame without its time")
    text = control.get("@events")
    shown: tuple[KernelEvent, ...] = ()
    if text == "=":
        fresh = [s for probe, s in samples.items() if s.events and control.get(_key("@new", probe)) == 1]
        shown = tuple(event for sample in fresh for event in sample.events)
    elif text is not None:
        shown = kernel_from(text)
    return Frame(seq, mono, mono + offset, samples, shown, LazyStatus(mono, control, samples))
