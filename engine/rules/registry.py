"""All rules, in the order of the handbook: problems 1 to 5, then the run's health, then the node."""

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
        energy,
        evals,
        exposure,
        gpu_choice,
        gpu_events,
        gpu_host,
        gpu_memory,
        gpu_spread,
        gpu_states,
        gpu_use,
        inference,
        inferflags,
        inputs,
        kernel,
        layers,
        learning,
        loaders,
        memory,
        network,
        outcome,
        projection,
        ranks,
        runhealth,
        serving,
        storage,
        throughput,
    )

    modules = (
        deaths,
        memory,
        gpu_memory,
        throughput,
        compute,
        gpu_use,
        gpu_host,
        gpu_spread,
        gpu_choice,
        ranks,
        gpu_events,
        gpu_states,
        inference,
        inferflags,
        convergence,
        layers,
        curves,
        learning,
        projection,
        inputs,
        evals,
        serving,
        runhealth,
        loaders,
        outcome,
        storage,
        network,
        kernel,
        energy,
        exposure,
        anomaly,
    )
    return tuple(rule for module in modules for rule in module.RULES)


def make_rules(
    thresholds: Mapping[str, Mapping[str, float]] | None = None,
    own: Mapping[str, Mapping[str, object]] | None = None,
) -> list[Rule]:
    """Fresh instances with the user's thresholds over their own, then the user's own rules."""
    given = thresholds or {}
    rules: list[Rule] = [rule(given.get(rule.id)) for rule in rule_classes()]
    if own:
        from dctop.engine.rules.own import make_own

        rules += make_own({name: table for name, table in own.items() if all(r.id != name for r in rules)})
    return rules
