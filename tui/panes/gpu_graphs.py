"""The selected GPU's history: a small graph of every series it has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.graph import area_rows, mirror_rows, samples, top_of
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import Gpu
from dctop.tui.panes.gpu_sub import GpuSubPane, actions_of
from dctop.tui.panes.parts import beside, fill


@dataclass(frozen=True, slots=True)
class Lane:
    """One graph. `top`: metric that is its upper end, or a number, or None for what the values need;
    `second`: drawn hanging below it."""

    name: str
    metric: str
    show: Callable[[float | None], str]
    top: str | float | None = 100.0
    second: str | None = None


def _pct(v: float | None) -> str:
    return units.pct(v, 0)


def _mhz(v: float | None) -> str:
    return f"{units.fixed(v, 0, 0)} MHz"


def _celsius(v: float | None) -> str:
    return f"{units.fixed(v, 0, 0)} C"


def _watts(v: float | None) -> str:
    return units.watts(v, 0)


def _size(v: float | None) -> str:
    return units.size(v, 0)


def _rate(v: float | None) -> str:
    return units.rate(v, 0)


def _each(v: float | None) -> str:
    return f"{units.count(v, 0)}/s"


LANES: tuple[Lane, ...] = (
    Lane("utilisation", "util_pct", _pct),
    Lane("SM active", "sm_active_pct", _pct),
    Lane("tensor cores", "tensor_active_pct", _pct),
    Lane("SM occupancy", "sm_occupancy_pct", _pct),
    Lane("memory bandwidth", "dram_active_pct", _pct),
    Lane("memory used", "mem_used_bytes", _size, "mem_total_bytes"),
    Lane("power", "power_w", _watts, "power_limit_w"),
    Lane("temperature", "temp_c", _celsius, "temp_slowdown_c"),
    Lane("SM clock", "sm_clock_mhz", _mhz, "sm_clock_max_mhz"),
    Lane("PCIe in, out", "pcie_rx_bytes_per_s", _rate, None, "pcie_tx_bytes_per_s"),
    Lane("NVLink in, out", "nvlink_rx_bytes_per_s", _rate, None, "nvlink_tx_bytes_per_s"),
    Lane("memory busy", "mem_util_pct", _pct),
    Lane("memory temperature", "mem_temp_c", _celsius, "mem_temp_max_c"),
    Lane("memory clock", "mem_clock_mhz", _mhz, "mem_clock_max_mhz"),
    Lane("held back: power", "throttle_power_pct", _pct),
    Lane("held back: heat (driver)", "throttle_thermal_pct", _pct),
    Lane("held back: heat (hardware)", "throttle_hw_thermal_pct", _pct),
    Lane("held back: power brake", "throttle_hw_power_pct", _pct),
    Lane("FP32", "fp32_active_pct", _pct),
    Lane("FP16", "fp16_active_pct", _pct),
    Lane("FP64", "fp64_active_pct", _pct),
    Lane("encoder", "encoder_util_pct", _pct),
    Lane("decoder", "decoder_util_pct", _pct),
    Lane("fan", "fan_pct", _pct),
    Lane("ECC corrected", "ecc_corrected_per_s", _each, None),
    Lane("ECC uncorrected", "ecc_uncorrected_per_s", _each, None),
    Lane("PCIe replays", "pcie_replays_per_s", _each, None),
)
LEAST_W = 26


def lanes_of(gpu: Gpu) -> list[Lane]:
    """Those whose series the device has."""
    return [lane for lane in LANES if gpu.has(lane.metric)]


class GpuGraphsPane(GpuSubPane):
    key = "gpu-graphs"
    name = "HISTORY"
    metrics = (
        "gpu.util_pct", "gpu.sm_active_pct", "gpu.tensor_active_pct", "gpu.sm_occupancy_pct",
        "gpu.dram_active_pct", "gpu.mem_used_bytes", "gpu.power_w", "gpu.temp_c", "gpu.sm_clock_mhz",
        "gpu.pcie_rx_bytes_per_s", "gpu.pcie_tx_bytes_per_s", "gpu.nvlink_rx_bytes_per_s",
        "gpu.nvlink_tx_bytes_per_s", "gpu.throttle_power_pct", "gpu.throttle_thermal_pct",
        "gpu.throttle_hw_thermal_pct", "gpu.throttle_hw_power_pct", "gpu.ecc_corrected_per_s",
    )  # fmt: skip
    actions = actions_of("gpu-graphs")
    about = (
        "A graph of every series the selected GPU has, newest at the right; what it does not support is left "
        "out. Shares go from 0 to 100 %, memory to its total, power to the limit in force, temperature to "
        "the slowdown threshold, clocks to their highest; rates to the largest value seen. The figure at the "
        "right of a title is the value now, with the upper end of the scale. Traffic in stands up, out "
        "hangs down."
    )

    def rows(self, view: View, snap: Snapshot, gpu: Gpu, w: int, h: int) -> list[Row]:
        lanes = lanes_of(gpu)
        if not lanes:
            return [fit_row((("No series of this GPU can be read.", S.DIM),), w)]
        across = max(1, min(4, w // LEAST_W, len(lanes)))
        down = -(-len(lanes) // across)
        tall = max(3, min(7, h // down))
        if tall * down > h:
            tall = 4 if h >= 4 else max(1, h)
        cell = (w - (across - 1)) // across
        out: list[Row] = []
        for i in range(0, len(lanes), across):
            row: list[Row] | None = None
            used = 0
            for lane in lanes[i : i + across]:
                last = used + 2 * cell + 1 > w
                size = w - used - (1 if row else 0) if last or lane is lanes[-1] else cell
                size = min(size, cell if not last else size)
                made = fill(self._lane(view, gpu, lane, size, tall), size, tall)
                row = made if row is None else beside(row, made, used, size)
                used += size + (1 if used else 0)
            out += [fit_row(r, w) for r in row or ()]
        return out

    def _lane(self, view: View, gpu: Gpu, lane: Lane, w: int, h: int) -> list[Row]:
        look = view.look
        n = samples(look, w)
        values = view.source.window(gpu.key(lane.metric), n)
        below = None if lane.second is None else view.source.window(gpu.key(lane.second), n)
        top = lane.top if isinstance(lane.top, float) else None
        if isinstance(lane.top, str):
            top = gpu.num(lane.top)
        drawn = (
            top
            if top is not None and top > 1e-6
            else top_of([v for v in (*values, *(below or ())) if v == v], 1.0)
        )
        now = gpu.num(lane.metric)
        text = lane.show(now) if now is not None else gpu.none(lane.metric, look)
        if lane.second is not None:
            text += f", {lane.show(gpu.num(lane.second))}"
        elif top is not None and lane.top != 100.0:
            text += f" of {lane.show(top)}"
        name = fit(lane.name, max(0, w - len(text) - 1), "<", look.ellipsis)
        head: list[Span] = [(name + " ", S.DIM), (text, S.FAINT if gpu.gone else S.VALUE)]
        rows = [fit_row(head, w)]
        style = S.FAINT if gpu.gone else S.GRAPH
        if h <= 1:
            return rows
        if below is not None:
            return rows + mirror_rows(values, below, w, h - 1, look, drawn, drawn)
        return rows + area_rows(values, w, h - 1, look, 0.0, drawn, style=style)
