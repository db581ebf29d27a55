"""An inference measurement: latency by stage, throughput, quality, inputs, baseline. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dctop.engine.training import inferlog
from dctop.engine.training.runstate import RunState
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans, stacked
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, blank, fit, fit_row
from dctop.tui.panes.parts import Item, beside, fill, item, items_row, outside
from dctop.tui.panes.run_lists import heading, number

STAGES = {
    "pre": "preprocess",
    "h2d": "to device",
    "forward": "forward",
    "post": "postprocess",
    "queue": "queue",
}
_STYLE = {"pre": S.PHASE_1, "h2d": S.PHASE_2, "forward": S.PHASE_3, "post": S.PHASE_6, "queue": S.PHASE_4}
_SIGN = {"pre": "░p", "h2d": "▞h", "forward": "▒f", "post": "█o", "queue": "▚q"}


def at(value: object, *path: str) -> float | None:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return number(value)


def finding_rows(run: RunState, w: int, look: Look) -> list[Row]:
    """What is not as it should be, one row each."""
    sign = glyphs(look).warning
    return [fit_row(((f"{sign} {outside(text, look)}", S.WARN),), w) for text in inferlog.findings(run)]


def summary_items(run: RunState, look: Look) -> list[Item]:
    """Latency, throughput, accuracy in one row."""
    parts = inferlog.results(run)
    out: list[Item] = []
    for name in ("p50", "p95", "p99"):
        value = at(parts.get("latency"), "latency", f"{name}_s")
        if value is not None:
            out.append(item(name, units.ms(value, 0), S.VALUE))
    best = at(parts.get("throughput"), "best_samples_per_s")
    if best is not None:
        out.append((("at most ", S.DIM), (units.count(best, 0), S.VALUE), (" samples/s", S.DIM)))
    accuracy = at(parts.get("eval"), "accuracy")
    if accuracy is not None:
        out.append(item("acc", units.fixed(accuracy, 4, 0), S.VALUE))
    of = (run.config.get("measures") or {}).get("run")
    if isinstance(of, str):
        out.append(item("of", outside(of, look), S.TEXT))
    return out


def page(run: RunState, w: int, look: Look) -> list[Row]:
    """All there is, as many rows as it takes; beside each other from 100 columns on."""
    parts = inferlog.results(run)
    draws: tuple[Callable[[int], list[Row]], ...] = (
        lambda x: latency_rows(parts.get("latency", {}), x, look),
        lambda x: throughput_rows(parts.get("throughput", {}), x, look),
        lambda x: quality_rows(parts, x, look),
    )
    blocks = [b for b in draws if b(40)]
    classes = parts.get("eval", {})
    head = finding_rows(run, w, look)
    if not blocks:
        return [*head, fit_row((("nothing measured yet", S.DIM),), w)]
    columns = 1 if w < 100 else 2 if w < 180 else 3
    cw = (w - (columns - 1) * 2) // columns
    sides: list[list[Row]] = [[] for _ in range(columns)]
    for block in blocks:
        shortest = min(sides, key=len)
        if shortest:
            shortest.append(blank(cw))
        shortest.extend(block(cw))
    beside_each, used = sides[0], cw
    for side in sides[1:]:
        beside_each = beside(beside_each, side, used, cw, 2)
        used += cw + 2
    # The confusion needs width: under the others if it does not fit beside them.
    beneath = confusion_rows(classes, w, look)
    return [fit_row(r, w) for r in (*head, *beside_each, *([blank(w), *beneath] if beneath else []))]


def draw(run: RunState, w: int, h: int, look: Look, scroll: int) -> tuple[list[Row], int]:
    """The page: what fits, scrolled where there is more."""
    rows = page(run, w, look)
    scroll = max(0, min(scroll, len(rows) - h))
    return fill(rows[scroll : scroll + h], w, h), scroll


def latency_rows(data: Mapping[str, Any], w: int, look: Look) -> list[Row]:
    stages = data.get("stages")
    if not isinstance(stages, Mapping):
        return []
    requests = units.grouped(number(data.get("requests")))
    rows = [heading(f"latency{'p50':>18}{'p95':>8}{'p99':>8}", w, f"{requests} requests")]
    parts: list[tuple[float, str, S]] = []
    for name, figures in stages.items():
        signs = _SIGN.get(name, "··")
        sign, style = signs[0] if look.unicode else signs[1], _STYLE.get(name, S.DIM)
        parts.append((at(figures, "p50_s") or 0.0, sign, style))
        share = at(figures, "share")
        rows.append(fit_row((
            (sign + " ", style), (f"{STAGES.get(name, name):<13}", S.DIM), *_percentiles(figures),
            ("  " + units.pct(None if share is None else 100 * share), S.VALUE),
        ), w))  # fmt: skip
    rows.append(fit_row((("  whole        ", S.TEXT), *_percentiles(data.get("latency"))), w))
    rows.append(fit_row(stacked(parts, w, look), w))
    tail, slo, load = number(data.get("tail")), data.get("slo"), data.get("load")
    notes: list[Item] = []
    if tail is not None:
        notes.append(item("p99/p50", units.fixed(tail, 1, 0), S.WARN if tail > 3 else S.TEXT))
    if isinstance(slo, Mapping):
        missed = at(slo, "share")
        notes.append(
            item(f"slower than {units.ms(at(slo, 'limit_s'), 0)}", units.pct(100 * (missed or 0), 0))
        )
    if isinstance(load, Mapping):
        notes.append(item("utilisation", units.pct(100 * (at(load, "utilisation") or 0), 0)))
    return [*rows, items_row(notes, w)] if notes else rows


def _percentiles(figures: object) -> tuple[Span, ...]:
    return tuple((" " + units.ms(at(figures, f"{p}_s"), 7), S.TEXT) for p in ("p50", "p95", "p99"))


def throughput_rows(data: Mapping[str, Any], w: int, look: Look) -> list[Row]:
    points = [p for p in data.get("points") or () if isinstance(p, Mapping)]
    if not points:
        return []
    knee = number(data.get("knee"))
    rows = [heading("throughput by batch", w, f"knee {int(knee)}" if knee else "no knee yet")]
    top = max(at(p, "samples_per_s") or 0.0 for p in points) or 1.0
    for p in points:
        rate, batch = at(p, "samples_per_s"), at(p, "batch")
        is_knee = knee is not None and batch == knee
        size, colour = max(0, w - 26), S.GRAPH_2 if is_knee else S.GRAPH
        rows.append(fit_row((
            (units.grouped(batch).rjust(5) + " ", S.VALUE if is_knee else S.TEXT),
            *bar_spans(None if rate is None else 100 * rate / top, size, look, colour),
            (" " + units.count(rate, 6), S.VALUE), ("/s ", S.DIM), (units.ms(at(p, "latency_s"), 7), S.TEXT),
            (" " + (glyphs(look).cursor if is_knee else " "), S.ACCENT),
        ), w))  # fmt: skip
    ratio = number(data.get("batch1_ratio"))
    if ratio is not None:
        rows.append(
            items_row(
                (item("latency of 8 / of 1", units.fixed(ratio, 1, 0), S.WARN if ratio < 1.5 else S.TEXT),), w
            )
        )
    return rows


def quality_rows(parts: Mapping[str, Mapping[str, Any]], w: int, look: Look) -> list[Row]:
    """Accuracy and calibration beside the training's own, inputs, determinism, baseline."""
    quality, inputs = parts.get("eval", {}), parts.get("inputs", {})
    cold, same, base = parts.get("coldstart", {}), parts.get("determinism", {}), parts.get("baseline", {})
    if not (quality or inputs or cold):
        return []
    rows = [
        heading("quality", w, f"{units.grouped(number(quality.get('samples')))} samples" if quality else "")
    ]
    trained = quality.get("trained") or {}
    if quality:
        rows.append(_pair("accuracy", quality.get("accuracy"), trained.get("accuracy"), 4, w))
        rows.append(_pair("NLL", quality.get("nll"), trained.get("loss"), 4, w))
        gap = number(quality.get("gap_pp"))
        rows.append(items_row((
            item("ECE", units.fixed(number(quality.get("ece")), 3, 0)),
            item("confidence", units.fixed(number(quality.get("confidence")), 3, 0)),
            item("train - test", f"{units.fixed(gap, 1, 0)} pp", S.WARN if (gap or 0) > 5 else S.TEXT),
        ), w))  # fmt: skip
    if inputs:
        now, then = inputs.get("now") or {}, inputs.get("trained") or {}
        style = S.CRIT if inputs.get("mismatch") else S.TEXT
        rows.append(items_row((
            item("inputs", _figure(now, look), style), item("trained on", _figure(then, look)),
        ), w))  # fmt: skip
    if cold:
        ratio = number(cold.get("ratio"))
        rows.append(items_row((
            item("first request", units.ms(number(cold.get("first_s")), 0)),
            ((units.fixed(ratio, 1, 0), S.WARN if (ratio or 0) > 10 else S.TEXT), (" times a steady", S.DIM)),
            item("warm after", units.grouped(number(cold.get("calls")))),
        ), w))  # fmt: skip
    if same:
        diff = number(same.get("max_diff"))
        text = "same answer twice" if diff == 0 else f"two runs differ by {units.significant(diff, 0)}"
        rows.append(fit_row(((text, S.TEXT if same.get("ok") else S.CRIT),), w))
    if base:
        rows.append(_baseline(base, w, look))
    return rows


def _pair(name: str, now: object, then: object, digits: int, w: int) -> Row:
    cells: list[Item] = [item(f"{name:<8}", units.fixed(number(now), digits, 0), S.VALUE)]
    if number(then) is not None:
        cells.append(item("at training", units.fixed(number(then), digits, 0)))
    return items_row(cells, w)


def _figure(stats: Mapping[str, Any], look: Look) -> str:
    if not stats:
        return "-"
    mean, std = (units.significant(number(stats.get(name)), 0) for name in ("mean", "std"))
    text = f"{mean}{'±' if look.unicode else '+-'}{std}"
    low, high = number(stats.get("min")), number(stats.get("max"))
    return text if low is None or high is None else f"{text} in {low:g}..{high:g}"


def _baseline(base: Mapping[str, Any], w: int, look: Look) -> Row:
    if base.get("new"):
        return fit_row((("this measurement is the baseline", S.DIM),), w)
    cells: list[Item] = [(("baseline ", S.DIM), (outside(str(base.get("run") or "-"), look), S.TEXT))]
    for name, key in (("p50", "p50_ratio"), ("p99", "p99_ratio"), ("samples/s", "throughput_ratio")):
        ratio = number(base.get(key))
        if ratio is not None:
            bad = ratio > 1.25 if key != "throughput_ratio" else ratio < 0.8
            cells.append(item(name, glyphs(look).times + units.fixed(ratio, 2, 0), S.WARN if bad else S.TEXT))
    z = number(base.get("z"))
    if z is not None:
        cells.append(item("z", units.fixed(z, 1, 0), S.WARN if z > 3 else S.TEXT))
    return items_row(cells, w)


def confusion_rows(data: Mapping[str, Any], w: int, look: Look) -> list[Row]:
    """Rows: what it was; columns: what it was taken for, in percent of the row; then the recall now and at
    training. More classes than fit: recall alone."""
    table, names = data.get("confusion") or [], [str(n) for n in data.get("classes") or ()]
    recall, support = data.get("recall") or [], data.get("support") or []
    then = (data.get("trained") or {}).get("recall") or []
    if not recall:
        return []
    label_w = min(12, max((len(n) for n in names), default=2))
    cells = len(table) if table and label_w + 4 * len(table) + 14 <= w else 0
    wide = label_w + 4 * cells + 14 if cells else w
    rows = [heading("taken for, % of the row" if cells else "recall by class", wide, "recall  trained")]
    if cells:
        short = "".join(f" {fit(outside(n, look), 3, '>', '')}" for n in names[:cells])
        rows.append(fit_row(((" " * label_w, S.DIM), (short, S.DIM)), w))
    for k, value in enumerate(recall):
        v, before = number(value), number(then[k]) if k < len(then) else None
        spans: list[Span] = [(fit(outside(names[k], look) if k < len(names) else str(k), label_w), S.TEXT)]
        spans += _confusion(table[k], k, look) if cells else _recall_bar(v, w - label_w - 15, look)
        fallen = (
            v is not None and before is not None and before - v > 0.2 and (number(support[k]) or 0) >= 100
        )
        spans.append((units.fixed(v, 3, 7), S.CRIT if fallen else S.VALUE))
        spans.append((units.fixed(before, 3, 7), S.DIM))
        rows.append(fit_row(spans, w))
    return rows


def _recall_bar(v: float | None, size: int, look: Look) -> tuple[Span, ...]:
    return ((" ", S.TEXT), *bar_spans(None if v is None else 100 * v, max(0, size), look, S.GRAPH))


def _confusion(row: Sequence[Any], k: int, look: Look) -> list[Span]:
    whole = sum(n for n in (number(x) for x in row) if n is not None) or 1.0
    out: list[Span] = []
    for j, x in enumerate(row):
        pct = 100 * (number(x) or 0.0) / whole
        text = f"{pct:4.0f}" if pct >= 0.5 else f"{glyphs(look).dot:>4}"
        style = S.GOOD if j == k else S.CRIT if pct >= 25 else S.WARN if pct >= 10 else S.DIM
        out.append((text, style))
    return out
