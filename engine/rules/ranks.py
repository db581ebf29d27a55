"""Runs of several processes: who makes the others wait, and whom they wait for in vain.

All ranks of a data-parallel run end each step together: the fast ones wait for the slow one in the exchange
of gradients, which is part of their backward pass. So the one that waits least is the slow one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from dctop.engine.rules.base import (
    CRITICAL,
    NOT_APPLICABLE,
    WARNING,
    Details,
    Ev,
    Item,
    Needs,
    Occurrence,
    Outcome,
    Prediction,
    Reading,
    Rule,
    RunRule,
    num,
)
from dctop.engine.rules.deaths import age, end_of

if TYPE_CHECKING:
    from dctop.engine.rules.runwindow import RunWindow
    from dctop.engine.training.ranks import RankState


Remedies = list[str | tuple[str, Mapping[str, object]]]
CAUSES = ("data", "h2d", "compute", "other")
"""Where a rank may lose its time; fields of RankState with `_s`."""


def visible(r: RankState) -> float | None:
    """Seconds a step in which waiting can hide: the backward pass and between steps."""
    return None if r.backward_s is None else r.backward_s + (r.wait_s or 0.0)


def comparable(ranks: Sequence[RankState], steps: float) -> list[tuple[float, RankState]]:
    """(visible seconds, rank) of those with enough steps past warm-up."""
    return [(v, r) for r in ranks if r.judged >= steps and r.step_s and (v := visible(r)) is not None]


def waiting(ranks: Sequence[RankState]) -> float:
    """Seconds a step that the first rank, whose steps are the run's, waits for the slowest; 0 where it cannot
    be told."""
    known = comparable(ranks, 1)
    own = next((v for v, r in known if r.rank == 0), None)
    return 0.0 if own is None else own - min(v for v, _ in known)


def balanced(ranks: Sequence[RankState]) -> tuple[list[int], float] | None:
    """(samples for each rank, predicted step) that make all ranks take as long: B_r = sum(B) (1/tau_r) /
    sum(1/tau), step = sum(B) / sum(1/tau), tau = seconds a sample without waiting. None: not known of all."""
    known = comparable(ranks, 1)
    if len(known) != len(ranks) or len(ranks) < 2:
        return None
    least = min(v for v, _ in known)
    taus = [(r.step_s - (v - least)) / r.samples if r.samples and r.step_s else 0.0 for v, r in known]
    if any(t <= 0 for t in taus):
        return None
    total, inverse = sum(r.samples or 0.0 for r in ranks), sum(1.0 / t for t in taus)
    return [round(total / t / inverse) for t in taus], total / inverse


class StragglerWait(RunRule):
    """Of a data-parallel run, (v_victim - v_culprit) / step_victim >= 10 % warning, >= 20 % critical, clear
    below 7 %; v = backward pass and waiting between steps (median of 50 steps), the culprit has the least of
    it, the victim the upper median. A cause is named only where the culprit's own data, copy, compute or
    other time exceeds the victim's by at least 80 % of the gap (TraceML; NVRx score < 0.75). Gaps below 2 ms
    are noise."""

    id = "straggler-wait"
    problem = "utilisation"
    kind = "state"
    severities = "wc"
    in_training = True
    thresholds: ClassVar[Mapping[str, float]] = {
        "warn": 0.10,
        "crit": 0.20,
        "clear": 0.07,
        "cover": 0.80,
        "steps": 40.0,
        "least_s": 0.002,
        "hold_s": 15.0,
    }
    source = "TraceML straggler rules (10/20 %, 80 % coverage); NVRx straggler score"

    def judge(self, run: RunWindow) -> Outcome:
        world = run.config("ranks")
        if not isinstance(world, int) or world < 2:
            return NOT_APPLICABLE
        known = comparable(run.run.ranks, self.t["steps"])
        if len(known) < min(world, 2) or len(known) < len(run.run.ranks):
            return Needs("ranks")
        order = sorted(known, key=lambda item: (item[0], item[1].rank))
        (least, culprit), (most, victim) = order[0], order[len(order) // 2]
        gap, step = most - least, victim.step_s or 0.0
        share = gap / step if step > 0 else 0.0
        if share < self.t["clear"] or gap < self.t["least_s"]:
            return ()
        level = CRITICAL if share >= self.t["crit"] else WARNING if share >= self.t["warn"] else 0
        return (
            Reading(run.id, level, False, lambda: self._details(run, culprit, victim, gap), step=run.step),
        )

    def _details(self, run: RunWindow, culprit: RankState, victim: RankState, gap: float) -> Details:
        step = victim.step_s or 0.0
        more = {c: extra(culprit, victim, c) for c in CAUSES}
        worst = max(more, key=lambda c: (more[c], c))
        cover = more[worst] / gap
        cause = worst if cover >= self.t["cover"] else None
        evidence = [
            Ev("culprit", culprit.rank),
            Ev("gap", 1000 * gap, "ms", f">= {1000 * self.t['warn'] * step:.3g} ms"),
            Ev("share", round(100 * gap / step, 1), "%", f">= {100 * self.t['warn']:g} %"),
            Ev("step", 1000 * step, "ms"),
            *(Ev(c, _pair(culprit, victim, c), "ms") for c in CAUSES),
            Ev("cover", round(100 * cover), "%", f">= {100 * self.t['cover']:g} %"),
            Ev("waits", ", ".join(f"{r.rank}: {1000 * (visible(r) or 0):.3g}" for r in run.run.ranks), "ms"),
        ]
        after = step - gap
        facts = {
            "run": run.id,
            "culprit": culprit.rank,
            "gap": num(1000 * gap),
            "share": num(100 * gap / step),
            "before": num(1000 * step),
            "after": num(1000 * after),
            "extra": num(1000 * more[worst]),
        }
        remedies: Remedies = []
        split = balanced(run.run.ranks)
        if cause == "compute" and split is not None:
            sizes = ", ".join(f"{r.rank}: {b}" for r, b in zip(run.run.ranks, split[0], strict=True))
            remedies.append(("balance", {"sizes": sizes, "predicted": num(1000 * split[1])}))
        remedies.append(cause or "unknown")
        ruled = tuple(c for c in CAUSES if cause is not None and c != cause)
        return Details(evidence, facts, remedies, ruled, variant=cause or "unknown",
                       predicts=Prediction("step_s", after))  # fmt: skip


def extra(culprit: RankState, victim: RankState, cause: str) -> float:
    """Seconds by which the culprit takes longer there."""
    a, b = getattr(culprit, f"{cause}_s"), getattr(victim, f"{cause}_s")
    return 0.0 if a is None or b is None else max(0.0, a - b)


def _pair(culprit: RankState, victim: RankState, cause: str) -> str | None:
    a, b = getattr(culprit, f"{cause}_s"), getattr(victim, f"{cause}_s")
    return None if a is None or b is None else f"{1000 * a:.3g} ({1000 * b:.3g})"


TIMEOUT = re.compile(
    r"Watchdog caught collective operation timeout|collective operation timed out|NCCL[^\n]*time[d ]*out"
    r"|Timed out waiting \d+ *ms for|wait timeout after \d+ *ms",
    re.I,
)
"""ProcessGroupNCCL's watchdog and gloo's transport (torch/csrc/distributed/c10d, gloo/transport)."""
LOST = re.compile(r"Connection (?:closed|reset) by peer|remote process (?:exited|has terminated)|Broken pipe")
"""What a rank says whose neighbour is gone."""


class _Collective(RunRule):
    """Reads how a run of several ranks ended."""

    problem = "framework"
    kind = "event"
    severities = "c"
    after_end = True
    of_events = True

    def judge(self, run: RunWindow) -> Outcome:
        world = run.config("ranks") or run.config("config", "nproc")
        if not isinstance(world, int) or world < 2:
            return NOT_APPLICABLE
        out: list[Item] = []
        for e in run.new_events:
            if e.kind in ("exception", "end"):
                old = age(run.node, e.wall_ns) if not run.active else "fresh"
                details = None if old == "gone" else self.told(run, e.text, e.data, world)
                if details is not None:
                    out.append(Occurrence(run.id, CRITICAL, run.id, e.wall_ns, details, e.step, old == "old"))
        return out

    def told(self, run: RunWindow, text: str, data: Mapping[str, Any], world: int) -> Details | None:
        raise NotImplementedError


class NcclTimeout(_Collective):
    """A collective operation ran into its time-out (NCCL's watchdog, 10 minutes by default; gloo's
    transport). Which rank did not come is told by the flight recorder, if it was switched on before."""

    id = "nccl-timeout"
    source = "torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp; torch_nccl_environment_variables"

    def told(self, run: RunWindow, text: str, data: Mapping[str, Any], world: int) -> Details | None:
        said = f"{text}\n{data.get('traceback') or ''}\n{data.get('stderr') or ''}"
        found = TIMEOUT.search(said)
        if found is None:
            return None
        steps = {r.rank: r.step for r in run.run.ranks}
        behind = min(steps, key=lambda k: (steps[k], k)) if len(set(steps.values())) > 1 else None
        evidence = [
            Ev("said", said[max(0, found.start() - 80) : found.end() + 160].strip()),
            Ev("ranks", world),
            Ev("steps", ", ".join(f"{k}: {v:,}" for k, v in steps.items()) or None),
            Ev("behind", behind),
        ]
        facts = {"run": run.id, "ranks": world, "behind": "?" if behind is None else behind,
                 "step": num(run.step, 9)}  # fmt: skip
        return Details(evidence, facts, ["recorder", "stacks"])


class RankMissing(_Collective):
    """A rank is gone: the launcher says which (its exit code or signal), or another rank says that the line
    to it is dead. The others cannot go on without it. MegaScale calls this the missing heartbeat."""

    id = "rank-missing"
    source = "torch.distributed.elastic ChildFailedError; gloo and NCCL transport errors; MegaScale"

    def told(self, run: RunWindow, text: str, data: Mapping[str, Any], world: int) -> Details | None:
        rank, signal, code = (data.get(k) for k in ("rank", "signal", "rank_exit_code"))
        end = end_of(run.run)
        if rank is None and end is not None:
            rank, signal, code = (end.data.get(k) for k in ("rank", "signal", "rank_exit_code"))
        lost = LOST.search(text) is not None
        if rank is None and not lost:
            return None
        evidence = [
            Ev("rank", rank if isinstance(rank, int) else None),
            Ev("signal", signal if isinstance(signal, str) else None),
            Ev("code", code if isinstance(code, int) else None),
            Ev("said", text[:300] or None),
            Ev("ranks", world),
        ]
        facts = {
            "run": run.id,
            "rank": "?" if rank is None else rank,
            "ranks": world,
            "said": text[:160] or "?",
            "step": num(run.step, 9),
            "how": signal or ("?" if code is None else f"exit code {code}"),
        }
        return Details(evidence, facts, ["rank", "resume"], variant="unnamed" if rank is None else None)


RULES: tuple[type[Rule], ...] = (StragglerWait, NcclTimeout, RankMissing)
