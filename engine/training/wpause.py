"""What happens between steps: data loaded, evaluations, ends of epochs, checkpoints, resuming.

Worker side; imported after torch. Plain functions on the trainer, which calls them in their own mode.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from dctop.engine.training import wckpt, wdata, wfetch, winputs, wtasks
    from dctop.engine.training.wconfig import Refused
    from dctop.engine.training.wtrain import Trainer
else:
    import wckpt
    import wdata
    import wfetch
    import winputs
    import wtasks
    from wconfig import Refused

PROGRESS_S = 0.5


def load_task(trainer: Trainer, folder: str | None) -> wtasks.Task:
    """The workload with its data; downloaded first where that was asked for and the set is not here."""
    config = trainer.config
    wanted = config.text("download")
    asked = config.workload == "mnist-cnn" and wanted != "no" and not config.optional("data")
    if asked and (folder is None or (wdata.identify(folder) or "").lower() != wanted):
        folder = None
        if trainer.ranks.first:
            folder = _download(trainer, wanted)
        trainer.ranks.meet()
        folder = folder or wdata.find(wfetch.folder(wanted))
    return wtasks.load(config, folder)


def _download(trainer: Trainer, name: str) -> str:
    due = [0.0]

    def progress(what: str, done: int, total: int | None) -> None:
        if time.monotonic() < due[0] and done != total:
            return
        due[0] = time.monotonic() + PROGRESS_S
        share = f"{done / total:.0%} of {total / 1e6:.1f} MB" if total else f"{done / 1e6:.1f} MB"
        text = f"downloading {what}: {share}"
        trainer.log.event("progress", text, trainer.step, what=what, done_bytes=done, total_bytes=total)
        print(text, flush=True)

    return wfetch.fetch(name, progress, lambda: trainer.wishes.stop is not None)


def end_epoch(trainer: Trainer) -> None:
    """Loss and accuracy of this rank's samples while training; accuracy over the steps it was measured in."""
    trainer.take(wait=True)
    loss_sum, samples, right, judged = trainer.sums
    if not samples:
        return
    loss = loss_sum / (1 if trainer.task.summed else samples)
    accuracy = right / judged if judged else None
    seconds = time.monotonic() - trainer.epoch_begun
    text = f"epoch {trainer.epoch}: loss {loss:.4f}"
    if accuracy is not None:
        text += f", accuracy {accuracy:.4f}"
    trainer.log.event(
        "epoch", text, trainer.step, epoch=trainer.epoch, loss=loss, accuracy=accuracy, seconds=seconds
    )
    # An epoch of the worked example is one step: its lines are in the log, not on the screen.
    if trainer.ranks.first and trainer.steps_per_epoch > 1:
        print(text, flush=True)


@torch.no_grad()
def evaluate(trainer: Trainer) -> None:
    """Loss (mean a sample; linear: J) and accuracy on the test set, recall a class. A wish to stop ends it
    without a result."""
    begun = time.monotonic()
    task, planter = trainer.task, trainer.planter
    classes = len(task.classes)
    counts = torch.zeros(2, max(1, classes), dtype=torch.int64)
    """Row 0: right, row 1: all, a class."""
    loss_sum, samples, right, judged = 0.0, 0, 0, 0
    fed: dict[str, object] | None = None
    trainer.model.eval()
    try:
        for x, y in task.test_batches():
            if trainer.wishes.stop is not None:
                return
            x, y = task.prepare(x.to(trainer.device), y.to(trainer.device))
            if planter is not None:
                x = planter.evaluated(trainer.step, x)
            if not samples:
                fed = winputs.told(x)
            with trainer.precision.autocast():
                out = trainer.model(x)
                loss = trainer.loss(out, y)
            trainer.log.tick()
            samples += len(x)
            loss_sum += loss.item() * (1 if task.summed else len(x))
            if not task.classifies:
                continue
            hit = task.hits(out, y)
            right += int(hit.sum())
            judged += hit.numel()
            if classes:
                counts[0] += torch.bincount(y[hit], minlength=classes).cpu()
                counts[1] += torch.bincount(y, minlength=classes).cpu()
    finally:
        trainer.model.train()
    hits, totals = counts.tolist()
    recall = [h / t if t else None for h, t in zip(hits, totals)] if classes else None
    mean = loss_sum if task.summed else loss_sum / samples
    trainer.accuracy = accuracy = right / judged if judged else None
    trainer.score = accuracy if task.higher_is_better else mean
    text = (
        f"step {trainer.step:,}: test loss {mean:.4g}"
        if accuracy is None
        else (f"step {trainer.step:,}: test loss {mean:.4f}, test accuracy {accuracy:.4f}")
    )
    trainer.log.event(
        "eval", text, trainer.step, epoch=trainer.epoch, loss=mean, accuracy=accuracy, recall=recall,
        samples=samples, inputs=fed, seconds=time.monotonic() - begun,
    )  # fmt: skip
    print(text, flush=True)


def checkpoint(trainer: Trainer) -> None:
    """Save; a failure is an event, never the end of the training."""
    log, step = trainer.log, trainer.step
    if trainer.not_finite_since is not None:
        text = "no checkpoint: the loss is not finite; the last good one stays"
        log.event("checkpoint", text, step, ok=False, error=text)
        return
    best = _is_best(trainer)
    try:
        saved = wckpt.save(trainer.checkpoints, step, _state(trainer), best)
    except wckpt.CheckpointError as error:
        text = f"checkpoint failed: {error}"
        log.event(
            "checkpoint", text, step, ok=False, error=str(error), errno=error.code,
            directory=trainer.checkpoints,
        )  # fmt: skip
        print(text, flush=True)
        return
    if best:
        trainer.best = trainer.score
    text = f"saved {os.path.basename(saved.path)}" + (", the best so far" if best else "")
    log.event(
        "checkpoint", text, step, ok=True, path=saved.path, bytes=saved.bytes, seconds=saved.seconds,
        best=best,
    )  # fmt: skip


def _is_best(trainer: Trainer) -> bool:
    score, best = trainer.score, trainer.best
    if score is None or best is None:
        return score is not None
    return score > best if trainer.task.higher_is_better else score < best


def _state(trainer: Trainer) -> dict[str, object]:
    scaler, config = trainer.precision.scaler, trainer.config
    return {
        "format": wckpt.FORMAT, "workload": trainer.task.name, "step": trainer.step,
        "config": {k: v for k, v in config.values.items() if isinstance(v, (str, int, float, bool))},
        "model": trainer.model.state_dict(), "optimizer": trainer.optimizer.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "rng": torch.get_rng_state(),
        "best": trainer.best, "best_accuracy": trainer.best if trainer.task.higher_is_better else None,
        "activation": str(config.values.get("activation")), "classes": list(trainer.task.classes),
        "input": trainer.inputs.reference,
    }  # fmt: skip


def resume(trainer: Trainer, path: str) -> None:
    """Go on from a checkpoint. Raises Refused: it does not fit this run, or nothing is left to do."""
    state = wckpt.load(path)
    try:
        trainer.model.load_state_dict(state["model"])  # type: ignore[arg-type]
        trainer.optimizer.load_state_dict(state["optimizer"])  # type: ignore[arg-type]
        # What was asked for now counts, not what the checkpoint was trained with.
        for group in trainer.optimizer.param_groups:
            group["lr"] = trainer.config.lr
        if trainer.precision.scaler is not None and state.get("scaler"):
            trainer.precision.scaler.load_state_dict(state["scaler"])  # type: ignore[arg-type]
        torch.set_rng_state(state["rng"])  # type: ignore[arg-type]
        trainer.step = int(state["step"])  # type: ignore[call-overload]
        best = state.get("best", state.get("best_accuracy"))
        trainer.best = float(best) if isinstance(best, (int, float)) else None
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        line = str(error).strip().split("\n")[0][:200]
        raise Refused(f"{path}: does not fit this run ({type(error).__name__}: {line})") from None
    trainer.log.event("note", f"resumed after step {trainer.step:,} from {path}", trainer.step, path=path)
    if trainer.step >= trainer.total_steps:
        done = f"{path} is at step {trainer.step:,} of {trainer.total_steps:,}"
        raise Refused(f"{done}: nothing is left to do; raise --epochs")
