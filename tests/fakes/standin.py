"""The stand-in driver: `libnvidia-ml.so.1` built from tests/fakes/nvml, and the state files it reads.

Everything shown with it is simulated. What a state file may hold is described in nvml/README.md.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

SOURCE = Path(__file__).with_name("nvml")
FILES = ("core.c", "readings.c", "streams.c", "state.c")
NAME = "libnvidia-ml.so.1"


def build(hidden: Iterable[str] = ()) -> Path:
    """The library, built with the system's compiler, once for each content and set of `hidden` symbols (an
    older driver does not have them). Raises FileNotFoundError without a compiler."""
    hidden = sorted(hidden)
    digest = hashlib.sha256(" ".join(hidden).encode())
    for path in sorted(SOURCE.glob("*.[ch]")):
        digest.update(path.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"dctop-nvml-{os.getuid()}-{digest.hexdigest()[:16]}"
    library = folder / NAME
    if library.exists():
        return library
    folder.mkdir(mode=0o700, exist_ok=True)
    script = folder / "symbols"
    script.write_text(f"{{ local: {'; '.join([*hidden, 'none_of_these'])}; }};\n")
    made = folder / f"{NAME}.{os.getpid()}"
    subprocess.run(
        [
            *("cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"),
            *("-fvisibility=hidden", f"-Wl,-soname,{NAME}", f"-Wl,--version-script={script}", "-o", made),
            *(SOURCE / name for name in FILES),
            *("-lm", "-lpthread"),
        ],
        check=True,
    )  # fmt: skip
    made.rename(library)
    return library


def uuid(index: int) -> str:
    return f"GPU-{index:08x}-0000-4000-8000-00000000{index:04x}"


H100: Mapping[str, object] = {
    "name": "NVIDIA H100 80GB HBM3", "capability": "9.0", "serial": "1650000000000", "util": 87,
    "mem_util": 41, "mem_total": "81559M", "mem_used": "60000M", "mem_reserved": "500M",
    "bar1_total": "128G", "bar1_used": "1G",
    "power": 612345, "power_limit": 700000, "power_default": 700000, "power_min": 200000,
    "power_max": 700000, "energy": "1000000+612345/s", "temp": 64,
    "temp_shutdown": 90, "temp_slowdown": 87, "temp_mem_max": 95,
    "temp_gpu_max": 85, "temp_margin": 21, "clock_sm": 1980, "clock_graphics": 1980, "clock_mem": 2619,
    "clock_video": 1545, "clock_max_sm": 1980, "clock_max_mem": 2619, "clock_max_graphics": 1980,
    "clock_app_sm": 1980, "pstate": 0, "persistence": 1, "compute_mode": 0, "display_mode": 0,
    "display_active": 0, "encoder": 0, "decoder": 3, "throttle": 0, "throttle_supported": 511, "events": 8,
    "ecc": 1, "ecc_corrected_volatile": 2, "ecc_uncorrected_volatile": 0, "ecc_corrected_aggregate": 7,
    "ecc_uncorrected_aggregate": 0, "ecc.1.0.2": 0, "ecc.1.0.7": 0, "remap_corrected": 0,
    "remap_uncorrected": 0, "remap_pending": 0, "remap_failed": 0, "remap_histogram": "640,0,0,0,0",
    "pcie_gen": 5, "pcie_gen_max": 5, "pcie_width": 16, "pcie_width_max": 16, "pcie_replays": 0,
    "pcie_tx_kb": 1200, "pcie_rx_kb": 3400, "mig_mode": 0, "fabric": 3, "gpm": 1,
    "gpm.2": 71.5, "gpm.3": 38.25, "gpm.5": 44,
    "gpm.10": 52.5, "gpm.11": 0, "gpm.12": 12.5, "gpm.13": 1.5, "fv.82": 71,
    "fv.197": "5000000000+1000000/s", "fv.198": "7000000000+2000000/s", "fv.138.4294967295": 1000,
    "fv.139.4294967295": 2000, "fv.74": 0, "fv.269": 0, "fv.270": 0, "fv.271": 0, "fv.230": 0,
}  # fmt: skip
"""The keys of a healthy device under load; A100 and older lack some of them."""


class Gpu:
    """One GPU of a state file. `values` as in nvml/README.md; None takes a key away."""

    def __init__(self, index: int, links: int = 4, **values: object) -> None:
        address = f"0000:{0x10 + index:02x}:00.0"
        self.values: dict[str, object] = {"uuid": uuid(index), "pci": address, **H100}
        for link in range(links):
            self.values[f"nvlink.{link}"] = 1
            self.values.update({f"nvlink.{link}.error.{kind}": 0 for kind in range(3)})
        self.values.update(values)
        self.lines: list[str] = []
        """Further lines: `process ...`, `sample ...`, `mig` and what belongs to it."""

    def process(self, pid: int, kind: str = "C", memory: int | str = "1G", **shares: int) -> Gpu:
        words = "".join(f" {name}={value}" for name, value in shares.items())
        self.lines.append(f"process {kind} {pid} memory={memory}{words}")
        return self

    def mig(self, **values: object) -> Gpu:
        self.lines += ["mig", *(f"  {key} {value}" for key, value in values.items())]
        return self

    def text(self) -> str:
        pairs = (f"  {key} {value}" for key, value in self.values.items() if value is not None)
        return "\n".join(["gpu", *pairs, *self.lines])


class State:
    """A state file. `gpus` may be changed, then `write` it anew."""

    def __init__(self, path: Path, gpus: int | list[Gpu] = 2) -> None:
        self.path = path
        self.gpus = [Gpu(i) for i in range(gpus)] if isinstance(gpus, int) else gpus
        self.node: dict[str, object] = {"driver": "550.54.15", "nvml": "12.550.54.15", "cuda": 12040}
        self.faults: list[str] = []
        """`FUNCTION GPU error CODE` and `FUNCTION GPU sleep MS|forever`."""
        self.xids: list[str] = []
        self.write()

    def write(self) -> None:
        """Replaced whole: the driver never reads half of it."""
        lines = [f"{key} {value}" for key, value in self.node.items()]
        lines += [f"fault {fault}" for fault in self.faults] + [f"xid {xid}" for xid in self.xids]
        lines += [gpu.text() for gpu in self.gpus]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(lines) + "\n")
        new.rename(self.path)

    def fault(self, *faults: str) -> None:
        self.faults = list(faults)
        self.write()

    def xid(self, gpu: int, code: int) -> None:
        self.xids.append(f"{len(self.xids) + 1} {gpu} {code}")
        self.write()

    def env(self, hidden: Iterable[str] = ()) -> dict[str, str]:
        """What a program needs in its environment to find this driver."""
        folder = str(build(hidden).parent)
        before = os.environ.get("LD_LIBRARY_PATH")
        return {
            "NVML_STANDIN_STATE": str(self.path),
            "LD_LIBRARY_PATH": f"{folder}:{before}" if before else folder,
        }
