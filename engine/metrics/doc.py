"""docs/METRICS.md, written from the catalogue: `python -m dctop.engine.metrics.doc > docs/METRICS.md`."""

from __future__ import annotations

from dctop.engine.metrics.derived import DERIVED, RATES
from dctop.probes.catalogue import BY_PROBE, Metric

INTRO = """# Metrics

Generated from the catalogue (`probes/catalogue.py`, `engine/metrics/derived.py`) by
`python -m dctop.engine.metrics.doc`; do not edit.

A metric is named `resource.quantity_unit`. A **gauge** is a level, a **counter** only grows and is stored
raw (its rate is derived on reading, so a mended formula mends old recordings), an **info** is text. Labels
name the instance: `disk.read_bytes{disk=nvme0n1}`. A value that could not be read is missing (`null` in
JSON), never 0.
"""
HEAD = "| metric | kind | unit | labels | meaning | how |\n|---|---|---|---|---|---|"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or " "


def _row(m: Metric) -> str:
    cells = (f"`{m.id}`", m.kind, m.unit, ", ".join(m.labels), m.help, m.how)
    return "| " + " | ".join(map(_cell, cells)) + " |"


def markdown() -> str:
    """The whole page."""
    derived: dict[str, list[Metric]] = {}
    for m in (*RATES, *DERIVED):
        derived.setdefault(m.id.partition(".")[0], []).append(m)
    out = [INTRO]
    for probe, metrics in BY_PROBE.items():
        prefixes = list(dict.fromkeys(m.id.partition(".")[0] for m in metrics))
        out += [f"## {probe}", "", HEAD, *map(_row, metrics)]
        for prefix in prefixes:
            out += map(_row, derived.pop(prefix, []))
        out.append("")
    for prefix, left in derived.items():
        out += [f"## {prefix}", "", HEAD, *map(_row, left), ""]
    return "\n".join(out)


if __name__ == "__main__":
    print(markdown(), end="")
