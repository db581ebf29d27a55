"""Several processes that train together: started by torchrun's launcher, joined by DDP.

Worker side. Rank 0 speaks for the run (run.json, evaluation, checkpoints, steps.jsonl); every other rank has
a log of its own. All ranks must leave the loop at the same step, or the one left behind waits for ever in a
collective operation: what a signal asked of one of them is told to all by an exchange that runs beside the
step after it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

    from dctop.engine.training.wdevice import Cuda

STOP, CHECKPOINT, NOT_FINITE = range(3)
_SOCKET = "DCTOP_RANK_REPORT"
_ECHOES = ("Connection closed by peer", "Connection reset by peer", "NCCL", "Broken pipe")


class Ranks:
    """The place of this process among the others. With one process nothing is exchanged."""

    def __init__(self) -> None:
        self.rank, self.world = 0, 1
        self.waited_s: float | None = None
        """Of the last exchange."""
        self._group: Any = None
        self._pending: tuple[Any, torch.Tensor] | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def join(self, cuda: bool) -> None:
        """Meet the others, where torchrun's launcher has started us."""
        if "WORLD_SIZE" not in os.environ:
            return
        from torch import distributed

        distributed.init_process_group("nccl" if cuda else "gloo")
        self.rank, self.world = distributed.get_rank(), distributed.get_world_size()
        # Flags travel between hosts' memories: to read them from a device would mean to wait for it.
        self._group = distributed.new_group(backend="gloo")

    def wrap(self, model: torch.nn.Module, cuda: Cuda | None) -> torch.nn.Module:
        if self.world == 1:
            return model
        from torch.nn.parallel import DistributedDataParallel

        on_gpu = cuda is not None and cuda.kind == "cuda"
        devices = [cuda.device] if cuda is not None and on_gpu else None
        return DistributedDataParallel(model, device_ids=devices)

    def alone(self, model: object) -> contextlib.AbstractContextManager[object]:
        """Gradients of this batch stay here: more batches of the same step follow."""
        no_sync = getattr(model, "no_sync", None)
        return contextlib.nullcontext() if self.world == 1 or no_sync is None else no_sync()

    def agree(self, *wishes: bool) -> list[bool]:
        """What any rank wished one step ago: the same answer on all. Alone: what is wished now."""
        if self.world == 1:
            return list(wishes)
        import torch
        from torch import distributed

        begun = time.perf_counter()
        agreed = [False] * len(wishes)
        if self._pending is not None:
            work, flags = self._pending
            work.wait()
            agreed = [bool(flag) for flag in flags.tolist()]
        mine = torch.tensor([int(wish) for wish in wishes])
        work = distributed.all_reduce(mine, distributed.ReduceOp.MAX, group=self._group, async_op=True)
        self._pending = (work, mine)
        self.waited_s = time.perf_counter() - begun
        return agreed

    def meet(self) -> None:
        """Wait until all are here: rank 0 evaluates or writes a checkpoint meanwhile."""
        if self.world > 1:
            from torch import distributed

            distributed.barrier(group=self._group)

    def part(self) -> None:
        if self.world > 1:
            from torch import distributed

            if self._pending is not None:
                self._pending[0].wait()
            distributed.destroy_process_group()


class Led(NamedTuple):
    """How the ranks ended."""

    status: str
    reason: str
    step: int
    facts: dict[str, object]
    """`rank`, `pid` and `signal` of the first that failed."""


def report(status: str, reason: str, step: int) -> None:
    """A rank's last word to its leader. Not through a file: the disk may be full."""
    name = os.environ.get(_SOCKET)
    if name is None:
        return
    said = {"rank": int(os.environ["RANK"]), "status": status, "reason": reason[:1000], "step": step}
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.sendto(json.dumps(said).encode(), f"\0{name}")


def lead(worker: str, directory: str, count: int, threads: int) -> Led:
    """Start `count` ranks of this worker by torchrun's launcher, pass signals on to them, and wait."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    name = f"dctop-{uuid.uuid4().hex}"
    box = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    box.bind(f"\0{name}")
    box.setblocking(False)
    os.environ[_SOCKET] = name
    if not threads:
        # As torchrun: processes whose operations use all cores each get in each other's way.
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // count)))
    # The launcher's own handlers would give the ranks 30 s and then kill them. Blocked, a signal waits for
    # our thread, and the ranks (which unblock them) end in their own good order.
    passed = {signal.SIGTERM, signal.SIGINT, signal.SIGUSR1}
    signal.pthread_sigmask(signal.SIG_BLOCK, passed | {signal.SIGHUP})
    threading.Thread(target=_forward, args=(passed,), daemon=True).start()
    config = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=name, rdzv_backend="c10d",
        rdzv_endpoint="localhost:0", max_restarts=0, monitor_interval=0.2, local_addr="localhost",
    )  # fmt: skip
    failure = None
    try:
        elastic_launch(config, sys.executable)("-u", worker, "--run-dir", directory, "--rank")
    except ChildFailedError as error:
        failure = _first(error)
    said = _collect(box)
    box.close()
    return _outcome(said, failure)


def _first(error: Any) -> Any:
    """(rank, failure) that began it. A rank killed by a signal says nothing; its neighbours, whose line is
    dead a moment later, do, and may be seen first. SIGTERM is how the launcher ends those that are left."""
    killed = [
        (rank, f) for rank, f in error.failures.items() if f.exitcode < 0 and f.exitcode != -signal.SIGTERM
    ]
    return killed[0] if killed else error.get_first_failure()


def _outcome(said: dict[int, dict[str, Any]], failure: Any) -> Led:
    first = said.get(0, {})
    step = max([int(s["step"]) for s in said.values()], default=0)
    if failure is None:
        return Led(
            str(first.get("status", "failed")), str(first.get("reason", "ended without a word")), step, {}
        )
    rank, broken = failure
    facts: dict[str, object] = {"rank": rank, "rank_pid": broken.pid, "rank_exit_code": broken.exitcode}
    if broken.exitcode < 0:
        try:
            facts["signal"] = signal.Signals(-broken.exitcode).name
        except ValueError:
            facts["signal"] = f"signal {-broken.exitcode}"
        return Led("killed", f"rank {rank} was killed by {facts['signal']}", step, facts)
    failed = [s for s in said.values() if s["status"] == "failed"]
    # A rank whose neighbour died fails as well, and may be seen first: it only says that the line is dead.
    own = next((s for s in failed if not any(x in s["reason"] for x in _ECHOES)), None) or said.get(rank)
    reason = own["reason"] if own else f"ended with exit code {broken.exitcode} and no word"
    return Led("failed", f"rank {own['rank'] if own else rank}: {reason}", step, facts)


def _collect(box: socket.socket) -> dict[int, dict[str, Any]]:
    said: dict[int, dict[str, Any]] = {}
    with contextlib.suppress(OSError, ValueError):
        while True:
            word = json.loads(box.recv(65536))
            said[word["rank"]] = word
    return said


def _forward(passed: set[signal.Signals]) -> None:
    while True:
        number = signal.sigwait(passed)
        for pid in children(os.getpid()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def children(pid: int) -> list[int]:
    """Processes whose parent it is."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError, ValueError, IndexError), open(f"/proc/{name}/stat") as source:
            if int(source.read().rsplit(")", 1)[1].split()[1]) == pid:
                found.append(int(name))
    return found
