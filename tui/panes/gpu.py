"""GPUs: one row each (a block each while there are few); without one, why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.graph import area_rows, samples, spark
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.draw.text import wrap
from dctop.tui.panes.base import View
from dctop.tui.panes.parts import (
    DataPane,
    Item,
    instances,
    items_row,
    key_of,
    message,
    num,
    outside,
    state_style,
)

_WHY = {
    "no library": "The driver's library libnvidia-ml.so.1 was not found.",
    "no driver": "The NVIDIA library is here, but the kernel driver is not loaded.",
    "version mismatch": "The NVIDIA library and the loaded kernel driver have different versions.",
    "no device": "The driver is loaded, but it shows no device.",
    "no permission": "This user may not open the GPU's device files.",
    "error": "The NVIDIA library answered with an error.",
}
_DO = {
    "no library": "Install the NVIDIA driver; in a container start it with `--gpus all`.",
    "no driver": "Try `sudo modprobe nvidia`, then read `dmesg | grep -i nvrm`.",
    "version mismatch": "Reboot, or unload and reload the nvidia modules: a driver upgrade is half done.",
    "no device": "Compare `lspci -d 10de:` with `nvidia-smi -L`; in a container pass the devices in.",
    "no permission": "Check `ls -l /dev/nvidia*` and your groups, or the container's devices.",
    "error": "`dctop doctor` shows the full message; `nvidia-smi` should say the same.",
}
_REST = "Everything else works without one: training on the CPU, alerts, recording, replay."


@dataclass(frozen=True, slots=True)
class _Gpu:
    """Values of one GPU at this tick."""

    uuid: str
    index: str
    name: str
    util: float | None
    used: float | None
    total: float | None
    mem_pct: float | None
    temp: float | None
    power: float | None
    limit: float | None
    clock: float | None


class GpuPane(DataPane):
    key = "gpu"
    name = "GPU"
    probes = ("gpu",)
    metrics = (
        "gpu.status", "gpu.util_pct", "gpu.mem_used_bytes", "gpu.mem_used_pct", "gpu.power_w",
        "gpu.power_limit_w", "gpu.temp_c", "gpu.sm_clock_mhz",
    )  # fmt: skip
    about = (
        "A row a GPU: utilisation, memory, temperature, power and the utilisation's history. Utilisation is "
        "the share of time in which at least one kernel ran: 100 % may be a single busy multiprocessor, so "
        "read it together with the power draw. High memory is not a fault (frameworks keep what they "
        "allocated); a long way below the power limit at 100 % utilisation is a hint of small kernels. GPUs "
        "are known by UUID: their number may change after a reboot or a lost card."
    )

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        snap = view.snap
        left: list[Span] = [(self.name, S.TITLE)]
        if snap is None:
            return left, ()
        gpus = self._gpus(view, snap)
        if not gpus:
            return left, self.right(view, outside(snap.text("gpu.status"), view.look, "none"), S.DIM)
        left.append((f" {glyphs(view.look).times}{len(gpus)}", S.TITLE))
        if w >= 50:
            left.append(("  util  mem  temp  power", S.DIM))
        power = [g.power for g in gpus if g.power is not None]
        busy = [g.util for g in gpus if g.util is not None]
        text = units.pct(sum(busy) / len(busy), 0) if busy else "-"
        if power:
            text += f"  {units.watts(sum(power), 0)}"
        return left, self.right(view, text)

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        gpus = self._gpus(view, snap)
        if not gpus:
            return self._none(view, snap, w, h)
        each = h // len(gpus)
        if len(gpus) <= 4 and each >= 2:
            rows: list[Row] = []
            for g in gpus:
                rows += self._block(view, g, w, min(each, 8))
            return rows
        if len(gpus) > h:
            shown = [self._row(view, g, w) for g in gpus[: h - 1]]
            more = f"+{len(gpus) - len(shown)} more: zoom with e"
            return [*shown, fit_row(((more, S.DIM),), w)]
        return [self._row(view, g, w) for g in gpus]

    def __init__(self) -> None:
        self._read: tuple[Snapshot | None, list[_Gpu]] = (None, [])
        """Snapshot and what was read from it: title and body need the same."""

    def _gpus(self, view: View, snap: Snapshot) -> list[_Gpu]:
        if self._read[0] is not snap:
            self._read = (snap, self._fresh(view, snap))
        return self._read[1]

    def _fresh(self, view: View, snap: Snapshot) -> list[_Gpu]:
        def n(metric: str, uuid: str) -> float | None:
            return num(snap, key_of(metric, "gpu", uuid))

        out: list[_Gpu] = []
        for i, uuid in enumerate(instances(snap, "gpu.name", "gpu.util_pct", "gpu.mem_total_bytes")):
            index = n("gpu.index", uuid)
            out.append(
                _Gpu(
                    uuid,
                    str(i) if index is None else f"{index:.0f}",
                    outside(snap.text(key_of("gpu.name", "gpu", uuid)), view.look, "GPU").removeprefix(
                        "NVIDIA "
                    ),
                    n("gpu.util_pct", uuid),
                    n("gpu.mem_used_bytes", uuid),
                    n("gpu.mem_total_bytes", uuid),
                    n("gpu.mem_used_pct", uuid),
                    n("gpu.temp_c", uuid),
                    n("gpu.power_w", uuid),
                    n("gpu.power_limit_w", uuid),
                    n("gpu.sm_clock_mhz", uuid),
                )
            )
        out.sort(key=lambda g: (len(g.index), g.index))
        return out

    def _row(self, view: View, g: _Gpu, w: int) -> Row:
        """`0 ███████▌  94% ███████▏ 72.0G 67° 648W ▇█▇██▇▆`, bars shrink first, then the history goes."""
        look = view.look
        rest = w - (len(g.index) + 1) - 5 - 7 - 5 - 6
        size = 8 if rest >= 30 else max(0, min(8, rest // 2 - 1))
        if rest >= 70:
            size = 12
        history = rest - 2 * (size + 1) - 1
        spans: list[Span] = [(g.index + " ", S.DIM)]
        spans += bar_spans(g.util, size, look, S.GRAPH)
        spans.append((units.pct(g.util, 5) + " ", S.VALUE))
        spans += bar_spans(g.mem_pct, size, look, S.GRAPH_3)
        spans.append((units.size(g.used, 6) + " ", state_style(g.mem_pct, 92, 97)))
        spans.append(self._temp(view, g))
        spans.append((units.watts(g.power, 6) + " ", S.TEXT))
        if history >= 4:
            values = view.source.window(key_of("gpu.util_pct", "gpu", g.uuid), min(history, 60))
            spans.append((spark(values, min(history, 60), look), S.GRAPH))
        return fit_row(spans, w)

    def _temp(self, view: View, g: _Gpu) -> Span:
        t = g.temp
        text = "-" if t is None else f"{t:.0f}{glyphs(view.look).degree}"
        style = S.TEXT if t is None or t < 85 else S.CRIT if t >= 95 else S.WARN
        return text.rjust(4), style

    def _block(self, view: View, g: _Gpu, w: int, h: int) -> list[Row]:
        """A line of facts above a graph of the utilisation."""
        total = units.size(g.total, 0)
        room = w - len(g.index) - 58
        name = fit(g.name, min(room, 22), "<", view.look.ellipsis) if room >= 6 else ""
        facts: list[Item] = [
            ((g.index + " ", S.VALUE), (name, S.DIM), (units.pct(g.util, 5 if name else 4), S.VALUE)),
            (
                ("mem ", S.DIM),
                (f"{units.size(g.used)}/{total:>4}", state_style(g.mem_pct, 92, 97)),
                (units.pct(g.mem_pct, 5), S.DIM),
            ),
            (self._temp(view, g),),
            ((units.watts(g.power), S.TEXT), (f"/{units.watts(g.limit, 0)}", S.DIM)),
            ((f"{units.fixed(g.clock, 0, 4)} MHz", S.DIM),),
        ]
        rows = [items_row(facts, w)]
        values = view.source.window(key_of("gpu.util_pct", "gpu", g.uuid), samples(view.look, w))
        return rows + area_rows(values, w, h - 1, view.look)

    def _none(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        status = snap.text("gpu.status")
        probe = snap.frame.status.get("gpu")
        if status is None:
            if probe is not None and probe.error:
                return message(
                    ("The GPU probe failed: " + outside(probe.error, view.look), _REST), w, h, head=S.WARN
                )
            return message(("Looking for GPUs.", _REST), w, h)
        if status == "ok":
            return message(
                ("The driver answers, but lists no GPU.", _DO["no device"], _REST), w, h, head=S.WARN
            )
        detail = outside(snap.text("gpu.detail"), view.look, "")
        head = f"No GPU: {outside(status, view.look)}."
        why = detail or _WHY.get(status, "")
        # The probe's own line says what was found and what to do; the table is for recordings without one.
        advice = [] if detail else [_DO.get(status, _DO["error"])]
        lines = [f"{head} {why}".strip(), *advice, _REST]
        while len(lines) > 1 and sum(len(wrap(text, max(1, w - 2))) for text in lines) > h:
            lines.pop()
        return message(lines, w, h, head=S.TEXT)
