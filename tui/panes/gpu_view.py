"""The panes of the GPU view, tied to the GPU pane's selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dctop.tui.panes.base import PaneModel
from dctop.tui.panes.gpu import GpuPane
from dctop.tui.panes.gpu_data import GpuBook
from dctop.tui.panes.gpu_energy import Factors, GpuEnergyPane
from dctop.tui.panes.gpu_facts import GpuFactsPane
from dctop.tui.panes.gpu_graphs import GpuGraphsPane
from dctop.tui.panes.gpu_health import GpuHealthPane
from dctop.tui.panes.gpu_processes import GpuProcessesPane

GPU_PANES = (GpuGraphsPane, GpuFactsPane, GpuHealthPane, GpuProcessesPane, GpuEnergyPane)


class EnergySettings(Protocol):
    """`energy.*` of the configuration."""

    price_per_kwh: float | None
    co2_g_per_kwh: float | None
    pue: float
    currency: str


def gpu_panes(models: Sequence[PaneModel], energy: EnergySettings | None = None) -> list[PaneModel]:
    """One of each, with the book of the GPU pane among `models`."""
    book = next((m.book for m in models if isinstance(m, GpuPane)), GpuBook())
    factors = Factors()
    if energy is not None:
        factors = Factors(energy.price_per_kwh, energy.co2_g_per_kwh, energy.pue, energy.currency)
    made = [make(book) for make in GPU_PANES]
    for model in made:
        if isinstance(model, (GpuFactsPane, GpuEnergyPane)):
            model.factors = factors
    return list(made)
