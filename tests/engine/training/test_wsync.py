"""Blocking calls are timed in the steps that are looked at, and torch is left as it was in the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dctop.engine.training.wsync import BLOCKING, EVERY, SyncWatch


class Log:
    """Keeps events."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def event(self, kind: str, text: str, step: int | None = None, /, **data: Any) -> None:
        self.events.append({"kind": kind, "text": text, "step": step, **data})


def watch(applies: bool = True) -> tuple[SyncWatch, Log]:
    log = Log()
    return SyncWatch(log, lambda _: applies), log  # type: ignore[arg-type]


def test_only_every_twentieth_step_is_timed_and_torch_is_its_own_again() -> None:
    made, _ = watch()
    own = {name: torch.Tensor.__dict__.get(name) for name in BLOCKING}
    made.begin(EVERY - 1)
    assert {name: torch.Tensor.__dict__.get(name) for name in BLOCKING} == own
    assert made.end(EVERY - 1, 1.0) is None
    made.begin(EVERY)
    assert torch.Tensor.__dict__.get("item") is not own["item"]
    assert torch.ones(3).sum().item() == 3.0
    spent = made.end(EVERY, 1.0)
    assert spent is not None and spent > 0
    assert {name: torch.Tensor.__dict__.get(name) for name in BLOCKING} == own


@pytest.mark.parametrize(
    "read",
    [lambda t: t.item(), lambda t: float(t), lambda t: bool(t), lambda t: t.tolist(), lambda t: int(t)],
)
def test_every_way_to_wait_is_seen_with_its_place(read: Any) -> None:
    made, log = watch()
    made.begin(EVERY)
    read(torch.ones(1))
    assert made.end(EVERY, 1e-9)
    assert len(log.events) == 1
    name = Path(__file__).name
    assert log.events[0]["sync_site"].startswith(name) and log.events[0]["sync_s"] > 0


def test_a_place_is_told_once_and_a_short_wait_not_at_all() -> None:
    made, log = watch()
    for step, length in ((EVERY, 1e9), (2 * EVERY, 1e-9), (3 * EVERY, 1e-9)):
        made.begin(step)
        torch.ones(1).item()
        made.end(step, length)
    assert len(log.events) == 1


def test_tensors_of_the_host_do_not_block() -> None:
    made, log = watch(applies=False)
    made.begin(EVERY)
    torch.ones(1).item()
    assert made.end(EVERY, 1e-9) == 0.0 and not log.events


def test_an_exception_in_a_timed_step_leaves_torch_as_it_was() -> None:
    made, _ = watch()
    made.begin(EVERY)
    with pytest.raises(RuntimeError):
        torch.ones(2).item()
    made.close()
    assert "item" not in torch.Tensor.__dict__
