"""`dctop rules`: the catalogue of rules; `dctop rules ID`: one of them explained."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError, language

if TYPE_CHECKING:
    from dctop.engine.rules.base import Rule

NAME = "rules"
HELP = TABLE[NAME]
SCHEMA = 1
Json = dict[str, object]


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "id", nargs="?", metavar="ID", help="explain this rule (disk-fill, loss-nonfinite ...)"
    )
    parser.add_argument("--lang", choices=("en", "zh"), help="language of the texts")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file with thresholds")


def run(args: Namespace) -> int:
    from dctop.engine.config import load
    from dctop.engine.rules.registry import make_rules

    config, problems = load(args.config)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    rules: Sequence[Rule] = make_rules(config.rules, config.own_rules)
    lang = language(args.lang, config.lang)
    if args.id is not None:
        rules = [find(args.id, rules)]
    if args.json:
        document = {"schema": SCHEMA, "lang": lang, "rules": [as_json(r, lang) for r in rules]}
        json.dump(document, sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
        print()
    elif args.id is not None:
        print(explained(rules[0], lang))
    else:
        print(listed(rules, lang))
    return 0


def find(rule_id: str, rules: Sequence[Rule]) -> Rule:
    """Raises CommandError naming the nearest id."""
    import difflib

    found = next((r for r in rules if r.id == rule_id), None)
    if found is not None:
        return found
    near = difflib.get_close_matches(rule_id, [r.id for r in rules], 1, 0.4)
    hint = f"did you mean `{near[0]}`?" if near else "`dctop rules` lists them"
    raise CommandError(f"no rule {rule_id}: {hint}")


def listed(rules: Sequence[Rule], lang: str) -> str:
    """One line a rule, by problem."""
    from dctop.engine.rules.texts import text_of, with_thresholds

    width = max(len(r.id) for r in rules)
    lines: list[str] = []
    problem = ""
    for r in sorted(rules, key=lambda r: r.problem):
        if r.problem != problem:
            problem = r.problem
            lines += ["", problem] if lines else [problem]
        lines.append(f"  {r.id:<{width}}  {with_thresholds(text_of(lang, r).condition, r.t)}")
    return "\n".join(lines)


def explained(rule: Rule, lang: str) -> str:
    """Everything there is to know about a rule."""
    from dctop.engine.rules.suppress import symptoms_of
    from dctop.engine.rules.texts import catalogue, text_of, with_thresholds

    text, w = text_of(lang, rule), catalogue(lang).words
    severities = {"i": w["info"], "w": w["warning"], "c": w["critical"]}
    lines = [
        rule.id,
        "",
        f"{w['problem']}: {w[f'problem.{rule.problem}']}",
        f"{w['severity']}: {', '.join(severities[s] for s in rule.severities)}",
        f"{w['kind']}: {w[f'about.{rule.kind}']}",
        "",
        _blanks(text.why),
        "",
        f"{w['condition']}: {with_thresholds(text.condition, rule.t)}",
        f"{w['traps']}: {text.traps}",
        f"{w['source']}: {rule.source}",
    ]
    if rule.t:
        lines += ["", f"{w['thresholds']} ([rules.{rule.id}]):"]
        for name, value in rule.t.items():
            default = rule.thresholds[name]
            was = "" if value == default else f"   ({w['default'].format(value=f'{default:g}')})"
            lines.append(f"  {name} = {value:g}{was}")
    lines += ["", f"{w['evidence']}: " + _blanks(", ".join(text.evidence.values()))]
    for name, said in (("ruled_out", text.ruled_out), ("cost", text.cost)):
        if said:
            lines.append(f"{w[name]}: " + _blanks("; ".join(said.values())))
    roots, symptoms = causes_of(rule.id), symptoms_of(rule.id)
    if roots:
        lines.append(f"{w['causes']}: {', '.join(roots)}")
    if symptoms:
        lines.append(f"{w['symptoms']}: {', '.join(symptoms)}")
    if text.remedies:
        lines += ["", f"{w['remedies']}:"]
    for n, r in enumerate(text.remedies.values(), 1):
        parts = [r.text, r.quantity, f"{w['effect']}: {r.effect}" if r.effect else None, r.command]
        lines.append(f"  {n}. " + _blanks("; ".join(p for p in parts if p)))
    return "\n".join(lines)


def _blanks(text: str) -> str:
    """Fields of a text as blanks to be filled: `<batch>`."""
    return text.replace("{", "<").replace("}", ">")


def causes_of(rule_id: str) -> tuple[str, ...]:
    """Rules under which this one stands as a symptom while they are open."""
    from dctop.engine.rules.suppress import roots_of

    return tuple(r for r in roots_of(rule_id) if r != rule_id)


def as_json(rule: Rule, lang: str) -> Json:
    from dctop.engine.rules.suppress import symptoms_of
    from dctop.engine.rules.texts import text_of, with_thresholds

    text = text_of(lang, rule)
    return {
        "id": rule.id,
        "problem": rule.problem,
        "kind": rule.kind,
        "scope": rule.scope,
        "severities": [{"i": "info", "w": "warning", "c": "critical"}[s] for s in rule.severities],
        "condition": with_thresholds(text.condition, rule.t),
        "thresholds": rule.t,
        "defaults": dict(rule.thresholds),
        "title": text.title,
        "why": text.why,
        "evidence": dict(text.evidence),
        "remedies": [
            {"text": r.text, "quantity": r.quantity, "effect": r.effect, "command": r.command}
            for r in text.remedies.values()
        ],
        "causes": list(causes_of(rule.id)),
        "symptoms": list(symptoms_of(rule.id)),
        "traps": text.traps,
        "source": rule.source,
    }
