"""What healthy controls run: trainings and measurements in which nothing is wrong, of many kinds.

A scenario is one run, or several that belong together: next to each other, or one after the other. Seeds are
fresh: no threshold was ever set on them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FRESH = 500_000
"""Seeds of healthy controls begin here; those of the fault corpora are far below."""
SECONDS = (150.0, 420.0)
"""A run is stopped, as a user stops it, after a time drawn from this range, unless it has ended before."""


@dataclass(frozen=True, slots=True)
class Part:
    """One run of a scenario."""

    config: Mapping[str, Any] = field(default_factory=dict)
    seconds: float | None = None
    """At most so long (None: drawn)."""
    measure: Mapping[str, Any] | None = None
    """Of a measurement of inference of the part before: its options."""
    resume: bool = False
    """It goes on from the last checkpoint of the part before."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`after_another`: its parts in turn; otherwise all at once."""

    name: str
    parts: tuple[Part, ...]
    after_another: bool = False


def _one(name: str, seconds: float | None = None, **config: Any) -> Scenario:
    return Scenario(name, (Part(config, seconds),))


def _turn(name: str, *parts: Part) -> Scenario:
    return Scenario(name, parts, after_another=True)


def _beside(name: str, *configs: Mapping[str, Any]) -> Scenario:
    return Scenario(name, tuple(Part(c) for c in configs))


LONG: dict[str, Any] = {"epochs": 10**5, "max_steps": 0, "eval_every": 10**6, "checkpoint_every": 10**6}
"""Until it is stopped, without pauses."""
PAUSES: dict[str, Any] = {"eval_every": 500, "checkpoint_every": 700, "test_samples": 2000}
GPT: dict[str, Any] = {"workload": "gpt", "size": "nano"}
TRAINED: dict[str, Any] = {"max_steps": 1500, "test_samples": 2000}
SERVED: dict[str, Any] = {"samples": 2000, "max_batch": 32}

SCENARIOS: tuple[Scenario, ...] = (
    _one("cnn", max_steps=18_750, **PAUSES),
    _one("cnn-batch-8", batch_size=8, max_steps=30_000, **PAUSES),
    _one("cnn-batch-64", batch_size=64, max_steps=9_000, **PAUSES),
    _one("cnn-batch-128", batch_size=128, max_steps=4_600, **PAUSES),
    _one("cnn-batch-256", batch_size=256, max_steps=2_400, lr=2e-3, **PAUSES),
    _one("cnn-batch-512", batch_size=512, max_steps=1_200, lr=2e-3, eval_every=100, checkpoint_every=150),
    _one("cnn-no-pauses", **LONG),
    _one("cnn-long", 900.0, weight_decay=1e-4, **LONG),
    _one("cnn-article", 900.0, epochs=10),
    _one("cnn-epochs", train_samples=12_800, epochs=6, weight_decay=1e-4),
    _one("cnn-often-paused", eval_every=60, checkpoint_every=60, test_samples=1000, max_steps=6_000),
    _one("cnn-sgd-0.1", optimizer="sgd", lr=0.1, max_steps=15_000, **PAUSES),
    _one("cnn-sgd-0.01", optimizer="sgd", lr=0.01, max_steps=15_000, **PAUSES),
    _one("cnn-adam-1e-4", lr=1e-4, max_steps=15_000, **PAUSES),
    _one("cnn-adam-1e-2", lr=1e-2, max_steps=8_000, **PAUSES),
    _one("cnn-adamw-clip", optimizer="adamw", weight_decay=0.01, clip=1.0, max_steps=12_000, **PAUSES),
    _one("cnn-clip-tight", clip=0.5, max_steps=9_000, **PAUSES),
    _one("cnn-l1", l1=1e-5, max_steps=9_000, **PAUSES),
    _one("cnn-l2", weight_decay=1e-3, max_steps=9_000, **PAUSES),
    _one("cnn-warmup-cosine", schedule="cosine", warmup_steps=300, max_steps=12_000, **PAUSES),
    _one("cnn-warmup-sgd", schedule="cosine", warmup_steps=500, optimizer="sgd", lr=0.2, max_steps=9_000,
         **PAUSES),
    _one("cnn-steps", schedule="step", max_steps=12_000, **PAUSES),
    _one("cnn-warmup-steps", schedule="step", warmup_steps=200, lr=3e-3, max_steps=9_000, **PAUSES),
    _one("cnn-accumulate", batch_size=16, accumulate=4, max_steps=5_000, **PAUSES),
    _one("cnn-workers-2", workers=2, max_steps=12_000, **PAUSES),
    _one("cnn-workers-1", workers=1, max_steps=12_000, **PAUSES),
    _one("cnn-bf16", precision="bf16", max_steps=6_000, **PAUSES),
    _one("cnn-threads-2", threads=2, max_steps=12_000, **PAUSES),
    _one("cnn-sigmoid", activation="sigmoid", max_steps=9_000, **PAUSES),
    _one("cnn-tanh", activation="tanh", max_steps=9_000, **PAUSES),
    _one("cnn-mse", loss="mse", max_steps=9_000, **PAUSES),
    _one("cnn-digits", synthetic=True, max_steps=9_000, **PAUSES),
    _one("cnn-target", target=0.8, max_steps=15_000, eval_every=200, test_samples=2000),
    _one("cnn-ranks", nproc=2, max_steps=6_000, **PAUSES),
    _one("gpt-nano", **GPT, max_steps=4_000),
    _one("gpt-nano-long", 900.0, **GPT, max_steps=20_000),
    _one("gpt-nano-constant", **GPT, schedule="constant", lr=5e-4, max_steps=4_000),
    _one("gpt-nano-dropout", **GPT, dropout=0.1, max_steps=4_000),
    _one("gpt-nano-accumulate", **GPT, accumulate=4, max_steps=1_500),
    _one("gpt-nano-workers", **GPT, workers=2, max_steps=3_000),
    _one("gpt-micro", workload="gpt", size="micro", max_steps=1_500),
    _one("linear-0.01", workload="linear", lr=0.01, epochs=10**6, max_steps=60_000),
    _turn("cnn-resumed", Part({"max_steps": 30_000, "weight_decay": 1e-4, **PAUSES}, 60.0),
          Part(resume=True)),
    _turn("gpt-resumed", Part({**GPT, "max_steps": 20_000, "checkpoint_every": 200}, 60.0),
          Part({"workload": "gpt"}, resume=True)),
    _turn("infer-steady", Part(TRAINED, 120.0),
          Part(measure={**SERVED, "seconds": 60.0}, seconds=180.0),
          Part(measure={**SERVED, "seconds": 60.0}, seconds=180.0)),
    _turn("infer-batch-8", Part(TRAINED, 120.0),
          Part(measure={**SERVED, "batch_size": 8, "seconds": 60.0}, seconds=180.0)),
    _turn("infer-arrivals-sparse", Part(TRAINED, 120.0),
          Part(measure={**SERVED, "rate": 40.0, "seconds": 120.0}, seconds=300.0)),
    _turn("infer-arrivals-dense", Part(TRAINED, 120.0),
          Part(measure={**SERVED, "rate": 900.0, "seconds": 120.0}, seconds=300.0)),
    _turn("infer-gpt", Part({**GPT, "max_steps": 800}, 150.0),
          Part(measure={"seconds": 60.0, "samples": 200, "max_batch": 8}, seconds=240.0)),
    _beside("beside-cnn-cnn", {"max_steps": 9_000, **PAUSES},
            {"batch_size": 64, "max_steps": 5_000, **PAUSES}),
    _beside("beside-cnn-gpt", {"max_steps": 9_000, **PAUSES}, {**GPT, "max_steps": 3_000}),
    _beside("beside-workers", {"workers": 1, "max_steps": 9_000, **PAUSES}, {"max_steps": 9_000, **PAUSES}),
)  # fmt: skip
BY_NAME = {s.name: s for s in SCENARIOS}


def nth(n: int, only: tuple[str, ...] = ()) -> Scenario:
    """The scenario that is run as number `n` (from 0): all of them in an order drawn anew every round."""
    chosen = [s for s in SCENARIOS if not only or s.name in only]
    turn, place = divmod(n, len(chosen))
    random.Random(FRESH + turn).shuffle(chosen)
    return chosen[place]


def seed_of(n: int, part: int) -> int:
    return FRESH + 10 * n + part


def seconds_of(part: Part, seed: int) -> float:
    return part.seconds if part.seconds is not None else random.Random(seed).uniform(*SECONDS)
