"""Before there is a GPU: what is said is what the real readers say, and then theirs is the word."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from dctop.probes import nvml
from dctop.probes.base import MakerSample
from dctop.probes.gpu import GpuProbe
from dctop.probes.gpu_amd import AmdMaker
from dctop.probes.gpu_intel import IntelMaker
from dctop.probes.gpu_later import LIBRARY, LOOK_S, AmdLater, IntelLater, Later, NvidiaLater
from dctop.probes.nvidia import NvidiaMaker
from tests.fakes.gpunode import GpuNode, gpu_node
from tests.fakes.nodes import write_tree

__all__ = ["gpu_node"]
Make = Callable[..., GpuNode]
NOWHERE = "libnvidia-ml-of-no-driver.so.1"


def later(node: GpuNode, library: str | None = None) -> NvidiaLater:
    return NvidiaLater(
        node.root / "proc", node.root / "sys", library or node.library, lambda: node.time, wait_s=30
    )


def told(sample: MakerSample) -> tuple[object, ...]:
    s = sample
    return s.status, s.detail, s.count, s.values, [*s.processes], [*s.events], [*s.problems]


def threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "dctop-nvml"]


def test_it_is_the_same_library() -> None:
    assert LIBRARY == nvml.LIBRARY


@pytest.mark.parametrize("devices", [0, 1, 8])
def test_without_a_library_it_says_word_for_word_what_the_real_one_does(gpu_node: Make, devices: int) -> None:
    node = gpu_node(1)
    node.bus(devices)
    real = NvidiaMaker(node.root / "proc", node.root / "sys", NOWHERE, lambda: node.time)
    ours = later(node, NOWHERE)
    assert told(ours.read()) == told(real.read())
    assert told(ours.read_health()) == told(real.read_health())
    assert ours.read().status == "no library"
    assert ours._real is None
    real.close()
    ours.close()


def test_without_a_library_no_thread_is_left(gpu_node: Make) -> None:
    node = gpu_node(1)
    before = set(threads())
    ours = later(node, NOWHERE)
    for _ in range(3):
        ours.read()
        node.time += LOOK_S
    for thread in set(threads()) - before:
        thread.join(30)
        assert not thread.is_alive()


def test_a_library_that_appears_later_is_found_at_the_next_look(gpu_node: Make, tmp_path: Path) -> None:
    node = gpu_node(2)
    path = tmp_path / "libnvidia-ml.so.1"
    ours = later(node, str(path))
    assert ours.read().status == "no library"
    path.symlink_to(node.library)
    assert ours.read().status == "no library", "not looked for at every reading"
    node.time += LOOK_S
    got = ours.read()
    assert (got.status, got.count) == ("ok", 2)
    assert "gpu.ecc_mode" in {key.partition("{")[0] for key in ours.read_health().values}
    ours.close()


def test_a_module_loaded_without_a_library_is_told_by_the_real_one(gpu_node: Make) -> None:
    node = gpu_node(1)
    ours = later(node, NOWHERE)
    ours.read()
    node.bus(1, driver="535.104.05")
    node.time += LOOK_S
    got = ours.read()
    assert got.status == "no library" and got.values["gpu.driver"] == "535.104.05"
    assert isinstance(ours._real, NvidiaMaker)
    ours.close()


@pytest.mark.parametrize(
    ("code", "status"),
    [(9, "no driver"), (18, "version mismatch"), (4, "no permission"), (999, "error"), (0, "no device")],
)
def test_each_reason_there_is_no_gpu_is_still_told(gpu_node: Make, code: int, status: str) -> None:
    node = gpu_node(0)
    if code:
        node.state.fault(f"nvmlInit_v2 * error {code}")
    ours = later(node)
    got = ours.read()
    assert got.status == status
    assert got.detail == node.maker(node.root / "proc", node.root / "sys").read().detail
    ours.close()


def test_a_search_for_the_library_that_hangs_is_given_up(
    gpu_node: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = gpu_node(1)
    ours = later(node, NOWHERE)
    ours._wait_s = 0.05
    go = threading.Event()
    monkeypatch.setattr("dctop.probes.gpu_later.can_be_loaded", lambda name: go.wait() and False)
    assert ours.read().status == "no library", "the real reader's word"
    assert isinstance(ours._real, NvidiaMaker)
    go.set()
    ours.close()


@pytest.mark.parametrize(("first", "real"), [(AmdLater, AmdMaker), (IntelLater, IntelMaker)])
def test_cards_that_appear_later_are_found(
    tmp_path: Path, first: type[Later], real: type[AmdMaker] | type[IntelMaker]
) -> None:
    time = [0.0]
    (tmp_path / "sys").mkdir()
    ours = first(tmp_path / "proc", tmp_path / "sys", lambda: time[0])
    said: MakerSample = real(tmp_path / "proc", tmp_path / "sys").read()
    assert ours.read() == said and ours.read_health() == said
    device = "sys/class/drm/card1/device"
    files = {
        f"{device}/vendor": "0x10de\n",
        f"{device}/uevent": "DRIVER=nvidia\nPCI_SLOT_NAME=0000:01:00.0\n",
    }
    write_tree(tmp_path, files)
    time[0] += LOOK_S
    assert ours.read() == said and ours._real is None, "another maker's card is none of it"
    driver = {"amd": "amdgpu", "intel": "xe"}[ours.vendor]
    files = {
        f"{device}/vendor": f"{real.pci_vendor}\n",
        f"{device}/uevent": f"DRIVER={driver}\nPCI_SLOT_NAME=0000:01:00.0\n",
    }
    write_tree(tmp_path, files)
    time[0] += LOOK_S
    got = ours.read()
    assert (got.status, got.count, got.detail) == ("ok", 1, f"driver {driver}")
    assert isinstance(ours._real, real)
    ours.close()


def test_on_a_node_without_a_gpu_no_reader_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "sys").mkdir()
    code = (
        "import json, sys\nfrom pathlib import Path\nfrom dctop.probes import gpu, gpu_later\n"
        f"gpu_later.NvidiaLater.__init__.__defaults__ = ('/proc', '/sys', {NOWHERE!r},"
        " *gpu_later.NvidiaLater.__init__.__defaults__[3:])\n"
        f"root = Path({str(tmp_path)!r})\nprobe = gpu.GpuProbe(root / 'proc', root / 'sys')\n"
        "status = probe.read().values['gpu.status']\ngpu.GpuHealthProbe(probe).read()\n"
        "print(json.dumps([status, [m for m in sys.modules if m.startswith('dctop.probes.')]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    status, modules = json.loads(done.stdout)
    assert status == "no library"
    names = {m.rpartition(".")[2] for m in modules}
    assert not {n for n in names if n.startswith("nvml")} | names & {"nvidia", "drm", "gpu_amd", "gpu_intel"}


def test_the_list_of_makers_is_the_same_either_way() -> None:
    assert [m.vendor for m in GpuProbe().makers] == ["nvidia", "amd", "intel"]
