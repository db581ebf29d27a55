"""The sections of docs/DIAGNOSIS.md about the second and the third fault set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import sections
from tests.faults.corpus import Plan
from tests.faults.other import BESIDE, BETWEEN
from tests.faults.report import faults, grid, judge_all, share
from tests.faults.score import Scored, rule_rows
from tests.faults.unseen import UNSEEN


@dataclass(frozen=True, slots=True)
class Page:
    """What a section says of its set."""

    title: str
    said: str
    rows: tuple[tuple[str, frozenset[str]], ...]
    """Of its table: what they are called, names of their cases."""


PAGES: dict[str, Page] = {
    "other": Page(
        "Other faults, other magnitudes, other seeds",
        "what is right for each was written down and committed before any of it was run "
        "(`tests/faults/other.py`); rules and thresholds had not been tried on it. What was mended after it "
        "was seen is said below: since then it measures less than it did.",
        (
            ("faults the corpus does not contain", frozenset(c.name for c in BESIDE)),
            ("its faults at magnitudes it does not have", frozenset(c.name for c in BETWEEN)),
        ),
    ),
    "unseen": Page(
        "Faults that no rule was tried on",
        "what is right for each was written down and committed before any of it was run "
        "(`tests/faults/unseen.py`). It was looked at after the last change of a rule, and none was changed "
        "by it.",
        (("faults neither set contains", frozenset(c.name for c in UNSEEN)),),
    ),
}


def write_section(
    out: Path, name: str, made: Sequence[Plan], folder: Path, not_made: Mapping[str, str], seed: int
) -> None:
    """`notes.txt` in `folder`: what was mended after seeing it, and what else is to be said."""
    notes = folder / "notes.txt"
    said = notes.read_text() if notes.exists() else ""
    sections.write(out, text(name, judge_all(made, folder), not_made, seed, said))


def text(name: str, scored: Sequence[Scored], not_made: Mapping[str, str], seed: int, notes: str = "") -> str:
    page = PAGES[name]
    rights = sum(r.right for r in rule_rows(scored))
    false = sum(r.false for r in rule_rows(scored))
    harmless = [s for s in scored if not s.judged.plan.case.roots]
    rows = [_row(said, scored, names) for said, names in page.rows]
    if harmless:
        calm = share(sum(not s.false for s in harmless), len(harmless))
        rows.append(["what is no fault, with nothing false said", "-", calm, "-"])
    rows.append(["alerts that were right (of right and false)", "-", share(rights, rights + false), "-"])
    parts = [
        f"## {page.title}\n\nMade by `make drill ARGS='--set {name}'`: {page.said} Seeds {seed + 1} and up.",
        grid("clear and severe magnitudes | detected | right root | mild: right root", rows),
        faults(scored),
        misses(scored, not_made),
    ]
    if notes:
        parts.append(
            "What is to be said of these runs, and what was mended after they were seen:\n\n" + notes
        )
    return "\n\n".join(p.rstrip("\n") for p in parts) + "\n"


def _row(name: str, scored: Sequence[Scored], names: frozenset[str]) -> list[str]:
    own = [s for s in scored if s.judged.plan.case.name in names]
    clear = [s for s in own if s.judged.plan.size_name != "mild"]
    mild = [s for s in own if s.judged.plan.size_name == "mild"]
    return [
        name,
        share(sum(s.detected or s.found is not None for s in clear), len(clear)),
        share(sum(s.found is not None for s in clear), len(clear)),
        share(sum(s.found is not None for s in mild), len(mild)),
    ]


def misses(scored: Sequence[Scored], not_made: Mapping[str, str]) -> str:
    lines = []
    for s in scored:
        plan = s.judged.plan
        if plan.case.roots and s.found is None:
            seen = ", ".join(dict.fromkeys(x.rule for x in s.judged.sightings)) or "nothing"
            lines.append(f"- missed: {plan.id} ({plan.size:g}); said instead: {seen}")
        for x in s.false:
            why = f", as symptom of {x.symptom_of}" if x.symptom_of else ""
            lines.append(f"- false: {x.rule} ({x.severity}{why}) at step {x.step} of {plan.id}")
    why_not: dict[str, list[str]] = {}
    for name, why in sorted(not_made.items()):
        why_not.setdefault(why, []).append(name)
    lines += [f"- not made ({why}): {', '.join(names)}" for why, names in why_not.items()]
    return "\n".join(lines) if lines else "Nothing was missed and nothing false."
