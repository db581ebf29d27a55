"""All rules, in the order of the handbook: problems 1, 2, 4, then the run's health, then the node."""

from __future__ import annotations

from collections.abc import Mapping

from dctop.engine.rules.base import Rule


def rule_classes() -> tuple[type[Rule], ...]:
    from dctop.engine.rules import (
        anomaly,
        compute,
        convergence,
        curves,
        deaths,
        kernel,
        memory,
        network,
        runhealth,
        storage,
        throughput,
    )

    modules = (
        deaths,
        memory,
        throughput,
        compute,
        convergence,
        curves,
        runhealth,
        storage,
        network,
        kernel,
        anomaly,
    )
    return tuple(rule for module in modules for rule in module.RULES)


def make_rules(thresholds: Mapping[str, Mapping[str, float]] | None = None) -> list[Rule]:
    """Fresh instances with the user's thresholds over their own."""
    given = thresholds or {}
    return [rule(given.get(rule.id)) for rule in rule_classes()]
