"""The panes, as models: no Textual in this package."""

from __future__ import annotations

from dctop.tui.panes.alerts import AlertsPane
from dctop.tui.panes.base import PaneModel
from dctop.tui.panes.cpu import CpuPane
from dctop.tui.panes.disk import DiskPane
from dctop.tui.panes.gpu import GpuPane
from dctop.tui.panes.memory import MemoryPane
from dctop.tui.panes.network import NetworkPane
from dctop.tui.panes.processes import ProcessPane
from dctop.tui.panes.training import TrainingPane

PANES: tuple[type[PaneModel], ...] = (
    CpuPane,
    GpuPane,
    MemoryPane,
    DiskPane,
    NetworkPane,
    ProcessPane,
    TrainingPane,
    AlertsPane,
)
"""In the order of the digits that toggle them, 1 to 8."""
