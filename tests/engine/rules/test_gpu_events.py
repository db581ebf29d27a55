"""Xids, lost GPUs, memory errors, remapped rows, NVLinks: fire on their cause, silent in their traps."""

from __future__ import annotations

from dctop.probes.base import series
from tests.engine.rules.gpus import A, B, GpuScene, held
from tests.engine.rules.scene import Scene, values
from tests.fakes.source import process


def xid(s: Scene, code: int, pci: str = "0000:3b:00", **more: str) -> None:
    s.kernel("xid", f"NVRM: Xid (PCI:{pci}): {code}", code=str(code), pci=pci, **more)


def test_an_xid_is_about_the_gpu_at_its_address() -> None:
    s = GpuScene()
    s.go(2)
    xid(s, 48)
    a = s.alert("xid")
    assert (a.entity, a.severity) == (A, "critical")
    assert a.title.startswith("GPU 0 (0000:3b:00): Xid 48")
    assert a.remedies[0].command is not None


def test_an_xid_from_the_driver_itself_names_the_device() -> None:
    s = GpuScene()
    s.go(2)
    xid(s, 31, "00000000:5E:00.0", gpu=B, source="nvml")
    assert (s.alert("xid").entity, s.alert("xid").severity) == (B, "warning")


def test_what_follows_a_grave_xid_belongs_to_it() -> None:
    s = GpuScene()
    xid(s, 79)
    for code in (45, 154, 13, 63):
        xid(s, code)
    a = s.alert("xid")
    assert "Xid 79" in a.title
    assert a.count == 1
    xid(s, 45, "0000:5e:00")  # of another GPU: its own
    assert {x.entity for x in s.found("xid")} == {A, B}


def test_63_alone_is_a_note_and_an_old_xid_is_history() -> None:
    s = GpuScene()
    xid(s, 63)
    assert s.alert("xid").severity == "info"
    other = GpuScene()
    xid(other, 79, old="1")
    assert other.alert("xid").state == "closed"


def test_without_kernel_log_the_driver_s_events_suffice() -> None:
    s = GpuScene()
    s.set({"kernel.records": None})
    s.go(2)
    s.quiet("xid")
    s.gpu(A, xid_watch=0).gpu(B, xid_watch=0).go(2)
    assert "kernel.records" in s.unknown("xid")


def test_a_lost_gpu_fires_with_what_was_known_before_and_explains_its_others() -> None:
    s = GpuScene()
    s.go(5)
    since = s.source.wall_ns / 1e9
    s.gpu(
        A, state="lost", problem="GPU is lost", lost_since_s=since, util_pct=None, temp_c=None, power_w=None
    )
    s.go(2)
    a = s.alert("gpu-lost")
    assert (a.entity, a.severity, a.kind) == (A, "critical", "event")
    assert values(a)["Temperature before"] == 60
    assert "GPU 0 is lost (0000:3b:00.0)" in a.title
    xid(s, 79)
    assert s.alert("xid").suppressed_by == "gpu-lost"
    s.go(30)
    assert s.alert("gpu-lost").count == 1


def test_a_lost_gpu_is_told_by_the_address_it_had() -> None:
    s = GpuScene()
    s.go(2)
    s.gpu(A, state="lost", pci=None, name=None).go(2)
    assert "(0000:3b:00.0)" in s.alert("gpu-lost").title


def test_a_gpu_that_came_back_and_was_lost_again_counts_twice() -> None:
    s = GpuScene()
    s.gpu(A, state="lost").go(2)
    s.gpu(A, state="ok").go(2)
    s.gpu(A, state="lost").go(2)
    assert s.alert("gpu-lost").count == 2


def test_a_gpu_that_hangs_is_said_to_hang() -> None:
    s = GpuScene()
    s.go(2)
    s.gpu(A, state="hung", problem="a call has not come back for 3 s").go(2)
    assert "does not answer" in s.alert("gpu-lost").title


def test_a_mig_device_that_goes_is_no_lost_gpu() -> None:
    s = GpuScene(A, "MIG-1")
    s.gpu("MIG-1", parent=A).go(2)
    s.gpu("MIG-1", state="lost").go(3)
    s.quiet("gpu-lost")


def test_other_rules_are_silent_about_a_lost_gpu() -> None:
    s = GpuScene()
    s.go(2)
    s.gpu(A, state="lost", throttle_mask=0x40, temp_c=99, remap_pending=1, recovery_action=None).go(120)
    for rule in ("gpu-hot", "gpu-throttle-thermal", "row-remap", "gpu-reset-required"):
        s.quiet(rule)


def test_a_recovery_action_fires_once_and_names_who_to_stop() -> None:
    s = GpuScene()
    s.source.processes.append(process(99, "trainer"))
    s.rows = [held(99, 40)]
    s.go(2)
    s.quiet("gpu-reset-required")
    s.gpu(A, recovery_action="reset").go(5)
    a = s.alert("gpu-reset-required")
    assert a.severity == "critical"
    assert "trainer (99) 40 GiB" in str(a.remedies[0].quantity)
    assert a.count == 1
    s.gpu(A, recovery_action="none").go(2)
    s.gpu(A, recovery_action="reset").go(2)
    assert s.alert("gpu-reset-required").count == 2


def test_a_driver_without_recovery_action_is_unknown() -> None:
    s = GpuScene().without("recovery_action").go(2)
    assert "recovery_action" in s.unknown("gpu-reset-required")


def test_only_new_volatile_uncorrectable_errors_fire() -> None:
    s = GpuScene()
    s.gpu(A, ecc_uncorrected=5, ecc_uncorrected_total=900).go(5)  # from before the start
    s.quiet("ecc-uncorrectable")
    s.gpu(A, ecc_uncorrected_total=901).go(2)  # history alone
    s.quiet("ecc-uncorrectable")
    s.gpu(A, ecc_uncorrected=7).go(3)
    a = s.alert("ecc-uncorrectable")
    assert (a.severity, values(a)["New errors"]) == ("critical", 2)


def test_a_count_that_falls_was_reset_and_a_missing_one_is_no_news() -> None:
    s = GpuScene()
    s.gpu(A, ecc_uncorrected=5).go(2)
    s.gpu(A, ecc_uncorrected=None).go(2)
    s.gpu(A, ecc_uncorrected=5).go(2)
    s.gpu(A, ecc_uncorrected=0).go(2)
    s.quiet("ecc-uncorrectable")
    s.gpu(A, ecc_uncorrected=1).go(2)
    assert values(s.alert("ecc-uncorrectable"))["New errors"] == 1


def test_row_remapping_by_gravity() -> None:
    for changes, severity, words in (
        ({"remap_pending": 1}, "warning", "waits for a reset"),
        ({"remap_failed": 1}, "critical", "failed"),
        ({"remap_uncorrected": 512}, "critical", "very many"),
        ({"remap_banks_none": 1}, "warning", "no spare row"),
    ):
        s = GpuScene()
        s.go(2)
        s.quiet("row-remap")  # a row remapped long ago is a repair
        s.gpu(B, **changes).go(10)
        a = s.alert("row-remap")
        assert (a.entity, a.severity, a.count) == (B, severity, 1)
        assert words in a.title


def test_remapping_that_cannot_be_asked_for_is_unknown() -> None:
    s = GpuScene().without("remap_pending", "remap_failed", "remap_uncorrected").go(2)
    assert "remap_pending" in s.unknown("row-remap")


def test_a_link_that_goes_down_fires_and_one_that_never_was_up_does_not() -> None:
    s = GpuScene()
    s.link(B, 1, up=0).go(5)
    s.quiet("nvlink")
    s.link(A, 0, up=0).go(5)
    a = s.alert("nvlink")
    assert (a.entity, a.severity, a.count) == (A, "critical", 1)
    assert "NVLink 0 is down" in a.title


def test_recovered_links_and_crc_errors() -> None:
    s = GpuScene()
    s.link(A, 1, recovery_errors=3).go(2)  # from before the start
    s.quiet("nvlink")
    s.link(A, 1, recovery_errors=4).go(2)
    assert s.alert("nvlink").severity == "critical"
    other = GpuScene()
    other.rate({series("gpu.nvlink.crc_errors", gpu=A, link="0"): 50.0}).go(20)
    other.quiet("nvlink")
    other.rate({series("gpu.nvlink.crc_errors", gpu=A, link="0"): 150.0}).go(5)
    assert (other.alert("nvlink").severity, other.alert("nvlink").count) == ("warning", 1)


def test_a_node_without_gpus_has_nothing_to_judge_and_a_dead_driver_is_unknown() -> None:
    s = Scene()
    s.set({"gpu.status": "no library", "gpu.count": None}).go(2)
    for rule in ("gpu-lost", "gpu-hot", "row-remap", "ecc-uncorrectable", "nvlink", "pcie-degraded"):
        if rule in ("row-remap", "nvlink", "pcie-degraded"):
            continue  # no reading of the health probe at all
        s.quiet(rule)
    s.set({"gpu.status": "version mismatch"}).go(2)
    assert s.unknown("gpu-hot")


def test_an_uncorrectable_error_explains_its_xid_and_the_reset_it_needs() -> None:
    s = GpuScene()
    s.go(2)
    s.gpu(A, ecc_uncorrected=1, recovery_action="reset", remap_pending=1)
    xid(s, 48)
    s.go(10)
    for rule in ("xid", "gpu-reset-required", "row-remap"):
        assert s.alert(rule).suppressed_by == "ecc-uncorrectable", rule
    assert s.alert("ecc-uncorrectable").suppressed_by is None
