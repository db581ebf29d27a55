"""Errors of the host's memory: new ones are told, old ones and resets are not."""

from __future__ import annotations

from tests.engine.rules.scene import Scene, values

COUNTS = {
    "edac.corrected{mc=mc0}": 5, "edac.uncorrected{mc=mc0}": 2,
    "edac.dimm_corrected{dimm=DIMM_A1}": 5, "edac.dimm_uncorrected{dimm=DIMM_A1}": 2,
    "edac.dimm_corrected{dimm=DIMM_B1}": 0, "edac.dimm_uncorrected{dimm=DIMM_B1}": 0,
}  # fmt: skip


def test_without_a_controller_it_is_not_known() -> None:
    s = Scene()
    s.go(2)
    assert "edac" in s.unknown("host-edac")


def test_what_was_counted_before_is_history_and_a_reset_is_nothing() -> None:
    s = Scene()
    s.set(COUNTS).go(5)
    s.quiet("host-edac")
    s.set({"edac.corrected{mc=mc0}": 0, "edac.uncorrected{mc=mc0}": 0}).go(5)
    s.quiet("host-edac")


def test_a_corrected_error_is_a_note_and_an_uncorrected_one_is_critical() -> None:
    s = Scene()
    s.set(COUNTS).go(5)
    s.set({"edac.corrected{mc=mc0}": 8, "edac.dimm_corrected{dimm=DIMM_A1}": 8}).go(2)
    a = s.alert("host-edac")
    assert (a.severity, a.entity) == ("info", "mc0") and "corrected 3" in a.title
    assert values(a)["Module"] == "DIMM_A1"
    s.set({"edac.uncorrected{mc=mc0}": 3, "edac.dimm_uncorrected{dimm=DIMM_A1}": 3}).go(2)
    a = s.alert("host-edac")
    assert a.severity == "critical" and a.count == 2 and "replace" in a.remedies[0].text
