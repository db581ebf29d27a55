"""Batches in a reproducible order: from memory, or through loader processes (`--workers`).

Worker side. The order of an epoch depends on seed and epoch only, so a resumed run continues in the
middle of an epoch with the batches it had not seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dctop.engine.training.wfaults import Planter

    Item = tuple[int, torch.Tensor]
    Batch = tuple[torch.Tensor, torch.Tensor]


class Fetch:
    """(number of the step, indices) -> (uint8 images, labels). Runs here or in a loader process."""

    def __init__(self, images: torch.Tensor, labels: torch.Tensor, planter: Planter | None) -> None:
        self.images = images
        self.labels = labels
        self.planter = planter

    def __getitem__(self, item: Item) -> Batch:
        step, indices = item
        if self.planter is not None:
            self.planter.fetch(step)
        return self.images[indices], self.labels[indices]


class Order:
    """The items of one epoch; the loader asks for a new iterator every epoch."""

    def __init__(self, samples: int, batch_size: int, seed: int, micro: int) -> None:
        self.samples = samples
        self.batch_size = batch_size
        self.seed = seed
        self.micro = micro
        """Batches a step (more than one: gradient accumulation)."""
        self.epoch = 0
        self.skip = 0
        self.first_step = 1
        """Number of the first step of the epoch."""

    def __iter__(self) -> Iterator[Item]:
        import torch

        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        parts = torch.randperm(self.samples, generator=rng).split(self.batch_size)  # type: ignore[no-untyped-call]
        for i in range(self.skip * self.micro, len(parts)):
            yield self.first_step + i // self.micro, parts[i]

    def __len__(self) -> int:
        return -(-self.samples // self.batch_size) - self.skip * self.micro


class Batches:
    """`epoch(...)` iterates the batches of one epoch. `close` ends the loader processes."""

    def __init__(self, fetch: Fetch, order: Order, workers: int, pin: bool) -> None:
        self._fetch = fetch
        self._order = order
        self._pin = pin
        self._loader = self._make_loader(workers) if workers else None

    def _make_loader(self, workers: int) -> torch.utils.data.DataLoader[Batch]:
        from torch.utils.data import DataLoader

        return DataLoader(
            self._fetch,  # type: ignore[arg-type]
            sampler=self._order,
            batch_size=None,
            num_workers=workers,
            pin_memory=self._pin,
            persistent_workers=True,
        )

    def epoch(self, epoch: int, skip: int, first_step: int) -> Iterator[Batch]:
        self._order.epoch, self._order.skip, self._order.first_step = epoch, skip, first_step
        if self._loader is not None:
            yield from self._loader
            return
        for item in self._order:
            images, labels = self._fetch[item]
            # The host allocator keeps a pinned block until the copies that use it are done.
            yield (images.pin_memory(), labels.pin_memory()) if self._pin else (images, labels)

    def close(self) -> None:
        self._loader = None
