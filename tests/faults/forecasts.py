"""How good `slow-convergence` is: on curves known to their end, with targets each did and did not reach.

    python -m tests.faults.forecasts FOLDER ... [--only SEED ...] --out docs/DIAGNOSIS.md

A run of any kind can be judged for any target: what the rule says of it depends on the log up to then, the
plan and the target. Targets are multiples of the best evaluation (reached: the run would have ended there)
and of the last (not reached).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from dctop.engine.rules.projection import Forecast, SlowConvergence, forecast, looks
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import Window
from dctop.engine.training.runstate import RunState
from dctop.engine.training.watcher import load_run
from tests.faults import sections
from tests.faults.report import grid, share

TITLE = "Forecasts: will a run reach its target?"
REACHED = (1.0, 1.02, 1.05, 1.1, 1.25, 1.5)
MISSED = (0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.4)
CLEAR = 0.8
"""From here on down a target is clearly out of reach."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One run as one of its figures: the loss, or the share of wrong answers."""

    name: str
    of: str
    schedule: str
    total: int
    best: float
    last: float
    told: tuple[Forecast | None, ...]
    """At the rule's looks, in order."""

    def warned(self, target: float) -> float | None:
        """Part of the plan at which the rule would open; None: it would not."""
        t, row = SlowConvergence.thresholds, 0
        fits, room = int(t["fits"]), 1.0 + t["margin_decay" if self.schedule == "cosine" else "margin"]
        for f in self.told:
            missed = f is not None and f.begun and f.least > room * target
            row = row + 1 if missed else 0
            if row >= fits and f is not None:
                return f.step / self.total
        return None


def curves(run: RunState, name: str) -> list[Curve]:
    """Its loss, and its accuracy where it has one, as far as it was evaluated and ran to its plan's end."""
    total = run.config.get("total_steps")
    asked = run.config.get("config")
    asked = asked if isinstance(asked, Mapping) else {}
    if run.status != "finished" or not isinstance(total, int) or run.step != total:
        return []
    out = []
    for of in ("loss", "accuracy"):
        ends = [
            1.0 - y if of == "accuracy" else float(y)
            for e in run.evals if isinstance(y := e.get(of), (int, float))
        ]  # fmt: skip
        if not ends or run.evals[-1].get("step") != total or ends[-1] <= 0:
            continue
        judged = replace(run, config={**run.config, "target_of": of})
        window = RunWindow(Window())
        window.run = judged
        at = looks(window, total, total)
        if at:
            told = tuple(forecast(judged, step) for step in at)
            out.append(Curve(name, of, str(asked.get("schedule")), total, min(ends), ends[-1], told))
    return out


def found(folder: Path, only: Sequence[str] = ()) -> list[tuple[str, Path]]:
    """(name, directory) of all runs below a folder, whatever made them."""
    out = []
    for log in sorted(folder.rglob("steps.jsonl")):
        name = log.parent.parents[2].name
        if not only or any(name.endswith(f"-{seed}") for seed in only):
            out.append((name, log.parent))
    return out


def load(folders: Iterable[Path], only: Sequence[str] = ()) -> list[Curve]:
    out = []
    for folder in folders:
        for name, directory in found(folder, only):
            run = load_run(directory)
            if run is not None and run.workload in ("mnist-cnn", "gpt"):
                out += curves(run, name)
    return out


def text(made: Sequence[Curve], note: str = "") -> str:
    names = len({c.name for c in made})
    parts = [
        f"## {TITLE}\n\n`slow-convergence` on {len(made)} curves (loss or errors) of {names} runs that are "
        "known to their end, judged with targets each did and did not reach. Reached: from the best "
        "evaluation up; such a run would have ended there. Not reached: from the last evaluation down. "
        f"{note}".rstrip(),
        _row_table("targets that were reached", made, REACHED, best=True),
        _row_table("targets that were not", made, MISSED, best=False),
        _summary(made),
        _false(made),
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


GROUPS = (("constant rate", "constant"), ("cosine", "cosine"), ("steps", "step"))


def _row_table(head: str, made: Sequence[Curve], times: Sequence[float], best: bool) -> str:
    rows = []
    for x in times:
        cells = [f"{x:g} x its {'best' if best else 'end'}"]
        for _, schedule in GROUPS:
            own = [c for c in made if c.schedule == schedule]
            at = [c.warned(x * (c.best if best else c.last)) for c in own]
            seen = [a for a in at if a is not None]
            when = f", at {100 * median(seen):.0f} % of the plan" if seen and not best else ""
            cells.append(f"{len(seen)}/{len(own)}{when}" if own else "-")
        rows.append(cells)
    return grid(f"{head} | " + " | ".join(f"warned: {name}" for name, _ in GROUPS), rows)


def _summary(made: Sequence[Curve]) -> str:
    false = [c.warned(x * c.best) is not None for c in made for x in REACHED]
    clear = [c.warned(x * c.last) for c in made for x in MISSED if x <= CLEAR]
    right = sum(w is not None for w in clear)
    all_right = sum(c.warned(x * c.last) is not None for c in made for x in MISSED)
    leads = sorted(1.0 - w for w in clear if w is not None)
    lead = f"{100 * median(leads):.0f} % of the plan" if leads else "-"
    rows = [
        ["false warnings of targets that were reached", share(sum(false), len(false))],
        [f"clear misses (at most {CLEAR:g} x its end) that were told", share(right, len(clear))],
        ["warnings that were right", share(all_right, all_right + sum(false))],
        ["left of the plan when a clear miss was told (median)", lead],
    ]
    return grid("all together | ", rows)


def _false(made: Sequence[Curve]) -> str:
    lines = []
    for c in made:
        wrong = [x for x in REACHED if c.warned(x * c.best) is not None]
        if wrong:
            lines.append(f"- false: {c.name}, {c.of}: {', '.join(f'{x:g}' for x in wrong)} x its best")
    silent = [f"{c.name} ({c.of})" for c in made if c.warned(min(MISSED) * c.last) is None]
    if silent:
        lines.append(f"- silent whatever the target: {', '.join(silent)}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="forecasts", description=__doc__.split("\n\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--only", nargs="*", default=[], help="runs whose name ends in one of these")
    parser.add_argument("--note", default="")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    page = text(load(args.folders, args.only), args.note)
    if args.out is None:
        print(page)
    else:
        sections.write(args.out, page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
