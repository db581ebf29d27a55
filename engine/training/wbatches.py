"""Batches in a reproducible order: from memory, or through loader processes (`--workers`).

Worker side. The order of an epoch depends on seed and epoch only, so a resumed run continues in the
middle of an epoch with the batches it had not seen; ranks take turns in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from dctop.engine.training.wdevice import Cuda
    from dctop.engine.training.wplanter import Planter

    Item = tuple[int, torch.Tensor]
    Batch = tuple[torch.Tensor, torch.Tensor]
    Source = Callable[[torch.Tensor], Batch]
    """Indices -> (inputs as they are stored, what is to be predicted)."""


class Fetch:
    """(number of the step, indices) -> batch. Runs here or in a loader process."""

    def __init__(self, source: Source, planter: Planter | None) -> None:
        self.source = source
        self.planter = planter

    def __getitem__(self, item: Item) -> Batch:
        step, indices = item
        if self.planter is None:
            return self.source(indices)
        return self.planter.fetched(step, self.source(self.planter.chosen(step, indices)))


class Order:
    """The items of one epoch; the loader asks for a new iterator every epoch."""

    def __init__(
        self, samples: int, batch_size: int, seed: int, micro: int, rank: int = 0, ranks: int = 1
    ) -> None:
        self.batch_size = batch_size
        self.seed = seed
        self.micro = micro
        """Batches a step (more than one: gradient accumulation)."""
        self.rank, self.ranks = rank, ranks
        self.whole = samples
        self.samples = -(-samples // ranks)
        """Of this rank. All have the same number: a collective operation needs all of them, so the first
        samples of the epoch come again where they do not divide evenly."""
        self.epoch = 0
        self.skip = 0
        self.first_step = 1
        """Number of the first step of the epoch."""

    @property
    def batches(self) -> int:
        """Of a whole epoch."""
        return -(-self.samples // self.batch_size)

    def samples_of_step(self, index: int) -> int:
        """Samples of this rank in the epoch's `index`-th step, from 0."""
        size = self.micro * self.batch_size
        return min(size, self.samples - index * size)

    def __iter__(self) -> Iterator[Item]:
        import torch

        rng = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(self.whole, generator=rng)
        if self.ranks > 1:
            padded = torch.cat([order, order[: self.samples * self.ranks - self.whole]])
            order = padded[self.rank :: self.ranks]
        parts = order.split(self.batch_size)  # type: ignore[no-untyped-call]
        for i in range(self.skip * self.micro, len(parts)):
            yield self.first_step + i // self.micro - self.skip, parts[i]

    def __len__(self) -> int:
        return self.batches - self.skip * self.micro


class Batches:
    """`epoch(...)` iterates the batches of one epoch. `close` ends the loader processes."""

    def __init__(self, fetch: Fetch, order: Order, workers: int, cuda: Cuda | None) -> None:
        self._fetch = fetch
        self.order = order
        self._cuda = cuda
        self._loader = self._make_loader(workers) if workers else None

    def _make_loader(self, workers: int) -> torch.utils.data.DataLoader[Batch]:
        from torch.utils.data import DataLoader

        return DataLoader(
            self._fetch,  # type: ignore[arg-type]
            sampler=self.order,
            batch_size=None,
            num_workers=workers,
            pin_memory=self._cuda is not None and self._cuda.kind == "cuda",
            persistent_workers=True,
        )

    def epoch(self, epoch: int, skip: int, first_step: int) -> Iterator[Batch]:
        self.order.epoch, self.order.skip, self.order.first_step = epoch, skip, first_step
        if self._loader is not None:
            yield from self._loader
            return
        for item in self.order:
            x, y = self._fetch[item]
            # The host allocator keeps a pinned block until the copies that use it are done.
            yield (x, y) if self._cuda is None else (self._cuda.pin(x), self._cuda.pin(y))

    def close(self) -> None:
        self._loader = None
