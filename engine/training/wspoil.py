"""Faults of tier B: the pathology itself, planted in data, labels, weights and evaluation.

Worker side; needs no torch to import. Everything is decided by the step alone, so a loader process does the
same as the training one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from dctop.engine.training.wbatches import Batch
    from dctop.engine.training.wfaults import Fault
    from dctop.engine.training.wtasks import Task

_SEED = 20_261_128


class Spoiler:
    """Applies the faults of tier B that are active at a step."""

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._step = 0
        """Of the inputs seen last: what gradients are of."""
        self._classes: list[torch.Tensor] = []
        """Samples of each class, where the order goes by them."""
        self._same: torch.Tensor | None = None

    def _active(self, name: str, step: int) -> Fault | None:
        return next((f for f in self._faults if f.name == name and f.active(step)), None)

    def _planted(self, name: str) -> Fault | None:
        return next((f for f in self._faults if f.name == name), None)

    def spoil_set(self, task: Task) -> None:
        """labels-random, labels-confused, few-samples, imbalance: the training set, in place."""
        import torch

        few = self._planted("few-samples")
        if few is not None:
            task.train_count = min(task.train_count, max(1, int(few.magnitude)))
        labels = getattr(task.fetch, "labels", None)
        if labels is None:
            return
        rng = torch.Generator().manual_seed(_SEED)
        lot, thin = self._planted("labels-random"), self._planted("imbalance")
        if lot is not None:
            struck = torch.rand(len(labels), generator=rng) < lot.magnitude
            labels[struck] = torch.randint(0, len(task.classes), (int(struck.sum()),), generator=rng)
        if thin is not None:
            images = task.fetch.images  # type: ignore[attr-defined]
            kept = (labels != 0) | (torch.rand(len(labels), generator=rng) < thin.magnitude / 100)
            task.fetch.images, task.fetch.labels = images[kept], labels[kept]  # type: ignore[attr-defined]
            task.train_count = min(task.train_count, int(kept.sum()))
        confused = self._planted("labels-confused")
        if confused is not None:
            labels[(labels == 3) & (torch.rand(len(labels), generator=rng) < confused.magnitude)] = 4
        if self._planted("by-class") is not None:
            own = labels[: task.train_count]
            self._classes = [torch.nonzero(own == k)[:, 0] for k in range(len(task.classes))]

    def spoil_order(self, step: int, indices: torch.Tensor) -> torch.Tensor:
        """same-batch, by-class: which samples are read."""
        if self._active("same-batch", step) is not None:
            if self._same is None:
                self._same = indices
            return self._same
        sorted_ = self._active("by-class", step)
        if sorted_ is None or not self._classes:
            return indices
        of = self._classes[step // max(1, int(sorted_.magnitude)) % len(self._classes)]
        return of[indices % max(1, len(of))] if len(of) else indices

    def spoil_model(self, model: torch.nn.Module) -> torch.nn.Module:
        """init, bias, deep-sigmoid, frozen, detached: how the network begins."""
        import torch

        init, bias, deep = self._planted("init"), self._planted("bias"), self._planted("deep-sigmoid")
        if deep is not None:
            layers = list(model.children())
            width = layers[-1].in_features
            extra: list[torch.nn.Module] = []
            for _ in range(int(deep.magnitude)):
                extra += [torch.nn.Linear(width, width), torch.nn.Sigmoid()]  # type: ignore[arg-type]
            model = torch.nn.Sequential(*layers[:-1], *extra, layers[-1])
        with torch.no_grad():
            if init is not None:
                for weight in model.parameters():
                    if weight.ndim > 1:
                        weight.mul_(init.magnitude)
            if bias is not None:
                hidden = [p for p in model.parameters() if p.ndim == 1][:-1]
                for values in hidden:
                    values.fill_(-bias.magnitude)
        self._hold(model)
        if self._planted("grad-scale") is not None:
            for weight in model.parameters():
                weight.register_hook(self._scaled)  # type: ignore[no-untyped-call]
        return model

    def _scaled(self, gradient: torch.Tensor) -> torch.Tensor:
        """grad-scale."""
        fault = self._active("grad-scale", self._step)
        return gradient if fault is None else gradient * fault.magnitude

    def _hold(self, model: torch.nn.Module) -> None:
        """Layers that are not to learn."""
        layers = [m for m in model.modules() if any(p.ndim > 1 for p in m.parameters(recurse=False))]
        frozen, detached = self._planted("frozen"), self._planted("detached")
        if frozen is not None:
            for layer in layers[: int(frozen.magnitude)]:
                layer.requires_grad_(False)
        if detached is not None:
            # A module in between would rename those behind it in checkpoints.
            last = layers[max(0, min(len(layers), int(detached.magnitude)) - 1)]
            last.register_forward_hook(lambda _module, _inputs, out: out.detach())

    def spoil_batch(self, step: int, batch: Batch) -> Batch:
        """labels-permuted."""
        x, y = batch
        if self._active("labels-permuted", step) is None:
            return batch
        import torch

        rng = torch.Generator().manual_seed(_SEED + step)
        return x, y[torch.randperm(len(y), generator=rng)]

    def spoil_inputs(self, step: int, inputs: torch.Tensor) -> torch.Tensor:
        """nan, input-scale."""
        self._step = step
        if self._active("nan", step) is not None:
            inputs.view(-1)[0] = float("nan")
        scale = self._active("input-scale", step)
        return inputs if scale is None else inputs * scale.magnitude

    def spoil_evaluation(self, step: int, inputs: torch.Tensor) -> torch.Tensor:
        """eval-raw: what training divided by 255 is not. eval-shuffled: each label has the sample before."""
        if self._active("eval-shuffled", step) is not None:
            inputs = inputs.roll(1, 0)
        return inputs if self._active("eval-raw", step) is None else inputs * 255.0
