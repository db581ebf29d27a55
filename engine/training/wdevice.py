"""Devices: which one, in which arithmetic, and all the loop asks of CUDA in one place.

Worker side; imported after torch. The loop calls CUDA only through `Cuda`: a test stands a recording object
in for it and so exercises the very code that runs on a GPU.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dctop.engine.training.wconfig import Refused
else:
    from wconfig import Refused


class Cuda:
    """A CUDA device as the loop needs it: copies that do not block, events, pinned memory, allocator."""

    kind = "cuda"
    channels_last = True
    """Convolutions on tensor cores want the channel innermost."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def event(self) -> torch.cuda.Event:
        return torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]

    def record(self, event: torch.cuda.Event) -> None:
        event.record(torch.cuda.current_stream(self.device))

    def pinned(self, count: int) -> torch.Tensor:
        """Page-locked float32 memory: only from there does a copy run beside the host."""
        return torch.empty(count, dtype=torch.float32, pin_memory=True)

    def pin(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor if tensor.is_pinned() else tensor.pin_memory()

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.to(self.device, non_blocking=True)

    def fetch(self, target: torch.Tensor, source: torch.Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def capturing(self) -> bool:
        """Whether a CUDA graph is being captured: no event may be asked then."""
        return bool(torch.cuda.is_current_stream_capturing())

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.device)

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether to read the tensor is to wait for the device."""
        return tensor.is_cuda

    def memory(self) -> dict[str, int | None]:
        """The peak is that since the reading before: a rule must see it fall again."""
        stats = torch.cuda.memory_stats(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        names = {
            "mem_allocated_bytes": "allocated_bytes.all.current",
            "mem_reserved_bytes": "reserved_bytes.all.current",
            "mem_peak_bytes": "allocated_bytes.all.peak",
            "mem_inactive_bytes": "inactive_split_bytes.all.current",
            "mem_retries": "num_alloc_retries",
        }
        return {field: stats.get(name) for field, name in names.items()}

    def taken(self) -> tuple[int, int]:
        """(bytes of the device in use by others than our allocator, all bytes). Our own context is in it."""
        free, total = torch.cuda.mem_get_info(self.device)
        return total - free - torch.cuda.memory_reserved(self.device), total

    def scaler(self) -> torch.cuda.amp.GradScaler:
        return torch.cuda.amp.GradScaler()


def accelerator(device: torch.device) -> Cuda | None:
    return Cuda(device) if device.type == "cuda" else None


def choose_device(asked: str, rank: int = 0) -> tuple[torch.device, str]:
    """(device, why). Raises Refused: `cuda` was asked for and cannot be had."""
    if asked == "cpu":
        return torch.device("cpu"), "asked for"
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        if rank >= count:
            raise Refused(
                f"rank {rank} has no GPU: there {'is' if count == 1 else 'are'} {count}; lower --nproc"
            )
        torch.cuda.set_device(rank)
        return torch.device("cuda", rank), "asked for" if asked == "cuda" else "available"
    why = "torch sees no CUDA device" if built else f"torch {torch.__version__} is built without CUDA"
    if asked == "cuda":
        raise Refused(f"device cuda: {why}; use --device cpu or another --python")
    return torch.device("cpu"), why


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8", errors="replace") as source:
        for line in source:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.machine() or "cpu"


class Precision:
    """Autocast, TF32 switches and gradient scaling of one `--precision`. Raises Refused."""

    def __init__(self, name: str, device: torch.device, cuda: Cuda | None) -> None:
        self.name = name
        self.scaler = None
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(name)
        if name in ("tf32", "fp16") and cuda is None:
            raise Refused(f"precision {name} needs a CUDA device; on the CPU use fp32 or bf16")
        if cuda is not None:
            torch.backends.cuda.matmul.allow_tf32 = name == "tf32"
            torch.backends.cudnn.allow_tf32 = name == "tf32"
            self.scaler = cuda.scaler() if name == "fp16" else None
        self.autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext
        if dtype is not None:
            self.autocast = lambda: torch.autocast(device.type, dtype=dtype)


class Memory:
    """Bytes the process holds: RssAnon (what a memory limit bites on: file pages can be dropped) and,
    on CUDA, what the allocator says."""

    def __init__(self, cuda: Cuda | None) -> None:
        self._cuda = cuda
        # RssAnon is in `status` as well, which takes the kernel twenty times as long to write.
        self._fd = os.open("/proc/self/statm", os.O_RDONLY)
        self._page = os.sysconf("SC_PAGE_SIZE")

    def read(self) -> dict[str, int | None]:
        values: dict[str, int | None] = {"rss_anon_bytes": self._rss_anon()}
        if self._cuda is not None:
            values.update(self._cuda.memory())
        return values

    def _rss_anon(self) -> int | None:
        """Of `statm`: the pages that are there without those shared with files and other programs."""
        fields = os.pread(self._fd, 256, 0).split(None, 3)
        return (int(fields[1]) - int(fields[2])) * self._page if len(fields) > 3 else None
