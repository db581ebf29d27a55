"""The selected GPU's health: ECC, remapped rows, retired pages, links, what the driver asks for, Xids."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.engine.rules.xids import ACTION_WORDS, code_of, meaning, same_device
from dctop.probes.base import KernelEvent
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, fit, fit_row
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import Gpu, since
from dctop.tui.panes.gpu_sub import GpuSubPane, actions_of
from dctop.tui.panes.parts import outside, text_rows
from dctop.tui.sources import gpu_events

Check = tuple[str, str, int]
"""What is looked at, what was found, level: 0 well, 1 a note, 2 a warning, 3 critical, -1 not known."""
Say = Callable[[str], str]
"""A metric as text."""
NAME_W = 16
_STYLES = {0: S.TEXT, 1: S.INFO, 2: S.WARN, 3: S.CRIT, -1: S.DIM}
_XID_LEVEL = {"reset": 3, "reboot": 3, "restart": 2, "unknown": 2, "note": 1}


def _n(gpu: Gpu, metric: str, look: Look) -> str:
    v = gpu.num(metric)
    return gpu.none(metric, look) if v is None else units.fixed(v, 0, 0)


def _level(gpu: Gpu, *rules: tuple[str, float, int]) -> int:
    """The worst of (metric, threshold, level) reached; -1 where nothing could be read."""
    found = [(lv if v >= at else 0) for m, at, lv in rules if (v := gpu.num(m)) is not None]
    return max(found, default=-1)


def checks(gpu: Gpu, look: Look, raw: dict[str, float | None]) -> list[Check]:
    """The health table. `raw`: counters by metric, which a snapshot's values do not carry."""

    def count(metric: str) -> str:
        v = raw.get(metric)
        return units.grouped(v) if v is not None else gpu.none(metric, look)

    def n(metric: str) -> str:
        return _n(gpu, metric, look)

    out: list[Check] = []
    if gpu.gone:
        out.append(("state", f"{gpu.state} since {since(gpu)}", 3))
    action = gpu.text("recovery_action")
    asks = {"none": "nothing", None: gpu.none("recovery_action", look)}.get(action, outside(action, look))
    out.append(("driver asks for", asks, -1 if action is None else 0 if action == "none" else 3))
    mode, pending = gpu.num("ecc_mode"), gpu.num("ecc_pending")
    ecc = gpu.none("ecc_mode", look) if mode is None else "on" if mode else "off"
    if pending is not None and mode is not None and pending != mode:
        ecc += f", {'on' if pending else 'off'} after a reset"
    out.append(("ECC", ecc, -1 if mode is None else 0 if mode else 1))
    wrong, right = raw.get("ecc_uncorrected"), raw.get("ecc_corrected")
    where = ""
    if gpu.num("ecc_dram_uncorrected") is not None:
        where = f" (DRAM {n('ecc_dram_uncorrected')}, SRAM {n('ecc_sram_uncorrected')})"
    out.append(("uncorrected", f"{count('ecc_uncorrected')}{where}, ever {n('ecc_uncorrected_total')}",
                -1 if wrong is None else 3 if wrong > 0 else 0))  # fmt: skip
    out.append(("corrected", f"{count('ecc_corrected')}, ever {n('ecc_corrected_total')}",
                -1 if right is None else 1 if right > 0 else 0))  # fmt: skip
    out += _memory(gpu, n)
    out += _links(gpu, look, n, count)
    return out


def _memory(gpu: Gpu, say: Say) -> list[Check]:
    out: list[Check] = []
    text = f"{say('remap_corrected')} corrected, {say('remap_uncorrected')} uncorrected"
    if gpu.num("remap_pending"):
        text += ", one pending: reset"
    if gpu.num("remap_failed"):
        text += ", FAILED: replace the device"
    level = _level(gpu, ("remap_failed", 1, 3), ("remap_uncorrected", 512, 3), ("remap_pending", 1, 2),
                   ("remap_uncorrected", 1, 1), ("remap_corrected", 1, 1))  # fmt: skip
    out.append(("remapped rows", text, level))
    if gpu.has("remap_banks_none"):
        text = f"{say('remap_banks_none')} none left, {say('remap_banks_low')} low, "
        text += f"{say('remap_banks_partial')} in use"
        out.append(("spare rows", text, _level(gpu, ("remap_banks_none", 1, 2), ("remap_banks_low", 1, 1))))
    if gpu.has("retired_sbe") or gpu.has("retired_dbe"):
        text = f"{say('retired_sbe')} corrected, {say('retired_dbe')} uncorrected"
        if gpu.num("retired_pending"):
            text += ", one pending: reboot"
        level = _level(gpu, ("retired_pending", 1, 2), ("retired_dbe", 1, 1), ("retired_sbe", 1, 1))
        out.append(("retired pages", text, level))
    return out


def _links(gpu: Gpu, look: Look, say: Say, total: Say) -> list[Check]:
    out: list[Check] = []
    text = f"gen {say('pcie_gen')} x{say('pcie_width')}, at most "
    text += f"gen {say('pcie_gen_max')} x{say('pcie_width_max')}"
    width, most, gen, top = (gpu.num(f"pcie_{m}") for m in ("width", "width_max", "gen", "gen_max"))
    level = -1 if width is None or most is None else 3 if width < most else 0
    busy = (gpu.num("util_pct") or 0.0) > 20
    if level == 0 and gen is not None and top is not None and gen < top:
        level = 2 if busy else 0
        text += "" if busy else " (idle: saves power)"
    out.append(("PCIe link", text, level))
    out.append(("PCIe replays", total("pcie_replays"), 0 if gpu.has("pcie_replays") else -1))
    links, up = gpu.num("nvlinks"), gpu.num("nvlinks_up")
    if links:
        missing = up is not None and up < links
        text = f"{say('nvlinks_up')} of {say('nvlinks')} up"
        down = [f"{i}" for i in range(int(min(links, 64))) if _link(gpu, i, "up") == 0]
        if down:
            text += f", down: {' '.join(down)}"
        out.append(("NVLink", text, -1 if up is None else 3 if missing else 0))
    else:
        text = "none" if links == 0 else gpu.none("nvlinks", look)
        out.append(("NVLink", text, -1))
    if gpu.text("fabric_state"):
        out.append(("NVLink fabric", outside(gpu.text("fabric_state"), look),
                    0 if gpu.text("fabric_state") == "completed" else 2))  # fmt: skip
    watch = gpu.num("xid_watch")
    if gpu.has("xid_watch"):
        text = "from the driver as they happen" if watch else "from the kernel log alone"
        out.append(("Xids", text, 0 if watch else 1))
    return out


def _link(gpu: Gpu, i: int, what: str) -> float | None:
    value = gpu.snap.values.get(f"gpu.nvlink.{what}{{gpu={gpu.uuid},link={i}}}")
    return value if isinstance(value, (int, float)) else None


def xids_of(events: Sequence[KernelEvent], gpu: Gpu) -> list[KernelEvent]:
    """Those of one device, newest first."""
    pci = gpu.text("pci") or ""
    mine = [e for e in events if e.fields.get("gpu") == gpu.uuid or same_device(e.fields.get("pci", ""), pci)]
    return mine[::-1]


class GpuHealthPane(GpuSubPane):
    key = "gpu-health"
    name = "HEALTH"
    probes = ("gpuhealth",)
    metrics = (
        "gpu.recovery_action", "gpu.ecc_mode", "gpu.ecc_uncorrected", "gpu.ecc_corrected",
        "gpu.ecc_uncorrected_total", "gpu.ecc_corrected_total", "gpu.ecc_dram_uncorrected",
        "gpu.ecc_sram_uncorrected", "gpu.remap_corrected", "gpu.remap_uncorrected", "gpu.remap_pending",
        "gpu.remap_failed", "gpu.remap_banks_none", "gpu.retired_sbe", "gpu.retired_dbe", "gpu.pcie_gen",
        "gpu.pcie_gen_max", "gpu.pcie_width", "gpu.pcie_width_max", "gpu.pcie_replays", "gpu.nvlinks",
        "gpu.nvlinks_up", "gpu.nvlink.up", "gpu.nvlink.crc_errors", "gpu.fabric_state", "gpu.xid_watch",
    )  # fmt: skip
    actions = actions_of("gpu-health")
    about = (
        "The selected GPU's health. Errors count since the driver was loaded, `ever` in the device's life: "
        "old ones are history, new ones are not. Corrected errors are normal at a low rate. A remapped row "
        "is the repair, a pending one needs a reset, a failed one a new device. An idle GPU drops its PCIe "
        "link to gen 1 to save power: only fewer lanes than possible, or a low generation under load, is a "
        "fault. "
        "Below: the Xids the driver reported for it, newest first, with NVIDIA's meaning and action; 45 "
        "follows another one, 63 alone is benign, 13 and 31 are mostly the program's fault."
    )

    def rows(self, view: View, snap: Snapshot, gpu: Gpu, w: int, h: int) -> list[Row]:
        look = view.look
        g = glyphs(look)
        signs = {0: g.closed, 1: g.info, 2: g.warning, 3: g.critical, -1: " "}
        raw: dict[str, float | None] = {}
        for metric in ("ecc_uncorrected", "ecc_corrected", "pcie_replays"):
            value = snap.frame.value(gpu.key(metric))
            raw[metric] = value if isinstance(value, (int, float)) and units.known(value) else None
        out: list[Row] = []
        for name, text, level in checks(gpu, look, raw):
            head = f"{signs[level]} {fit(name, NAME_W)}"
            out += text_rows(
                text, w, _STYLES[level], len(head), (head, S.DIM if level <= 0 else _STYLES[level])
            )
        out += self._nvlinks(gpu, w)
        return out + self._xids(view, snap, gpu, w)

    def _nvlinks(self, gpu: Gpu, w: int) -> list[Row]:
        """A row for each link that had errors."""
        rows: list[Row] = []
        for i in range(int(min(gpu.num("nvlinks") or 0, 64))):
            kinds = ("crc", "replay", "recovery")
            values = [
                gpu.snap.frame.value(f"gpu.nvlink.{k}_errors{{gpu={gpu.uuid},link={i}}}") for k in kinds
            ]
            known = [(k, v) for k, v in zip(kinds, values) if isinstance(v, (int, float)) and v > 0]
            if known:
                text = ", ".join(f"{units.grouped(v)} {k}" for k, v in known)
                style = S.WARN if any(k == "recovery" for k, _ in known) else S.DIM
                rows.append(fit_row(((f"  {fit(f'link {i} errors', NAME_W)}", S.DIM), (text, style)), w))
        return rows

    def _xids(self, view: View, snap: Snapshot, gpu: Gpu, w: int) -> list[Row]:
        look = view.look
        g = glyphs(look)
        signs = {1: g.info, 2: g.warning, 3: g.critical}
        events = xids_of(gpu_events(view.source), gpu)
        if not events:
            if gpu.text("vendor") not in (None, "nvidia"):
                return []
            known = isinstance(snap.frame.value("kernel.records"), (int, float)) or gpu.num("xid_watch")
            text = "no Xid was reported" if known else "Xids cannot be read here (kernel log and driver)"
            return [fit_row(((f"{g.closed if known else ' '} {text}", S.GOOD if known else S.DIM),), w)]
        rows: list[Row] = [fit_row(((f"{len(events)} Xids, newest first", S.HEADER),), w)]
        for e in events:
            what = meaning(e.fields)
            level = _XID_LEVEL.get(what.action, 2)
            head = f"{signs[level]} {units.clock(e.wall_ns)} "
            who = (
                f", {outside(e.fields.get('task'), look)} ({outside(e.fields.get('pid'), look)})"
                if ("pid" in e.fields)
                else ""
            )
            text = f"{code_of(e.fields)} {what.name}{who}: {ACTION_WORDS.get(what.action, what.action)}"
            rows += text_rows(text, w, S.TEXT, len(head), (head, _STYLES[level]))
        return rows
