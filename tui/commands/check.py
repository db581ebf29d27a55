"""`dctop check`: judge this node now. `dctop check FILE`: judge a recording, every frame of it.

Exit status: 0 no findings, 1 findings (a warning or worse), 2 bad usage. Notes and what happened before
the check began are told and are no findings.
"""

from __future__ import annotations

import json
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from dctop.tui.commands import TABLE, CommandError

if TYPE_CHECKING:
    from dctop.engine.config import Config
    from dctop.engine.rules.alert import Alert, Evidence

NAME = "check"
HELP = TABLE[NAME]
SCHEMA = 1
FOR_S = 5.0
Json = dict[str, object]
NotChecked = tuple[tuple[str, str], ...]


def seconds(text: str) -> float:
    """An argument: a duration between 1 s and a day."""
    try:
        value = float(text.removesuffix("s"))
    except ValueError:
        value = 0.0
    if not 1.0 <= value <= 86_400.0:
        raise ArgumentTypeError(f"{text} is not a number of seconds from 1 to 86400")
    return value


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a recording (.dctop); none: this node"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument(
        "--for", dest="duration", type=seconds, default=FOR_S, metavar="S",
        help=f"watch this node so long before judging ({FOR_S:g} s); rules over minutes need as many",
    )  # fmt: skip
    parser.add_argument("--lang", choices=("en", "zh"), help="language of the texts")
    parser.add_argument("--config", type=Path, metavar="FILE", help="configuration file with thresholds")
    parser.epilog = "Exit status: 0 no findings, 1 findings (a warning or worse), 2 bad usage."


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check found."""

    source: str
    """`live`, or the file."""
    begin_ns: int
    end_ns: int
    alerts: Sequence[Alert]
    """In order of opening for a file, gravest first for a node."""
    not_checked: NotChecked

    @property
    def earlier(self) -> list[Alert]:
        """What had happened before the check began."""
        return [a for a in self.alerts if _is_history(a)]

    @property
    def roots(self) -> list[Alert]:
        return [a for a in self.alerts if a.suppressed_by is None and not _is_history(a)]

    def symptoms(self, root: Alert) -> list[Alert]:
        """Its own entity's, and those of entities that have no such root themselves."""
        others = {a.entity for a in self.alerts if a.rule == root.rule and a is not root}
        return [
            a
            for a in self.alerts
            if a.suppressed_by == root.rule
            and a is not root
            and (a.entity == root.entity or a.entity not in others)
        ]

    @property
    def bad(self) -> bool:
        """A warning or worse: of a node now, of a recording at any time."""
        return any(a.severity != "info" and (a.open or self.source != "live") for a in self.roots)


def _is_history(a: Alert) -> bool:
    return a.kind == "event" and a.severity == "info" and a.state == "closed" and not a.acked


def run(args: Namespace) -> int:
    from dctop.engine.config import load
    from dctop.tui.commands import language

    config, problems = load(args.config)
    for problem in problems:
        print(f"dctop: {problem}", file=sys.stderr)
    lang = language(args.lang, config.lang)
    if args.file is None:
        verdict = check_node(args.duration, config, lang)
    else:
        verdict = check_file(args.file, config, lang)
    if args.json:
        json.dump(as_json(verdict), sys.stdout, ensure_ascii=False, allow_nan=False, indent=1)
        print()
    else:
        print(report(verdict, lang))
    return 1 if verdict.bad else 0


def check_node(duration_s: float, config: Config, lang: str) -> Verdict:
    """Watch this node for a while and judge it. Raises CommandError if the engine does not tick."""
    from dctop.engine.live import LiveEngine

    engine = LiveEngine(
        1.0, thresholds=config.rules, lang=lang, own_rules=config.own_rules, energy=config.energy
    )
    engine.start()
    try:
        if not engine.wait_ticks(max(2, round(duration_s)), timeout=duration_s + 15.0):
            reason = engine.problem or "no reading came"
            raise CommandError(f"this node cannot be judged ({reason}): see `dctop doctor`", 1)
        snap = engine.now.current
        assert snap is not None
        end = snap.frame.wall_ns
        return Verdict(
            "live", end - int(duration_s * 1e9), end, list(engine.alerts()), tuple(engine.not_checked())
        )
    finally:
        engine.stop("check done")


def check_file(path: Path, config: Config, lang: str) -> Verdict:
    """Step through every frame of a recording with rules that know what the session's knew when it began.
    Raises CommandError."""
    from dctop.engine.recording.begun import take_up
    from dctop.engine.recording.reader import open_recording
    from dctop.engine.recording.replay import ReplaySource
    from dctop.engine.recording.schema import RecordingError
    from dctop.engine.rules.engine import RuleEngine
    from dctop.engine.rules.texts.retell import retold

    try:
        source = ReplaySource(open_recording(path))
    except RecordingError as e:
        raise CommandError(str(e)) from None
    try:
        rules = RuleEngine(lang=lang, thresholds=config.rules, own=config.own_rules, energy=config.energy)
        take_up(rules, source)
        found: dict[int, Alert] = {}
        last: object = None
        lacking: dict[str, tuple[int, str]] = {}
        frames = 0
        more = source.snapshot() is not None
        while more:
            rules.tick(source)
            frames += 1
            alerts = rules.alerts()
            if alerts is not last:
                last = alerts
                found.update((a.id, a) for a in alerts)
            for rule, what in rules.not_checked():
                lacking[rule] = (lacking.get(rule, (0, ""))[0] + 1, what)
            more = source.step(1)
        # A rule that could judge at some moment was checked.
        never = tuple((rule, what) for rule, (n, what) in lacking.items() if n == frames)
        if not frames:
            raise CommandError(f"{path}: no frame in it: nothing to judge", 1)
        # What was found before the recording began may never have been found anew: told as it was then.
        told = [retold(a, lang) for a in _within(found, source.t0_ns)]
        return Verdict(str(path), source.t0_ns, source.t1_ns, told, never)
    finally:
        source.close()


def _within(found: Mapping[int, Alert], t0_ns: int) -> list[Alert]:
    """In order of opening, without those that had ended before the recording began."""
    return [a for _, a in sorted(found.items()) if a.closed_wall_ns is None or a.closed_wall_ns >= t0_ns]


# -- words --------------------------------------------------------------------------------------------------


def report(v: Verdict, lang: str) -> str:
    """The verdict as text."""
    from dctop.engine.rules.texts import catalogue

    w = catalogue(lang).words
    lines: list[str] = []
    for a in v.roots:
        lines += [*_alert(a, v.symptoms(a), w), ""]
    if not v.roots:
        lines += [w["none"], ""]
    if v.earlier:
        lines.append(f"{w['earlier']}:")
        for a in v.earlier:
            many = f", {w['times'].format(n=a.count)}" if a.count > 1 else ""
            lines.append(f"  {_time(a.opened_wall_ns, True)}  {a.rule}  {a.title}{many}")
        lines.append("")
    if v.not_checked:
        lines.append(f"{w['not_checked']}:")
        by_need: dict[str, list[str]] = {}
        for rule, what in v.not_checked:
            by_need.setdefault(what, []).append(rule)
        lines += [f"  {w['needs'].format(what=what)}: {', '.join(rules)}" for what, rules in by_need.items()]
    return "\n".join(lines).rstrip()


def _alert(a: Alert, symptoms: Sequence[Alert], w: Mapping[str, str]) -> list[str]:
    head = [w[a.severity].upper(), a.rule, a.entity, _time(a.opened_wall_ns)]
    if a.first_step is not None:
        head.append(w["step"].format(n=a.first_step))
    if a.count > 1:
        head.append(w["times"].format(n=a.count))
    if a.closed_wall_ns is not None:
        head[3] += f" - {_time(a.closed_wall_ns)}"
    lines = ["  ".join(head), f"  {a.title}", f"  {w['why']}: {a.why}"]
    if a.cost:
        lines.append(f"  {w['cost']}: {a.cost}")
    if a.evidence:
        width = max(len(e.label) for e in a.evidence)
        lines.append(f"  {w['evidence']}:")
        lines += [f"    {e.label:<{width}}  {shown(e)}" for e in a.evidence]
    if a.ruled_out:
        lines.append(f"  {w['ruled_out']}: {'; '.join(a.ruled_out)}")
    if a.remedies:
        lines.append(f"  {w['remedies']}:")
    for n, r in enumerate(a.remedies, 1):
        more = [r.quantity, f"{w['effect']}: {r.effect}" if r.effect else None]
        lines.append(f"    {n}. " + "; ".join(x for x in (r.text, *more) if x))
        if r.command:
            lines.append(f"       $ {r.command}")
    if a.verdict:
        lines.append(f"  {w['verdict']}: {a.verdict}")
    if symptoms:
        lines.append(f"  {w['symptoms']}: " + ", ".join(f"{s.rule} {s.entity}" for s in symptoms))
    return lines


def shown(e: Evidence) -> str:
    """`1.01 % (< 10 %)`, `954 MiB`."""
    from dctop.engine.rules.base import num, size, span

    if isinstance(e.value, str) or e.value is None:
        text = f"{e.value or '-'} {e.unit}".rstrip()
    elif e.unit in ("bytes", "bytes/s", "bytes/h"):
        text = size(e.value) + e.unit.removeprefix("bytes")
    elif e.unit == "s":
        text = span(e.value)
    else:
        text = f"{num(e.value, 6)} {e.unit}".rstrip()
    return f"{text}  ({e.threshold})" if e.threshold else text


def _time(wall_ns: int, day: bool = False) -> str:
    at = datetime.fromtimestamp(wall_ns / 1e9)
    return at.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def as_json(v: Verdict) -> Json:
    """The verdict as a document; missing is null."""
    from dctop.engine.rules.plain import document, iso

    return {
        "schema": SCHEMA,
        "source": v.source,
        "from": iso(v.begin_ns),
        "to": iso(v.end_ns),
        "bad": v.bad,
        "findings": [document(a) for a in v.alerts if not _is_history(a)],
        "earlier": [document(a) for a in v.earlier],
        "not_checked": [{"rule": rule, "needs": what} for rule, what in v.not_checked],
    }
