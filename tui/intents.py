"""What a pane asks the app to do. Panes decide nothing that reaches outside their own drawing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Intent:
    """Base of all intents."""


@dataclass(frozen=True, slots=True)
class EditFilter(Intent):
    """Open the one-line filter editor for the focused pane; its text goes to `PaneModel.set_filter`."""

    text: str


@dataclass(frozen=True, slots=True)
class SignalProcess(Intent):
    """Confirm, choose the signal, send it."""

    pid: int
    start_ticks: int
    name: str


@dataclass(frozen=True, slots=True)
class ReniceProcess(Intent):
    pid: int
    start_ticks: int
    name: str
    nice: int


@dataclass(frozen=True, slots=True)
class ShowProcess(Intent):
    """Open the detail of a process."""

    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class ChooseSort(Intent):
    """Open a list to pick from; the choice goes to `PaneModel.set_sort`."""

    options: tuple[tuple[str, str], ...]
    """(id, label)"""
    current: str


@dataclass(frozen=True, slots=True)
class AckAlert(Intent):
    alert_id: int


@dataclass(frozen=True, slots=True)
class MuteAlert(Intent):
    alert_id: int


@dataclass(frozen=True, slots=True)
class ApplyRemedy(Intent):
    """Choose a remedy of the alert, confirm, end the run and start its successor."""

    alert_id: int


@dataclass(frozen=True, slots=True)
class ShowAlert(Intent):
    alert_id: int


@dataclass(frozen=True, slots=True)
class ShowRun(Intent):
    run_id: str


@dataclass(frozen=True, slots=True)
class StopRun(Intent):
    """Ask, then SIGTERM the worker (it finishes the step and checkpoints)."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ShowGpu(Intent):
    """Open the detail of a GPU."""

    uuid: str


@dataclass(frozen=True, slots=True)
class CheckpointRun(Intent):
    """Have it write a checkpoint after this step."""

    run_id: str


@dataclass(frozen=True, slots=True)
class ResumeRun(Intent):
    """Choose a checkpoint of an ended run, then a new run goes on from it."""

    run_id: str


@dataclass(frozen=True, slots=True)
class InferRun(Intent):
    """Measure the inference of a run's checkpoint: ask how, start it, show it."""

    run_id: str


@dataclass(frozen=True, slots=True)
class RemoveRun(Intent):
    """Ask, then delete the directory of an ended run."""

    run_id: str


@dataclass(frozen=True, slots=True)
class CompareRun(Intent):
    """Choose the runs that are drawn into one plot with this one."""

    run_id: str
    compared: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CopyText(Intent):
    text: str


@dataclass(frozen=True, slots=True)
class Notice(Intent):
    """One line to the user."""

    text: str
    severity: str = "information"
