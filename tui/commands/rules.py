"""`dctop rules`: the catalogue of rules; `dctop rules ID`: one of them explained."""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError

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


def language(asked: str | None, configured: str | None) -> str:
    """`--lang`, else the configuration's, else the locale's: `en` or `zh`."""
    import os

    found = next((os.environ[v] for v in ("LC_ALL", "LC_MESSAGES", "LANG") if os.environ.get(v)), "")
    return asked or configured or ("zh" if found.lower().startswith("zh") else "en")


def run(args: Namespace) -> int:
    from dctop.engine.config import load
    from dctop.engine.rules.engine import unknown_thresholds
    from dctop.engine.rules.registry import make_rules

    config, problems = load(args.config)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    rules: Sequence[Rule] = make_rules(config.rules)
    for name in unknown_thresholds(rules, config.rules):
        print(f"dctop: rules.{name} in dctop.toml is no threshold: see `dctop rules`", file=sys.stderr)
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
    from dctop.engine.rules.texts import catalogue, with_thresholds

    texts = catalogue(lang).rules
    width = max(len(r.id) for r in rules)
    lines: list[str] = []
    problem = ""
    for r in sorted(rules, key=lambda r: r.problem):
        if r.problem != problem:
            problem = r.problem
            lines += ["", problem] if lines else [problem]
        lines.append(f"  {r.id:<{width}}  {with_thresholds(texts[r.id].condition, r.t)}")
    return "\n".join(lines)


def explained(rule: Rule, lang: str) -> str:
    """Everything there is to know about a rule."""
    from dctop.engine.rules.texts import catalogue, with_thresholds

    c = catalogue(lang)
    text, w = c.rules[rule.id], c.words
    severities = {"i": w["info"], "w": w["warning"], "c": w["critical"]}
    lines = [
        rule.id,
        "",
        f"{w['problem']}: {rule.problem}",
        f"{w['severity']}: {', '.join(severities[s] for s in rule.severities)}",
        "",
        text.why.replace("{", "<").replace("}", ">"),
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
    lines += [
        "",
        f"{w['evidence']}: " + ", ".join(text.evidence.values()).replace("{", "<").replace("}", ">"),
    ]
    lines += ["", f"{w['remedies']}:"]
    for n, r in enumerate(text.remedies.values(), 1):
        parts = [r.text, r.quantity, f"{w['effect']}: {r.effect}" if r.effect else None, r.command]
        said = "; ".join(p for p in parts if p).replace("{", "<").replace("}", ">")
        lines.append(f"  {n}. {said}")
    return "\n".join(lines)


def as_json(rule: Rule, lang: str) -> Json:
    from dctop.engine.rules.texts import catalogue, with_thresholds

    text = catalogue(lang).rules[rule.id]
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
        "traps": text.traps,
        "source": rule.source,
    }
