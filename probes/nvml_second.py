"""A second opinion on NVIDIA GPUs: pynvml reads what does not change, to be held against dctop's own binding.

Own structures that no longer fit a new driver would show plausible nonsense; two readers would disagree.
For `dctop doctor` only: its calls can hang in the driver, so they belong into a thread with a deadline.
"""

from __future__ import annotations

from collections.abc import Mapping

from dctop.probes.base import Value, series

FACTS = ("name", "mem_total_bytes", "pcie_gen_max", "pcie_width_max")
"""Metrics of a GPU that are compared."""


def pynvml_facts() -> dict[str, dict[str, Value]]:
    """UUID -> FACTS as pynvml reads them; None where it gives none. Raises ImportError without the module,
    `pynvml.NVMLError` where the library refuses."""
    import pynvml as n  # type: ignore[import-untyped, unused-ignore]

    def ask(function: str, *args: object) -> Value:
        try:
            value: Value = getattr(n, function)(*args)
        except n.NVMLError:
            return None
        return value

    n.nvmlInit()
    out: dict[str, dict[str, Value]] = {}
    for index in range(n.nvmlDeviceGetCount()):
        try:
            device = n.nvmlDeviceGetHandleByIndex(index)
            uuid, memory = n.nvmlDeviceGetUUID(device), n.nvmlDeviceGetMemoryInfo(device)
        except n.NVMLError:
            continue  # lost: there is nothing to compare
        out[uuid] = {
            "name": ask("nvmlDeviceGetName", device),
            "mem_total_bytes": memory.total,
            "pcie_gen_max": ask("nvmlDeviceGetMaxPcieLinkGeneration", device),
            "pcie_width_max": ask("nvmlDeviceGetMaxPcieLinkWidth", device),
        }
    return out


def disagreements(ours: Mapping[str, Value], theirs: Mapping[str, Mapping[str, Value]]) -> list[str]:
    """One line for each fact that two readers give differently. `ours`: series as the probes read them. What
    either has not read is no disagreement."""
    out = []
    for uuid, facts in theirs.items():
        if series("gpu.state", gpu=uuid) not in ours:
            out.append(f"{uuid}: not seen by dctop")
            continue
        for name, value in facts.items():
            own = ours.get(series(f"gpu.{name}", gpu=uuid))
            if own is not None and value is not None and own != value:
                out.append(f"{uuid}: {name} {own} by dctop, {value} by pynvml")
    return out
