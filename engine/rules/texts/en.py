"""English: the families' texts and the words around them. zh.py has the same keys and fields."""

from __future__ import annotations

from dctop.engine.rules.texts import (
    Catalogue,
    RuleText,
    en_anomaly,
    en_compute,
    en_convergence,
    en_evals,
    en_gpu,
    en_health,
    en_learning,
    en_memory,
    en_network,
    en_storage,
    en_utilisation,
)
from dctop.engine.rules.texts.en_report import REPORT

FAMILIES = (
    en_memory,
    en_utilisation,
    en_compute,
    en_gpu,
    en_convergence,
    en_health,
    en_learning,
    en_evals,
    en_storage,
    en_network,
    en_anomaly,
)

# fmt: off
NEEDS: dict[str, str] = {
    "run": "a training run",
    "reading": "a first reading",
    "probe": "fresh readings of the {arg} probe",
    "series": "the metric {arg}",
    "field": "the field {arg} in the run log",
    "steps": "{arg} training steps past warm-up",
    "evals": "{arg} evaluations",
    "classes": "the number of classes and cross-entropy as loss",
    "learning": "a minute of readings to learn what is usual",
    "history": "{arg} of readings",
    "fault": "a mended rule: {arg}",
}

WORDS: dict[str, str] = {
    "none": "No findings.",
    "findings": "{n} findings",
    "why": "why",
    "evidence": "evidence",
    "remedies": "what to do",
    "ruled_out": "ruled out",
    "cost": "cost",
    "symptoms": "symptoms of it",
    "step": "step {n}",
    "times": "{n} times",
    "still": "still open at the end",
    "open": "open",
    "earlier": "Before that",
    "not_checked": "Not checked",
    "needs": "needs {what}",
    "threshold": "threshold",
    "problem": "problem",
    "severity": "severity",
    "kind": "kind",
    "condition": "condition",
    "source": "source",
    "traps": "false alarms avoided",
    "thresholds": "thresholds in force",
    "default": "default {value}",
    "effect": "expected",
    "verdict": "verdict",
    "verdict.met": "Applied ({change}): {what} predicted {predicted}, observed {observed} ({off} %) in {run}: met.",
    "verdict.missed": "Applied ({change}): {what} predicted {predicted}, observed {observed} ({off} %) in {run}: not met.",
    "verdict.survived": "Applied ({change}): {run} is past step {step}; the one before fell at step {before}.",
    "verdict.fell": "Applied ({change}): {run} ended at step {step} as well.",
    "field.step_s": "step",
    "causes": "may be a symptom of",
    "about.event": "EVENT: fires on one sighting and stays until it is acknowledged or the worker starts again",
    "about.state": "STATE: fires when the condition has held, ends when it has been well for 30 s or 20 steps",
    "problem.oom": "1 out of memory",
    "problem.utilisation": "2 low utilisation",
    "problem.inference": "3 slow inference",
    "problem.convergence": "4 slow or failed convergence",
    "problem.accuracy": "5 accuracy drop at inference",
    "problem.compute": "compute",
    "problem.storage": "storage",
    "problem.network": "network",
    "problem.framework": "framework",
    "event": "EVENT",
    "state": "STATE",
    "info": "note",
    "warning": "warning",
    "critical": "critical",
}

RULES: dict[str, RuleText] = {key: text for family in FAMILIES for key, text in family.RULES.items()}

CATALOGUE = Catalogue(RULES, NEEDS, WORDS, REPORT)
