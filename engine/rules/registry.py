"""All rules, in the order of the handbook: problems 1, 2, 4, then the run's health, then the node."""

from __future__ import annotations

from collections.abc import Mapping

from dctop.engine.rules.base import Rule


def rule_classes() -> tuple[type[Rule], ...]:
    from dctop.engine.rules import (
        compute,
        convergence,
        curves,
        deaths,
        gpu_events,
        gpu_states,
        kernel,
        memory,
        network,
        runhealth,
        storage,
        throughput,
    )

    modules = (
        deaths, memory, throughput, compute, gpu_events, gpu_states, convergence, curves, runhealth, storage,
        network, kernel,
    )  # fmt: skip
    return tuple(rule for module in modules for rule in module.RULES)


def make_rules(thresholds: Mapping[str, Mapping[str, float]] | None = None) -> list[Rule]:
    """Fresh instances with the user's thresholds over their own."""
    given = thresholds or {}
    return [rule(given.get(rule.id)) for rule in rule_classes()]
