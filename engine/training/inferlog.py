"""Reads what an inference measurement wrote into its run log (docs/RUNLOG.md). Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dctop.engine.training.folder import INFER

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState

PARTS = ("coldstart", "inputs", "determinism", "latency", "throughput", "eval", "baseline")
"""Kinds of events that carry results, in the order in which they are measured."""


def results(run: RunState) -> dict[str, Mapping[str, Any]]:
    """The measured parts by kind (`PARTS`), whole ones only (no single windows)."""
    found: dict[str, Mapping[str, Any]] = {}
    for event in run.events:
        if event.kind in PARTS and not (event.kind == "latency" and event.data.get("window") is not None):
            found[event.kind] = event.data
    return found


def findings(run: RunState) -> list[str]:
    """One line for each thing that is not as it should be."""
    parts = results(run)
    out: list[str] = []
    inputs, quality, latency = parts.get("inputs", {}), parts.get("eval", {}), parts.get("latency", {})
    if inputs.get("mismatch"):
        factor = inputs.get("factor")
        by = f": divide by {factor:.0f}" if isinstance(factor, float) and factor > 1 else ""
        out.append(f"the inputs are not what the model was trained on{by}")
    trained = quality.get("trained") or {}
    z, drop = trained.get("z"), trained.get("drop_pp")
    if isinstance(z, float) and z > 3 and isinstance(drop, float) and drop >= 1:
        out.append(f"accuracy is {drop:.1f} points below the training's own evaluation (z {z:.1f})")
    ratio = trained.get("nll_ratio")
    if isinstance(ratio, float) and ratio > 2:
        out.append(f"NLL is {ratio:.1f} times the training's own evaluation")
    if parts.get("determinism", {}).get("ok") is False:
        out.append("the same batch gives different answers (training mode? nondeterministic kernels?)")
    slo = latency.get("slo") or {}
    if isinstance(slo.get("share"), float) and slo["share"] > 0.01:
        out.append(f"{100 * slo['share']:.1f} % of the requests are slower than {1000 * slo['limit_s']:g} ms")
    out += [str(line) for line in parts.get("baseline", {}).get("findings") or ()]
    return out


def measurements_of(runs: Sequence[RunState], run_id: str) -> list[RunState]:
    """Measurements of a run, newest first."""
    return [r for r in runs if r.workload == INFER and (r.config.get("measures") or {}).get("run") == run_id]
