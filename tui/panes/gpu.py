"""GPUs: one row each (a block each while there are few); without one, why there is none."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.metrics.model import Snapshot
from dctop.tui.draw import units
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.draw.text import wrap
from dctop.tui.intents import Intent, ShowGpu
from dctop.tui.keys import Action
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu_data import Gpu, GpuBook
from dctop.tui.panes.parts import DataPane, message, outside

_WHY = {
    "no library": "The driver's library libnvidia-ml.so.1 was not found.",
    "no driver": "The NVIDIA library is here, but the kernel driver is not loaded.",
    "version mismatch": "The NVIDIA library and the loaded kernel driver have different versions.",
    "no device": "The driver is loaded, but it shows no device.",
    "no permission": "This user may not open the GPU's device files.",
    "hung": "A call into the NVIDIA library does not come back; everything else goes on.",
    "error": "The NVIDIA library answered with an error.",
}
_DO = {
    "no library": "Install the NVIDIA driver; in a container start it with `--gpus all`.",
    "no driver": "Try `sudo modprobe nvidia`, then read `dmesg | grep -i nvrm`.",
    "version mismatch": "Reboot, or unload and reload the nvidia modules: a driver upgrade is half done.",
    "no device": "Compare `lspci -d 10de:` with `nvidia-smi -L`; in a container pass the devices in.",
    "no permission": "Check `ls -l /dev/nvidia*` and your groups, or the container's devices.",
    "hung": "Read `dmesg | grep -i -e nvrm -e xid`; a driver that hangs mostly needs a reboot.",
    "error": "`dctop doctor` shows the full message; `nvidia-smi` should say the same.",
}
_REST = "Everything else works without one: training on the CPU, alerts, recording, replay."
MOST_BLOCKS = 4


class GpuPane(DataPane):
    key = "gpu"
    name = "GPU"
    probes = ("gpu",)
    metrics = (
        "gpu.status", "gpu.state", "gpu.util_pct", "gpu.sm_active_pct", "gpu.tensor_active_pct",
        "gpu.mem_used_bytes", "gpu.mem_used_pct", "gpu.power_w", "gpu.power_limit_w", "gpu.temp_c",
        "gpu.sm_clock_mhz", "gpu.throttle_mask", "gpu.recovery_action",
    )  # fmt: skip
    actions = (
        Action("gpu.show", ("enter",), "detail", "The selected GPU in detail: history, health, processes."),
        Action("gpu.sort", ("s", "f6"), "sort", "Sort by trouble, or in the driver's order again."),
        Action("gpu.down", ("down",), "down", "Select the next GPU.", footer=False),
        Action("gpu.up", ("up",), "up", "Select the GPU before.", footer=False),
        Action("gpu.page_down", ("pagedown",), "page down", "A page down.", footer=False),
        Action("gpu.page_up", ("pageup",), "page up", "A page up.", footer=False),
        Action("gpu.home", ("home",), "first", "The first GPU.", footer=False),
        Action("gpu.end", ("end",), "last", "The last GPU.", footer=False),
    )
    about = (
        "A row a GPU: utilisation, SM and tensor activity, memory, temperature, power and the utilisation's "
        "history. Utilisation is the share of time in which at least one kernel ran: 100 % may be a single "
        "busy multiprocessor, so SM activity (how many of them worked) stands beside it; where the device "
        "cannot say, a dash does. High memory is not a fault (frameworks keep what they allocated). The mark "
        "at the end says what holds a GPU back: power cap (a note), thermal, hw slow, brake, or its worst "
        "alert. A GPU that is lost keeps its row with its last values dimmed. A dash: not supported by this "
        "device; a question mark: could not be read. GPUs are known by UUID: their number may change after a "
        "reboot or a lost card. G opens the view of all GPUs, enter the selected one."
    )

    def __init__(self, book: GpuBook | None = None) -> None:
        self.book = book or GpuBook()
        self._top = 0
        self._page = 1
        self._each = 1
        """Rows a device takes."""
        self._head = 0
        """Rows above the first one."""
        self._shown: list[Gpu] = []
        self._kept: dict[str, tuple[tuple[object, ...], Row]] = {}
        """UUID -> its row as it was drawn last, with what it was drawn from."""

    def title(self, view: View, w: int) -> tuple[Sequence[Span], Sequence[Span]]:
        snap = view.snap
        left: list[Span] = [(self.name, S.TITLE)]
        if snap is None:
            return left, ()
        gpus = self.book.whole(view)
        if not gpus:
            return left, self.right(view, outside(snap.text("gpu.status"), view.look, "none"), S.DIM)
        g = glyphs(view.look)
        left.append((f" {g.times}{len(gpus)}", S.TITLE))
        lost = [x.state for x in gpus if x.gone]
        if lost:
            word = outside(lost[0], view.look) if len(set(lost)) == 1 else "lost or hung"
            left.append((f" {g.critical} {len(lost)} {word}", S.CRIT))
        if self.book.by_trouble:
            left.append((f" trouble{g.descending}", S.DIM))
        elif w >= 50 and not lost:
            left.append(("  util  sm  mem  temp  power", S.DIM))
        power = [p for x in gpus if (p := x.num("power_w")) is not None]
        busy = [u for x in gpus if (u := x.num("util_pct")) is not None]
        text = units.pct(sum(busy) / len(busy), 0) if busy else "-"
        active = [a for x in gpus if (a := x.num("sm_active_pct")) is not None]
        if active and w >= 40:
            text += f" sm {units.pct(sum(active) / len(active), 0)}"
        if power:
            text += f"  {units.watts(sum(power), 0)}"
        return left, self.right(view, text)

    def rests_on(self, view: View) -> tuple[object, ...] | None:
        snap = view.snap
        status = None if snap is None else snap.values.get("gpu.status")
        if snap is None or status in (None, "ok") or snap.labels.get("gpu.name") or snap.stale("gpu"):
            return None
        return status, snap.values.get("gpu.detail")

    def draw(self, view: View, snap: Snapshot, w: int, h: int) -> list[Row]:
        whole, gpus = self.book.whole(view), self.book.gpus(view)
        if not gpus:
            self._shown = []
            return self._none(view, snap, w, h)
        from dctop.tui.panes import gpu_rows  # a node without a GPU does without

        each = h // max(1, len(whole))
        chosen = S.SELECT if view.focused else S.SELECT_DIM
        if len(gpus) <= MOST_BLOCKS and each >= 2:
            return self._blocks(view, gpus, w, h, each, chosen)
        if len(gpus) > h:
            gpus = whole
        self._each, self._head = 1, int(len(gpus) < h and h >= 4)
        label = max([len(x.label) + (x.parent is not None) for x in gpus])
        c = gpu_rows.columns(w, label, any(x.mark for x in gpus))
        room = h - self._head
        over = len(gpus) > room
        self._page = max(1, room - over)
        self._scroll_to(gpus)
        self._shown = gpus[self._top : self._top + self._page]
        rows = [gpu_rows.heading(c, w, view.look)] if self._head else []
        for x in self._shown:
            row = gpu_rows.kept_row(self._kept, view, x, c, w)
            rows += gpu_rows.picked([row], chosen) if x.uuid == self.book.chosen else [row]
        if over and room > 1:
            more = f"+{len(gpus) - len(self._shown)} more: arrows, or G for all"
            rows.append(fit_row(((more, S.DIM),), w))
        return rows

    def _blocks(self, view: View, gpus: list[Gpu], w: int, h: int, each: int, chosen: S) -> list[Row]:
        self._each, self._head, self._top, self._page, self._shown = h // len(gpus), 0, 0, len(gpus), gpus
        from dctop.tui.panes import gpu_rows

        rows: list[Row] = []
        for x in gpus:
            made = gpu_rows.block(view, x, w, min(self._each, 12))
            if x.uuid == self.book.chosen:
                made[:1] = gpu_rows.picked(made[:1], chosen)
            rows += made + [fit_row((), w)] * (self._each - len(made))
        return rows

    def _scroll_to(self, gpus: list[Gpu]) -> None:
        at = next((i for i, x in enumerate(gpus) if x.uuid == self.book.chosen), None)
        if at is not None:
            self._top = at if at < self._top else max(self._top, at - self._page + 1)
        self._top = max(0, min(self._top, len(gpus) - self._page))

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

    # -- keys -----------------------------------------------------------------------------------------

    def act(self, action_id: str, view: View) -> Intent | None:
        what = action_id.removeprefix("gpu.")
        book = self.book
        if what == "sort":
            book.by_trouble = not book.by_trouble
            return None
        current = book.current(view)
        if what == "show":
            return None if current is None else ShowGpu(current.uuid)
        many = 1 << 20
        steps = {
            "down": 1,
            "up": -1,
            "page_down": self._page,
            "page_up": -self._page,
            "home": -many,
            "end": many,
        }
        if what in ("home", "end") and current is not None:
            book.chosen = book.chosen or current.uuid
        book.step(view, steps.get(what, 0))
        return None

    def scroll(self, rows: int) -> bool:
        return False

    def click(self, x: int, y: int, view: View, double: bool = False) -> Intent | None:
        at = (y - self._head) // max(1, self._each)
        if y >= self._head and 0 <= at < len(self._shown):
            self.book.chosen = self._shown[at].uuid
            if double:
                return ShowGpu(self._shown[at].uuid)
        return None
