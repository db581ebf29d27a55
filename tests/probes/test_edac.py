"""Memory errors from /sys/devices/system/edac: a tree as of a server, none as in a virtual machine."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.edac import EdacProbe
from tests.fakes.nodes import check_declared


def server(sys: Path, corrected: bytes = b"0\n", uncorrected: bytes = b"0\n") -> Path:
    """Two controllers; the first has labelled modules, the second one of an older driver."""
    root = sys / "devices/system/edac/mc"
    for i, (kind, labels) in enumerate((("dimm", ("DIMM_A1", "DIMM_A2")), ("rank", ("",)))):
        mc = root / f"mc{i}"
        mc.mkdir(parents=True)
        (mc / "ce_count").write_bytes(corrected if i == 0 else b"7\n")
        (mc / "ue_count").write_bytes(uncorrected)
        for n, label in enumerate(labels):
            module = mc / f"{kind}{n}"
            module.mkdir()
            (module / "dimm_label").write_text(label + "\n")
            (module / "dimm_ce_count").write_bytes(corrected)
            (module / "dimm_ue_count").write_bytes(b"0\n")
    return sys


def test_controllers_and_modules_are_counted(tmp_path: Path) -> None:
    sample = EdacProbe("/proc", server(tmp_path, b"3\n")).read()
    check_declared(sample, full=True)
    assert sample.values["edac.corrected{mc=mc0}"] == 3 and sample.values["edac.corrected{mc=mc1}"] == 7
    assert sample.values["edac.uncorrected{mc=mc0}"] == 0
    assert sample.values["edac.dimm_corrected{dimm=DIMM_A1}"] == 3
    assert "edac.dimm_corrected{dimm=mc1 rank0}" in sample.values
    assert sample.problems == ()


def test_modules_of_one_label_are_told_apart(tmp_path: Path) -> None:
    server(tmp_path)
    for folder in sorted((tmp_path / "devices/system/edac/mc/mc0").glob("dimm*")):
        (folder / "dimm_label").write_text("unknown memory\n")
    keys = EdacProbe("/proc", tmp_path).read().values
    assert {"edac.dimm_corrected{dimm=mc0 dimm0}", "edac.dimm_corrected{dimm=mc0 dimm1}"} <= set(keys)


def test_a_node_without_controllers_has_no_series_and_no_problem(tmp_path: Path) -> None:
    sample = EdacProbe("/proc", tmp_path).read()
    assert sample.values == {} and sample.problems == ()


def test_a_count_that_cannot_be_read_is_missing_and_said(tmp_path: Path) -> None:
    server(tmp_path)
    (tmp_path / "devices/system/edac/mc/mc0/ue_count").unlink()
    sample = EdacProbe("/proc", tmp_path).read()
    assert sample.values["edac.uncorrected{mc=mc0}"] is None
    assert len(sample.problems) == 1 and "ue_count: No such file" in sample.problems[0]


def test_the_real_node_is_read() -> None:
    check_declared(EdacProbe().read())


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_whatever_is_in_the_files_is_a_number_or_missing(corrected: bytes, uncorrected: bytes) -> None:
    with tempfile.TemporaryDirectory() as place:
        check_declared(EdacProbe("/proc", server(Path(place), corrected, uncorrected)).read())
