from __future__ import annotations

import pytest

from dctop.engine.metrics.model import ProbeStatus
from dctop.tui.draw.rows import S
from dctop.tui.panes.gpu import GpuPane
from tests.fakes.screen import FakeSource, Node, as_lines, view_of


def source(gpus: int, ticks: int = 60, **changes: object) -> FakeSource:
    node = Node(gpus=gpus)
    node.changes = changes  # type: ignore[assignment]
    return FakeSource(node.run(ticks), node.history)


def test_golden_eight_gpus_at_80x24() -> None:
    lines = as_lines(GpuPane().body(view_of(source(8)), 50, 8))
    assert lines[3].startswith("3 ███▋··  61%    – █████▍ 72.0G  67°  627W ▅▅▅▅▅▅")
    assert [line[0] for line in lines] == list("01234567")


def test_few_gpus_get_a_graph_each() -> None:
    lines = as_lines(GpuPane().body(view_of(source(2)), 78, 8))
    assert lines[0].startswith("0 ") and "sm –  mem 72.0G/80.0G  90%" in lines[0]
    assert "600W/700W" in lines[0] and "1980 MHz" in lines[0]
    assert lines[4].startswith("1 ")
    assert "⣿" in lines[3]


def test_more_gpus_than_rows_are_counted() -> None:
    lines = as_lines(GpuPane().body(view_of(source(16)), 78, 5))
    assert lines[-1].startswith("+12 more")


def test_title_sums_the_power() -> None:
    left, right = GpuPane().title(view_of(source(8)), 80)
    assert "".join(t for t, _ in left).startswith("GPU ×8")
    assert right[0][0].endswith("5.05kW")


@pytest.mark.parametrize(
    ("status", "do"),
    [
        ("no library", "Install the NVIDIA driver"),
        ("no driver", "modprobe nvidia"),
        ("version mismatch", "Reboot"),
        ("no device", "lspci"),
        ("no permission", "/dev/nvidia"),
        ("error", "dctop doctor"),
        ("something new", "dctop doctor"),
    ],
)
def test_without_a_gpu_it_says_why_and_what_to_do(status: str, do: str) -> None:
    src = source(0, **{"gpu.status": status, "gpu.detail": None})
    text = " ".join(" ".join(as_lines(GpuPane().body(view_of(src), 60, 9))).split())
    assert f"No GPU: {status}." in text
    assert do in text
    assert "Everything else works" in text


def test_the_probe_s_own_explanation_stands_alone() -> None:
    src = source(0, **{"gpu.detail": "none on the PCI bus, nothing to install"})
    text = " ".join(" ".join(as_lines(GpuPane().body(view_of(src), 60, 9))).split())
    assert "No GPU: no library. none on the PCI bus, nothing to install Everything else" in text


def test_one_row_without_a_gpu_still_says_why() -> None:
    assert "No GPU: no library." in as_lines(GpuPane().body(view_of(source(0)), 78, 1))[0]


def test_a_failing_probe_is_named() -> None:
    node = Node()
    node.changes = {"gpu.status": None, "gpu.detail": None}
    node.status = {"gpu": ProbeStatus("gpu", None, False, "NVMLError: has not answered for 5 s", (), None)}
    rows = GpuPane().body(view_of(FakeSource(node.run(2), node.history)), 78, 6)
    assert "has not answered" in " ".join(as_lines(rows))
    assert any(style is S.WARN for row in rows for _, style in row)
