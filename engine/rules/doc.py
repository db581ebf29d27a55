"""docs/RULES.md, written from the rules: `python -m dctop.engine.rules.doc > docs/RULES.md`."""

from __future__ import annotations

import inspect

from dctop.engine.rules.base import PROBLEMS, RESOURCES, Rule
from dctop.engine.rules.registry import make_rules
from dctop.engine.rules.suppress import ROOTS
from dctop.engine.rules.texts import catalogue, with_thresholds
from dctop.engine.rules.xids import XIDS

INTRO = """# Rules

Generated from the rules (`engine/rules/`) by `python -m dctop.engine.rules.doc`; do not edit.
`dctop rules` lists them, `dctop rules ID` explains one with the thresholds in force, `dctop check` judges a
node or a recording by them.

An **EVENT** fires on one sighting and stays until it is acknowledged or the worker is started again. A
**STATE** fires when its condition has held (`hold_s`), stays for at least 30 s, and ends when it has been
beyond its clear threshold for 30 s or 20 steps; firing again within ten minutes counts up the same
incident. A rule that lacks a signal is unknown, never well: the screen and `dctop check` list what is not
checked. Step rules see steps of training mode past warm-up (20 steps and 10 s), without the first step of
an epoch. What was found in a measurement of inference (`dctop infer`) stands after its end, until it is
acknowledged or the same run is measured again. Everything is judged by the times inside snapshots and run
logs, so a replay gives the alerts that were given live. Where a rule has `every_s` or `every_steps`, it is
asked once in so many seconds of the snapshots' clock or so many steps of its run, for its windows are longer
and costly to go through; in between its answer stands.

Every threshold can be set in `dctop.toml`:

```toml
[rules.disk-fill]
warn_pct = 15
```
"""
NAMES = {
    "oom": "Problem 1: out of memory",
    "utilisation": "Problem 2: low utilisation",
    "inference": "Problem 3: slow inference",
    "convergence": "Problem 4: slow or failed convergence",
    "accuracy": "Problem 5: accuracy drop at inference",
    "compute": "Resource: compute",
    "storage": "Resource: storage",
    "network": "Resource: network",
    "framework": "Resource: framework (run health)",
}
_WORDS = {"i": "note", "w": "warning", "c": "critical"}


def _rule(r: Rule) -> list[str]:
    text = catalogue("en").rules[r.id]
    said = " ".join((inspect.getdoc(type(r)) or "").split())
    lines = [
        f"### {r.id}",
        "",
        f"{'/'.join(_WORDS[s] for s in r.severities)} · {r.kind.upper()} · per {r.scope}",
        "",
        with_thresholds(text.condition, r.t),
        "",
        said,
        "",
        f"- Traps: {text.traps}",
        f"- Source: {r.source}",
        f"- Evidence: {', '.join(text.evidence.values())}",
    ]
    if r.t:
        lines.append("- Thresholds: " + ", ".join(f"`{k}` {v:g}" for k, v in r.t.items()))
    lines.append("- Remedies:")
    for n, remedy in enumerate(text.remedies.values(), 1):
        command = f" `{remedy.command}`" if remedy.command else ""
        more = "; ".join(x for x in (remedy.quantity, remedy.effect) if x)
        lines.append(f"  {n}. {remedy.text}{f' ({more})' if more else ''}{command}")
    return [line.replace("<", "&lt;") if not line.startswith("  ") else line for line in lines] + [""]


def markdown() -> str:
    """The whole page."""
    rules = make_rules()
    out = [INTRO]
    for problem in (*PROBLEMS, *RESOURCES):
        own = [r for r in rules if r.problem == problem]
        out += [f"## {NAMES[problem]}", ""]
        if not own:
            out += ["No rule yet.", ""]
        for r in own:
            out += _rule(r)
    known = {r.id for r in rules}
    out += ["## Causes and symptoms", ""]
    out += ["A symptom is shown under its cause and not counted.", "", "| cause | symptoms |", "|---|---|"]
    for root, symptoms in ROOTS:
        here = [s for s in symptoms if s in known]
        if here and (root in known or root.endswith("*")):
            out.append(f"| `{root}` | {', '.join(f'`{s}`' for s in here)} |")
    out += ["", "## Xid codes", "", "| code | name | action |", "|---|---|---|"]
    out += [f"| {code} | {x.name} | {x.action} |" for code, x in XIDS.items()]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
