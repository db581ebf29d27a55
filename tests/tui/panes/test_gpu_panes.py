"""The GPU view's panes: trouble, what is not supported and what is not read, health, energy, processes."""

from __future__ import annotations

from typing import Any

import pytest

from dctop.engine.metrics.gpulog import Energy
from dctop.engine.metrics.model import Snapshot
from dctop.probes.base import GpuProcess, KernelEvent, Value, series
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S
from dctop.tui.intents import Notice, ShowGpu, ShowProcess
from dctop.tui.panes.base import View
from dctop.tui.panes.gpu import GpuPane
from dctop.tui.panes.gpu_energy import Factors, GpuEnergyPane, grams_text, joules_text
from dctop.tui.panes.gpu_facts import GpuFactsPane
from dctop.tui.panes.gpu_graphs import GpuGraphsPane, lanes_of
from dctop.tui.panes.gpu_health import GpuHealthPane
from dctop.tui.panes.gpu_processes import GpuProcessesPane
from dctop.tui.panes.gpu_view import gpu_panes
from dctop.tui.views import gpu as layout
from dctop.tui.views.place import Box
from tests.fakes.screen import GI, T0, FakeSource, Node, as_lines, check, make_alert, view_of


def uuid(i: int) -> str:
    return f"GPU-{i:04d}"


class Gpus(FakeSource):
    """A node with GPUs; `change(i, temp_c=99)` holds from the next tick on."""

    def __init__(self, n: int = 8) -> None:
        self.node = Node(gpus=n)
        super().__init__(None, self.node.history)
        self.energies: dict[str, Energy] = {}
        self.said: list[KernelEvent] = []
        self.rows: list[GpuProcess] = []
        for i in range(n):
            self.change(
                i, state="ok", vendor="nvidia", pci=f"0000:{i:02x}:00.0", sm_active_pct=61,
                tensor_active_pct=40, throttle_mask=0, recovery_action="none", temp_slowdown_c=90,
            )  # fmt: skip

    def change(self, i: int, /, **values: Value) -> Gpus:
        self.node.changes.update({series(f"gpu.{k}", gpu=uuid(i)): v for k, v in values.items()})
        return self

    def go(self, ticks: int = 2) -> Gpus:
        for _ in range(ticks):
            self.snap: Snapshot | None = self.node.step()
            self.snap.frame.samples["gpu"].gpu_processes = self.rows
        return self

    def gpu_energy(self, of: str) -> Energy | None:
        return self.energies.get(of)

    def gpu_events(self) -> list[KernelEvent]:
        return self.said

    def view(self, **more: Any) -> View:
        return view_of(self, **more)


def text(pane: Any, view: View, w: int = 118, h: int = 30) -> str:
    rows = pane.body(view, w, h)
    check(rows, w, h, view.look)
    return "\n".join(as_lines(rows))


def test_a_lost_gpu_keeps_its_row_red_with_its_last_values_dimmed() -> None:
    s = Gpus().go(5)
    s.change(
        3, state="lost", lost_since_s=T0 / 1e9, util_pct=None, temp_c=None, power_w=None, mem_used_bytes=None
    )
    s.go(60)
    pane = GpuPane()
    rows = pane.body(s.view(), 118, 10)
    line = as_lines(rows)[4]
    assert line.startswith("3 ") and "61%" in line and "72.0G" in line and "627W" in line
    assert "■ lost since " in line
    assert {style for t, style in rows[4] if t.strip()} <= {S.FAINT, S.CRIT}
    assert "■ 1 lost" in "".join(t for t, _ in pane.title(s.view(), 100)[0])
    narrow = as_lines(pane.body(s.view(), 60, 10))[4]
    assert "■ lost " in narrow


def test_a_gpu_lost_before_anything_was_read_has_question_marks_not_zeros() -> None:
    s = Gpus(6)
    s.change(
        2,
        state="lost",
        lost_since_s=None,
        **dict.fromkeys(("util_pct", "temp_c", "power_w", "mem_used_bytes")),
    )
    line = as_lines(GpuPane().body(s.go().view(), 118, 8))[3]
    assert line.count("?") >= 4
    assert "0%" not in line.split("■")[0].replace("40%", "").replace("90%", "")


def test_trouble_comes_first_on_demand() -> None:
    s = Gpus()
    s.change(5, throttle_mask=0x40).change(6, throttle_mask=0x4).change(2, recovery_action="reset").go()
    s.alert_list = [make_alert(entity=uuid(5), severity="critical", rule="gpu-throttle-thermal")]
    pane = GpuPane()
    assert [line[0] for line in as_lines(pane.body(s.view(), 100, 9))[1:]] == list("01234567")
    pane.act("gpu.sort", s.view())
    lines = as_lines(pane.body(s.view(), 100, 9))[1:]
    assert {lines[0][0], lines[1][0]} == {"2", "5"} and lines[2][0] == "6"
    assert "■ hw thermal" in "".join(lines[:2]) and "■ reset" in "".join(lines[:2])
    assert "· power cap" in lines[2]


def test_utilisation_never_stands_alone() -> None:
    s = Gpus(2).change(0, util_pct=100).go()
    assert "100%  61%" in text(GpuPane(), s.view(), 100, 3)
    for h in (4, 9):
        assert "sm 61%" in text(GpuPane(), s.view(), 100, h)
    other = Node(gpus=2)  # devices without SM activity
    source = FakeSource(other.run(3), other.history)
    assert "sm –" in text(GpuPane(), view_of(source), 100, 4)
    assert "100% may be one busy SM" in text(GpuPane(), view_of(source), 100, 8)
    assert "SM activity is not supported" in text(GpuFactsPane(), view_of(source))


def test_not_supported_and_not_read_differ() -> None:
    s = Gpus(6).change(1, sm_active_pct=None).go()
    lines = as_lines(GpuPane().body(s.view(), 118, 8))
    assert "   ?" in lines[2] and "   ?" not in lines[1]
    for look, dash in ((Look(), "–"), (Look(unicode=False), "-")):
        health = text(GpuHealthPane(), s.view(look=look))
        assert f"ECC             {dash}" in health


def test_rows_that_are_kept_are_those_a_new_pane_would_draw() -> None:
    s = Gpus()
    pane = GpuPane()
    changes: list[dict[str, Value]] = [
        {}, {"temp_c": 89}, {"temp_slowdown_c": 70}, {"sm_active_pct": None}, {"throttle_mask": 0x40},
        {"state": "lost", "lost_since_s": 1000.0}, {"index": 17}, {"power_w": None, "state": "ok"},
    ]  # fmt: skip
    for change in changes:
        s.change(3, **change).go(1)
        for width in (118, 60):
            for look in (Look(), Look(unicode=False)):
                view = s.view(look=look)
                assert pane.body(view, width, 9) == GpuPane().body(view, width, 9)
    view = s.view()
    before = pane.body(view, 60, 9)[1]
    assert pane.body(view, 60, 9)[1] is before


def test_selecting_and_opening_one() -> None:
    s = Gpus().go()
    pane = GpuPane()
    view = s.view(focused=True)
    pane.body(view, 100, 9)
    for key in ("down", "down", "down"):
        pane.act(f"gpu.{key}", view)
    assert pane.act("gpu.show", view) == ShowGpu(uuid(2))
    assert pane.body(view, 100, 9)[3][0][1] is S.SELECT
    assert pane.click(5, 6, view, double=True) == ShowGpu(uuid(5))
    pane.act("gpu.end", view)
    assert pane.book.chosen == uuid(7)
    pane.act("gpu.home", view)
    assert pane.book.chosen == uuid(0)


def test_more_than_fit_scroll_with_the_selection() -> None:
    s = Gpus(16).go()
    pane = GpuPane()
    view = s.view(focused=True)
    pane.body(view, 78, 6)
    pane.act("gpu.end", view)
    assert any(line.startswith("15 ") for line in as_lines(pane.body(view, 78, 6)))


def test_mig_devices_stand_below_their_gpu() -> None:
    s = Gpus(6)
    s.change(5, parent=uuid(1), index=0, gpu_instance=7, compute_instance=0, name="H100 MIG 3g.40gb").go()
    pane = GpuPane()
    assert [x.uuid for x in pane.book.gpus(s.view())][1:3] == [uuid(1), uuid(5)]
    assert [x.uuid for x in pane.book.whole(s.view())] == [uuid(i) for i in range(5)]
    assert "└0" in as_lines(pane.body(s.view(), 100, 9))[3]
    facts = gpu_panes([pane])[1]
    pane.book.chosen = uuid(1)
    assert "1 MIG devices" in text(facts, s.view()) and "3g.40gb (7/0)" in text(facts, s.view())


def test_two_makers_are_told_apart() -> None:
    s = Gpus(6).change(4, vendor="amd", index=0).change(5, vendor="intel", index=0).go()
    labels = [x.label for x in GpuPane().book.gpus(s.view())]
    assert labels == ["N0", "N1", "N2", "N3", "A0", "I0"]


def test_facts_say_in_words_what_holds_it_back() -> None:
    s = Gpus(1).change(0, throttle_mask=0x44, throttle_thermal_ns=0)
    s.go()
    said = text(GpuFactsPane(), s.view())
    assert "held back ▲ power limit, hot (hardware)" in said
    s.change(0, throttle_mask=0x1).go()
    assert "held back ✓ by nothing" in text(GpuFactsPane(), s.view())
    s.change(0, throttle_mask=None).go()
    assert "held back ?" in text(GpuFactsPane(), s.view())


def test_the_title_says_what_happened_to_how_many() -> None:
    s = Gpus(6).change(0, state="hung").change(1, state="hung").go()
    assert "■ 2 hung" in "".join(t for t, _ in GpuPane().title(s.view(), 100)[0])
    s.change(2, state="lost").go()
    assert "■ 3 lost or hung" in "".join(t for t, _ in GpuPane().title(s.view(), 100)[0])


def test_a_lost_gpu_is_said_to_be_so_everywhere() -> None:
    s = Gpus(1).change(0, state="hung", problem="a call has not come back", lost_since_s=T0 / 1e9).go()
    assert "■ hung since" in text(GpuFactsPane(), s.view())
    assert "a call has not come back" in text(GpuFactsPane(), s.view())
    assert "hung since" in text(GpuHealthPane(), s.view())


def test_graphs_show_only_what_the_device_has() -> None:
    s = Gpus(1).go(30)
    pane = GpuGraphsPane()
    gpu = pane.book.current(s.view())
    assert gpu is not None
    names = [lane.name for lane in lanes_of(gpu)]
    assert "SM active" in names and "encoder" not in names
    drawn = text(pane, s.view(), 118, 40)
    assert "power" in drawn and "600W of 700W" in drawn
    assert "temperature" in drawn and "64 C of 90 C" in drawn


def link(gen: int, width: int) -> dict[str, Value]:
    return {"pcie_gen": gen, "pcie_gen_max": 5, "pcie_width": width, "pcie_width_max": 16}


@pytest.mark.parametrize(
    ("changes", "level", "words"),
    [
        ({"ecc_mode": 1, "ecc_pending": 0}, S.TEXT, "on, off after a reset"),
        ({"ecc_uncorrected": 3}, S.CRIT, "uncorrected     3"),
        ({"remap_pending": 1, "remap_failed": 0}, S.WARN, "one pending: reset"),
        ({"remap_failed": 1}, S.CRIT, "FAILED"),
        ({**link(1, 16), "util_pct": 0}, S.TEXT, "idle"),
        (link(5, 8), S.CRIT, "gen 5 x8, at most gen 5 x16"),
        ({"nvlinks": 18, "nvlinks_up": 17}, S.CRIT, "17 of 18 up"),
        ({"recovery_action": "reset"}, S.CRIT, "reset"),
        ({"retired_sbe": 2, "retired_dbe": 1, "retired_pending": 1}, S.WARN, "pending: reboot"),
    ],
)  # fmt: skip
def test_health_by_gravity(changes: dict[str, Value], level: S, words: str) -> None:
    s = Gpus(1).change(0, **changes).go()
    rows = GpuHealthPane().body(s.view(), 118, 30)
    (row,) = [r for r in rows if words in "".join(t for t, _ in r)][:1]
    assert level in {style for _, style in row}


def test_xids_are_listed_with_meaning_and_action_newest_first() -> None:
    s = Gpus(2).go()
    for seq, (code, pci) in enumerate(
        (("31", "0000:00:00"), ("79", "00000000:00:00.0"), ("48", "0000:01:00"))
    ):
        s.said.append(
            KernelEvent(seq, T0 + seq, "xid", "NVRM", {"code": code, "pci": pci, "pid": "7", "task": "py"})
        )
    said = text(GpuHealthPane(), s.view())
    assert said.index("79 GPU has fallen off the bus") < said.index("31 GPU memory page fault, py (7)")
    assert "reboot the node" in said and "restart the application" in said
    assert "48" not in said.split("Xids, newest first")[1]  # of the other GPU


def test_energy_with_and_without_factors() -> None:
    s = Gpus(2).go()
    s.energies = {uuid(0): Energy(7.2e6, T0, False), uuid(1): Energy(3.6e6, T0, True)}
    pane = GpuEnergyPane()
    plain = text(pane, s.view(), 70, 10)
    assert "10.80 MJ = 3.00 kWh" in plain and "EUR" not in plain and "energy.price_per_kwh" in plain
    pane.factors = Factors(0.30, 400.0, 1.5, "USD")
    full = text(pane, s.view(), 100, 10)
    assert "1.35 USD" in full and "1.80 kg CO2" in full and "PUE of 1.5" in full
    assert "~1.00 kWh" in full
    facts = GpuFactsPane()
    assert "7.200 MJ, 2.00 kWh" in text(facts, s.view())


def test_power_that_cannot_be_read_now_is_not_0() -> None:
    s = Gpus(2).change(0, power_w=None).go()
    s.energies = {uuid(0): Energy(7.2e6, T0, False)}
    assert "of 1 of 2 GPUs" in text(GpuEnergyPane(), s.view(), 100, 6)
    s.change(1, power_w=None).go()
    assert "cannot be read" in text(GpuEnergyPane(), s.view(), 100, 6)


def test_energy_that_nobody_can_read_is_not_0() -> None:
    s = Gpus(2).go()
    assert "neither energy nor power" in text(GpuEnergyPane(), s.view(), 60, 6)
    assert (
        joules_text(812.4) == "812 J"
        and joules_text(4100) == "4.100 kJ"
        and grams_text(12.04) == "12.0 g CO2"
    )


def test_processes_are_joined_with_the_host() -> None:
    s = Gpus(2)
    s.rows = [
        GpuProcess(20, uuid(0), "C", 40 * GI, 60, 30), GpuProcess(20, uuid(1), "C", 10 * GI),
        GpuProcess(999, uuid(1), "M", None),
    ]  # fmt: skip
    s.go(3)
    lines = text(GpuProcessesPane(), s.view(), 118, 8).splitlines()
    assert "40.0G" in lines[1] and "compute" in lines[1] and "work20" in lines[1] and "root" in lines[1]
    assert lines[2].split()[0] == "1"
    assert "not in /proc here" in lines[3] and "MPS" in lines[3]


def test_host_pids_are_said_once_and_joined_with_nothing() -> None:
    s = Gpus(1)
    s.rows = [GpuProcess(20, uuid(0), "C", 40 * GI)]
    s.node.changes["gpu.pid_space"] = "host"
    s.go()
    pane = GpuProcessesPane()
    said = text(pane, s.view(), 118, 8)
    assert said.count("the host's") == 1 and "work20" not in said
    assert isinstance(pane.act("gpu-processes.show", s.view()), Notice)


def test_a_process_can_be_opened_and_the_list_be_of_one_gpu() -> None:
    s = Gpus(2)
    s.rows = [GpuProcess(20, uuid(0), "C", GI), GpuProcess(25, uuid(1), "C", GI)]
    s.go()
    pane = GpuProcessesPane()
    pane.body(s.view(), 100, 8)
    pane.act("gpu-processes.end", s.view())
    assert pane.act("gpu-processes.show", s.view()) == ShowProcess(25, 1025)
    pane.book.chosen = uuid(0)
    pane.act("gpu-processes.all", s.view())
    assert "work25" not in text(pane, s.view(), 100, 8)


def test_all_panes_of_the_view_share_the_selection() -> None:
    s = Gpus().go()
    first = GpuPane()
    rest = gpu_panes([first])
    first.book.chosen = uuid(3)
    for pane in rest[:3]:
        assert "GPU 3" in "".join(t for t, _ in pane.title(s.view(), 60)[0])
    rest[1].act("gpu-facts.next", s.view())
    assert first.book.chosen == uuid(4)


@pytest.mark.parametrize("devices", [0, 1, 4, 8, 16, 40])
@pytest.mark.parametrize("size", [(80, 21), (120, 37), (200, 57), (40, 9), (20, 4), (1, 1)])
def test_layouts_fill_the_body_and_have_a_row_for_every_gpu(devices: int, size: tuple[int, int]) -> None:
    for make in (layout.overview, layout.detail):
        boxes = make(Box(0, 0, *size), devices)
        assert sum(b.w * b.h for b in boxes.values()) == size[0] * size[1]
    if 4 < devices <= 16 and size[1] >= 21:
        assert layout.overview(Box(0, 0, *size), devices)["gpu"].h >= devices + 2
