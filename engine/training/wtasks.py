"""The workloads: what is fed, what is built, what is predicted. The loop (wtrain.py) is the same for all.

Worker side; imported after torch. A task stores its inputs as small as they come (bytes) and turns them into
what the model takes on the device, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wdata, wgpt, wmodel
    from dctop.engine.training.wbatches import Batch, Source
    from dctop.engine.training.wconfig import Config
else:
    import wdata
    import wgpt
    import wmodel

EVAL_BATCH = 500
EVAL_BYTES = 1 << 18
"""Of the held-out text an evaluation reads so much, spread evenly."""
INPUT_SAMPLES = 10_000
BINS = 16
LINE_X = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
LINE_Y = torch.tensor([2.0, 4.0, 6.0])
"""The handbook's three samples: y = [0, 1] . x exactly."""


class Task:
    """One workload with its data loaded. Raises DataError or CorpusError."""

    name = ""
    unit = ""
    """What is predicted; `accuracy` is the share of them predicted right."""
    units = 1
    """Of them in a sample."""
    classifies = True
    """Whether predictions are right or wrong; else there is no accuracy."""
    summed = False
    """The loss of a batch is the sum over its samples, not the mean."""
    higher_is_better = False
    """Whether --target is an accuracy to rise to, or a loss to fall to."""
    source = ""
    synthetic = False
    classes: tuple[str, ...] = ()
    train_count = test_count = macs = 0
    fetch: Source

    def __init__(self, config: Config) -> None:
        self.config = config

    def build(self) -> torch.nn.Module:
        raise NotImplementedError

    def loss(self) -> wmodel.LossFunction:
        raise NotImplementedError

    def prepare(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        """Step 1, on the device: what is stored -> what the model takes."""
        raise NotImplementedError

    def hits(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Which predictions are right, one a unit."""
        return out.argmax(-1) == y

    def majority(self) -> float | None:
        """Share of the most frequent class among the samples trained on: what always guessing it gets right.
        None where there are no classes."""
        labels = getattr(self.fetch, "labels", None)
        if labels is None or not self.classes or not self.train_count:
            return None
        counts = torch.bincount(labels[: self.train_count], minlength=len(self.classes))
        return float(counts.max().item()) / self.train_count

    def test_batches(self) -> Iterator[Batch]:
        raise NotImplementedError

    def inputs(self) -> torch.Tensor:
        """Some inputs as the model takes them, for their statistics."""
        raise NotImplementedError

    def input_statistics(self) -> dict[str, object]:
        """Mean, standard deviation, range and histogram of what the model is fed."""
        x = self.inputs().double()
        low, high = x.min().item(), x.max().item()
        counts = torch.histc(x.float(), BINS, low, high) if high > low else torch.tensor([float(x.numel())])
        return {
            "mean": x.mean().item(), "std": x.std().item(), "min": low, "max": high, "samples": len(x),
            "histogram": [round(v, 6) for v in (counts / counts.sum()).tolist()],
        }  # fmt: skip


class _Images:
    def __init__(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        self.images, self.labels = images, labels

    def __call__(self, indices: torch.Tensor) -> Batch:
        # What images[indices] gives, in a sixth of the time.
        return self.images.index_select(0, indices), self.labels.index_select(0, indices)


class Images(Task):
    """`mnist-cnn`: the handbook's network on 28x28 images. The handbook writes `images / 255.0`, which makes
    float64 of all of them (376 MB); here a batch becomes float32 when its turn comes."""

    name, unit, higher_is_better = "mnist-cnn", "image", True

    def __init__(self, config: Config, folder: str | None) -> None:
        super().__init__(config)
        data = wdata.load(
            folder, config.seed, config.integer("train_samples"), config.integer("test_samples")
        )
        self.data = data
        self.source, self.synthetic, self.classes = data.source, data.synthetic, data.classes
        self.train_count, self.test_count = len(data.train_labels), len(data.test_labels)
        self.macs = wmodel.MACS_PER_SAMPLE[self.name]
        self.fetch = _Images(data.train_images, data.train_labels)

    def build(self) -> torch.nn.Module:
        return wmodel.mnist_cnn(self.config.text("activation"))

    def loss(self) -> wmodel.LossFunction:
        return wmodel.loss_function(self.config.text("loss"))

    def prepare(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        return x.float().div_(255.0), y

    def test_batches(self) -> Iterator[Batch]:
        for start in range(0, self.test_count, EVAL_BATCH):
            end = start + EVAL_BATCH
            yield self.data.test_images[start:end], self.data.test_labels[start:end]

    def inputs(self) -> torch.Tensor:
        return self.data.train_images[:INPUT_SAMPLES].float().div_(255.0)


class _Text:
    """Sample i is the i-th piece of `context` bytes, and what follows each byte of it."""

    def __init__(self, data: torch.Tensor, context: int) -> None:
        self.data, self.context = data, context
        self.offsets = torch.arange(context + 1)

    def __call__(self, indices: torch.Tensor) -> Batch:
        pieces = self.data[indices[:, None] * self.context + self.offsets]
        return pieces[:, :-1].contiguous(), pieces[:, 1:].contiguous()


class Text(Task):
    """`gpt`: the next byte of a text."""

    name, unit = "gpt", "byte"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.size = wgpt.SIZES[config.text("size")]
        self.context = self.units = config.integer("context") or self.size.context
        text, self.source = wgpt.corpus(config.optional("data"))
        held = int(len(text) * wgpt.TEST_SHARE)
        train, test = text[: len(text) - held], text[len(text) - held :]
        train = train[: config.integer("train_samples") or None]
        test = test[: config.integer("test_samples") or None]
        self.train_count = (len(train) - 1) // self.context
        pieces = (len(test) - 1) // self.context
        if self.train_count < 1 or pieces < 1:
            raise wgpt.CorpusError(
                f"{self.source}: {len(train):,} and {len(test):,} bytes to train and to test on are too few "
                f"for a context of {self.context:,}; lower --context"
            )
        self.fetch = _Text(torch.frombuffer(bytearray(train), dtype=torch.uint8), self.context)
        self._test = _Text(torch.frombuffer(bytearray(test), dtype=torch.uint8), self.context)
        every = max(1, pieces * self.context // EVAL_BYTES)
        self._test_pieces = torch.arange(0, pieces, every)
        self.test_count = len(self._test_pieces)
        self.macs = wgpt.macs_per_sample(self.size, self.context)

    def build(self) -> torch.nn.Module:
        config = self.config
        return wgpt.build(self.size, self.context, config.real("dropout"), config.text("activation"))

    def loss(self) -> wmodel.LossFunction:
        """Nats a byte."""
        plain = wmodel.loss_function("cross-entropy")
        return lambda out, y: plain(out.flatten(0, 1), y.flatten())

    def prepare(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        return x.long(), y.long()

    def test_batches(self) -> Iterator[Batch]:
        for part in self._test_pieces.split(max(1, self.config.batch_size)):  # type: ignore[no-untyped-call]
            yield self._test(part)

    def inputs(self) -> torch.Tensor:
        data: torch.Tensor = self.fetch.data  # type: ignore[attr-defined]
        return data[: INPUT_SAMPLES * 100].float()


class _Points:
    def __call__(self, indices: torch.Tensor) -> Batch:
        return LINE_X[indices], LINE_Y[indices]


class Line(Task):
    """`linear`: the handbook's worked example of gradient descent, three samples and J = 1/2 sum of squares.
    Its learning rate of 0.1 diverges (docs/HANDBOOK.md); 0.01 converges to [0, 1]."""

    name, unit, summed, classifies = "linear", "point", True, False
    source = "the handbook's three samples"
    train_count = test_count = 3
    macs = 2

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.fetch = _Points()

    def build(self) -> torch.nn.Module:
        return wmodel.line()

    def loss(self) -> wmodel.LossFunction:
        return wmodel.half_squares

    def prepare(self, x: torch.Tensor, y: torch.Tensor) -> Batch:
        return x, y

    def test_batches(self) -> Iterator[Batch]:
        yield LINE_X, LINE_Y

    def inputs(self) -> torch.Tensor:
        return LINE_X


def load(config: Config, folder: str | None) -> Task:
    """The task of a configuration. `folder`: of the images, None: generated ones."""
    if config.workload == "gpt":
        return Text(config)
    if config.workload == "linear":
        return Line(config)
    return Images(config, folder)
