"""Carries faults out at their steps and writes the truth about them.

Worker side; needs no torch to import. The truth (what, from when to when) goes to `truth.jsonl` in the run
directory: detectors are scored against it and never read it.
"""

from __future__ import annotations

import json
import math
import os
import signal
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from dctop.engine.training import wcauses, wspoil, wtasks
    from dctop.engine.training.wbatches import Batch
    from dctop.engine.training.wfaults import KINDS, Fault
else:
    import wcauses
    import wspoil
    from wfaults import KINDS


class PlantedCrash(RuntimeError):
    """What the `crash` drill raises."""


class Planter:
    """Carries the faults of a run out at their steps.

    On several ranks a fault of tier A strikes the last one, tier B is the same on all.
    """

    def __init__(
        self, faults: list[Fault], directory: str, entity: str, rank: int = 0, ranks: int = 1
    ) -> None:
        last = rank == ranks - 1
        self.faults = [f for f in faults if last or KINDS[f.name].tier == "B"]
        self.lr_factor = 1.0
        self._tells = {f: last if KINDS[f.name].tier == "A" else rank == 0 for f in self.faults}
        self._directory = directory
        self._entity = entity if ranks == 1 else f"{entity} rank:{rank}"
        self._open: dict[int, dict[str, object]] = {}
        self._causes: dict[int, Callable[[], None]] = {}
        """What takes a cause away again."""
        self._kept: list[torch.Tensor] = []
        self._spoiler = wspoil.Spoiler(self.faults)
        for fault in self.faults:
            if fault.name == "shm":
                wcauses.private_shm(fault.magnitude)

    def due(self, step: int) -> list[Fault]:
        """Faults that begin at this step: to be logged before `begin`, which may never return."""
        return [f for f in self.faults if f.first == step and self._tells[f]]

    def begin(self, step: int, model: torch.nn.Module | None = None) -> None:
        """Called before each step. May raise, hang or never return: that is the drill."""
        for i, fault in enumerate(self.faults):
            active = fault.active(step)
            if active and i not in self._open:
                self._onset(i, fault, step)
            elif not active and i in self._open:
                self._clear(i, fault, step)
        for i in list(self._open):
            self._act(self.faults[i])
            if self.faults[i].name == "lr-restart":
                self.lr_factor = self._restarting(self.faults[i], step)

    @staticmethod
    def _restarting(fault: Fault, step: int) -> float:
        """Half a cosine from 1 down to a tenth, again and again."""
        share = (step - fault.first) / fault.magnitude % 1.0
        return 0.1 + 0.45 * (1 + math.cos(math.pi * share))

    def close(self, step: int) -> None:
        """The run ends: close the windows still open. Ballast stays: the disk is full to the end."""
        for i in list(self._open):
            if self.faults[i].name == "fill":
                self._causes.pop(i, None)
            self._clear(i, self.faults[i], step)

    # -- in the path of the data, also in loader processes ------------------------------------------

    def seen(self, task: wtasks.Task) -> None:
        """The data is loaded: faults of the set itself."""
        self._spoiler.spoil_set(task)

    def built(self, model: torch.nn.Module) -> torch.nn.Module:
        """The network is built: faults of its beginning."""
        return self._spoiler.spoil_model(model)

    def chosen(self, step: int, indices: torch.Tensor) -> torch.Tensor:
        """Which samples are read; slow and broken storage."""
        for fault in self.faults:
            if fault.active(step):
                if fault.name in wcauses.IN_LOADER and step == fault.first and wcauses.in_loader():
                    # Batches are fetched ahead: the run may be over before its own step says so.
                    self._write(self._truth(fault, step))
                wcauses.while_reading(fault.name, fault.magnitude, step == fault.first, self._directory)
                if fault.name == "loader-leak" and wcauses.in_loader():
                    self._allocate(fault.magnitude)
        return self._spoiler.spoil_order(step, indices)

    def fetched(self, step: int, batch: Batch) -> Batch:
        """The batch as it was read."""
        return self._spoiler.spoil_batch(step, batch)

    def batch(self, step: int, inputs: torch.Tensor) -> torch.Tensor:
        """The inputs as the model takes them."""
        return self._spoiler.spoil_inputs(step, inputs)

    def evaluated(self, step: int, inputs: torch.Tensor) -> torch.Tensor:
        """The same in an evaluation after that step."""
        return self._spoiler.spoil_evaluation(step, inputs)

    # -- beginning, going on, ending ------------------------------------------------------------------

    def _onset(self, i: int, fault: Fault, step: int) -> None:
        truth = self._open[i] = self._truth(fault, step)
        if self._tells[fault] and fault.name not in wcauses.IN_LOADER:
            self._write(truth)
        if fault.name == "lr":
            self.lr_factor *= fault.magnitude
        elif fault.name == "lr-low":
            self.lr_factor /= fault.magnitude
        elif fault.name in wcauses.LASTING:
            self._causes[i] = wcauses.LASTING[fault.name](fault.magnitude, self._directory)

    def _truth(self, fault: Fault, step: int) -> dict[str, object]:
        return {
            "id": fault.name, "entity": self._entity, "t0": time.time_ns(), "t1": None,
            "step0": step, "step1": None, "magnitude": fault.magnitude, "spec": fault.spec,
        }  # fmt: skip

    def _clear(self, i: int, fault: Fault, step: int) -> None:
        truth = self._open.pop(i)
        if fault.name == "lr":
            self.lr_factor /= fault.magnitude
        elif fault.name == "lr-low":
            self.lr_factor *= fault.magnitude
        elif fault.name == "lr-restart":
            self.lr_factor = 1.0
        elif fault.name == "leak":
            self._kept.clear()
        elif i in self._causes:
            self._causes.pop(i)()
        if self._tells[fault] and fault.name not in wcauses.IN_LOADER:
            self._write({**truth, "t1": time.time_ns(), "step1": step})

    def _act(self, fault: Fault) -> None:
        if fault.name == "leak":
            self._allocate(fault.magnitude)
        elif fault.name in ("oom", "cgroup-oom", "alloc-fail"):
            wcauses.be_first_victim()
            while True:
                # The size of `oom` is that of a piece, of the others the room there is.
                self._allocate(fault.magnitude if fault.name == "oom" else 16.0)
        elif fault.name in ("mem-pressure", "straggler-compute"):
            wcauses.each_step(fault.name, fault.magnitude)
        elif fault.name == "hang":
            wcauses.hang(fault.magnitude)
        elif fault.name == "stop":
            wcauses.stop(fault.magnitude)
        elif fault.name == "crash":
            raise PlantedCrash("the crash drill raised this")
        elif fault.name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def _allocate(self, mib: float) -> None:
        import torch

        # Written to, so that the memory is really taken.
        self._kept.append(torch.ones(max(1, int(mib * (1 << 20))), dtype=torch.uint8))

    def _write(self, truth: dict[str, object]) -> None:
        line = json.dumps(truth, separators=(",", ":")) + "\n"
        try:
            fd = os.open(
                os.path.join(self._directory, "truth.jsonl"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
            )
            with os.fdopen(fd, "w") as out:
                out.write(line)
        except OSError as error:
            print(f"truth.jsonl: {error.strerror}: {line.strip()}", flush=True)
