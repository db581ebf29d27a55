"""The GPUs of the pictures: simulated by the tests' stand-in driver, since few have eight H100 at hand.

Everything above the library is the shipped program: the probe, the rules, the screen.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.fakes.standin import Gpu, State

CAPTION = "GPUs simulated by a stand-in driver"
"""Written on every picture that shows them."""
CONFIG = "[energy]\nprice_per_kwh = 0.30\nco2_g_per_kwh = 380\npue = 1.2\n"
HEALTHY_S, TROUBLE_S = 45.0, 18.0


class Cluster:
    """GPUs at work, one process each. `trouble()`: one is lost, one is hot, one has a memory error."""

    def __init__(self, folder: Path, gpus: int, pids: list[int]) -> None:
        self.state = State(folder / f"gpus{gpus}", [self._gpu(i, pids[i % len(pids)]) for i in range(gpus)])

    @staticmethod
    def _gpu(i: int, pid: int) -> Gpu:
        gpu = Gpu(
            i, links=18, util=f"~{93 - i % 4},4,{9 + i}", temp=f"~{60 + 3 * i % 8},3,{20 + i}",
            power=f"~{610000 + 9000 * (i % 6)},45000,{11 + i}", energy=f"1000000+{610000 + 9000 * (i % 6)}/s",
            mem_used=f"{61000 + 450 * (i % 5)}M", remap_corrected=int(i == 6),
            **{
                "gpm.2": f"~{74 - i % 5},6,{10 + i}", "gpm.5": f"~{47 - i % 3},9,{13 + i}",
                "gpm.10": f"~{55 + i % 4},8,{15 + i}", "gpm.3": f"~{38},5,{12 + i}",
                "fv.138.4294967295": f"1000+{9000000 + 70000 * i}/s",
                "fv.139.4294967295": f"1000+{8900000 + 60000 * i}/s",
                "fv.197": f"5000000000+{900000000 + 9000000 * i}/s",
                "fv.198": f"7000000000+{2100000000 + 9000000 * i}/s",
            },
        )  # fmt: skip
        return gpu.process(pid, memory=f"{58 + i % 3}G", sm=92 - i % 4, mem=51 + i % 4)

    def trouble(self) -> None:
        gpus = self.state.gpus
        gpus[1].values.update(
            throttle=0x60, temp="~86,1,9", clock_sm="~1290,90,7", util="~97,2,9", temp_margin=1,
        )  # fmt: skip
        gpus[1].values["fv.270"] = "0+610000000/s"
        gpus[2].values.update(throttle=4, clock_sm="~1740,40,8")
        gpus[2].values["fv.74"] = "0+830000000/s"
        gpus[5].values.update(ecc_uncorrected_volatile=1, ecc_uncorrected_aggregate=1, remap_uncorrected=1)
        gpus[5].values.update({"remap_pending": 1, "fv.230": 1, "ecc.1.0.2": 1})
        self.state.xids = ["1 5 48", "2 5 63", "3 5 45"]
        self.state.fault("* 3 error 15")


@contextmanager
def cluster(folder: Path, gpus: int) -> Iterator[Cluster]:
    """With a process for each GPU, which does nothing: what it does there is the stand-in's business."""
    workers = [
        subprocess.Popen([f"train.py --rank={i}", "3600"], executable="/bin/sleep") for i in range(gpus)
    ]
    try:
        yield Cluster(folder, gpus, [w.pid for w in workers])
    finally:
        for w in workers:
            w.terminate()
            w.wait()
