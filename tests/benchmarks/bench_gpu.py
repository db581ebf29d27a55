"""What watching GPUs costs: dctop beside nvitop, gpustat and nvtop on one simulated driver, in one run.

    python tests/benchmarks/bench_gpu.py [--gpus 16] [--processes 40] [--seconds 60] [--install]

Every program sees the same stand-in library and state: GPUs under load, each with so many processes (real
ones that sleep, so that their names and users can be read). No GPU is measured here. See README.md.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/benchmarks")]

import bench_peers as peers  # noqa: E402

from tests.fakes.standin import Gpu, State, build  # noqa: E402

TOOLS = (
    *(t for t in peers.TOOLS if t.name in ("dctop +rec", "dctop", "nvitop")),
    peers.Tool("gpustat", lambda d: [peers._which("gpustat"), "-i", "1", "-cup"], r"\d+ %", "pip:gpustat"),
    peers.Tool("nvtop", lambda d: [peers._which("nvtop"), "-d", "10"], r"\d+%", "apt:nvtop"),
)
ALONE_READS = 200


def sleepers(n: int) -> subprocess.Popen[bytes]:
    """One process with `n` children that do nothing; killing its group ends all."""
    script = f"i=0; while [ $i -lt {n} ]; do sleep 100000 & i=$((i+1)); done; echo $(jobs -p); wait"
    return subprocess.Popen(["bash", "-c", script], stdout=subprocess.PIPE, start_new_session=True)


def simulate(path: Path, gpus: int, processes: int, pids: list[int]) -> State:
    made = [
        Gpu(i, util=f"~{50 + i},30,{7 + i}", power=f"~{400000 + 9000 * i},150000,11") for i in range(gpus)
    ]
    for i, gpu in enumerate(made):
        for k in range(processes):
            gpu.process(pids[i * processes + k], "C", f"{200 + 7 * k}M", sm=(7 * k + i) % 100, mem=k)
    return State(path, made)


def alone(state: State) -> tuple[float, float]:
    """(CPU ms a reading of the tick, of the health) of the probe in this process."""
    from dctop.probes.gpu import GpuHealthProbe, GpuProbe
    from dctop.probes.nvidia import NvidiaMaker

    os.environ |= {"NVML_STANDIN_STATE": str(state.path), "NVML_STANDIN_LOOK_MS": "500"}
    library = str(build())
    probe = GpuProbe(makers=lambda proc, sys: [NvidiaMaker(proc, sys, library)])
    health = GpuHealthProbe(probe)
    out = []
    for one in (probe, health):
        one.read()
        began = time.process_time()
        for _ in range(ALONE_READS):
            one.read()
        out.append((time.process_time() - began) * 1000 / ALONE_READS)
    return out[0], out[1]


def table(rows: list[peers.Row]) -> str:
    """Ratios in parentheses are to nvitop in this run."""
    base = next((r for r in rows if r.name == "nvitop"), peers.Row("nvitop"))
    out = [f"{'':<12}{'CPU ms per s':>20}{'first paint ms':>20}{'memory (PSS) MB':>20}"]
    for r in rows:
        cells = (
            peers._ratio(r.cpu_ms_per_s, base.cpu_ms_per_s, f"{r.cpu_ms_per_s or 0:.2f}"),
            peers._ratio(r.paint_ms, base.paint_ms, f"{r.paint_ms or 0:.0f}"),
            peers._ratio(r.pss, base.pss, f"{(r.pss or 0) / 1e6:.1f}"),
        )
        remark = f"  {r.remark}" if r.remark else ""
        out.append(f"{r.name:<12}" + "".join(f"{c:>20}" for c in cells) + remark)
    return "\n".join(out)


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--gpus", type=int, default=16)
    p.add_argument("--processes", type=int, default=40, help="on each GPU (40)")
    p.add_argument("--seconds", type=float, default=60, help="length of the steady measurement (60)")
    p.add_argument("--paints", type=int, default=peers.PAINT_RUNS, help="starts for the first paint")
    p.add_argument("--install", action="store_true", help="fetch missing peers first")
    args = p.parse_args()
    if args.install:
        peers.install(TOOLS)
    rows = {t.name: peers.Row(t.name) for t in TOOLS}
    crowd = sleepers(args.gpus * args.processes)
    assert crowd.stdout is not None
    try:
        pids = [int(word) for word in crowd.stdout.readline().split()]
        with tempfile.TemporaryDirectory(prefix="dctop-bench-") as name:
            scratch = Path(name)
            state = simulate(scratch / "gpus", args.gpus, args.processes, pids)
            peers.SIMULATED.update(state.env(), NVML_STANDIN_LOOK_MS="500")
            present = []
            for tool in TOOLS:
                try:
                    folder = peers.folder(scratch, tool)
                    rows[tool.name].paint_ms = peers.measure_paint(tool, folder, args.paints)
                    present.append(tool)
                except (peers.Missing, FileNotFoundError):
                    rows[tool.name].remark = f"not installed ({tool.package})"
            print(
                f"{args.gpus} simulated GPUs with {args.processes} processes each, {os.cpu_count()} CPUs, ",
                end="",
            )
            print(
                f"load {Path('/proc/loadavg').read_text().split()[0]}; {args.seconds:g} s at 1 Hz, ", end=""
            )
            print("in parentheses: against nvitop")
            peers.measure_steady(present, scratch, args.seconds, rows)
            fast, slow = alone(state)
    finally:
        os.killpg(crowd.pid, 9)
        crowd.wait()
    print(table(list(rows.values())))
    print(f"the probe alone: {fast:.2f} ms CPU a tick, {slow:.2f} ms every 5 s for what changes rarely")
    return 0


if __name__ == "__main__":
    sys.exit(main())
