"""The lists of the training view: runs, evaluations, classes, events, what the worker printed. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dctop.engine.training import runmath
from dctop.engine.training.runstate import RunState
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.glyphs import glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit, fit_row
from dctop.tui.panes.parts import fill, item, items_row, outside
from dctop.tui.panes.run_facts import status_mark
from dctop.tui.panes.run_plot import STYLES

GRAVE = ("exception", "nonfinite")
LEAST_SUPPORT = 100


def number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def heading(name: str, w: int, right: str = "") -> Row:
    room = w - len(right)
    return fit_row(((fit(name, max(0, room)), S.HEADER), (right, S.DIM)), w)


def run_row(run: RunState, w: int, look: Look, selected: S | None, place: int | None) -> Row:
    """A run in the list: status, what it is, how far, its figure of merit. `place`: its curve's number
    in the plot."""
    sign, style = status_mark(run.status, glyphs(look))
    if run.trouble and run.status in ("starting", "running", "stopping"):
        sign, style = glyphs(look).warning, S.WARN
    mark = (("━" if look.unicode else "=") if place is not None else " ", STYLES[(place or 0) % len(STYLES)])
    accuracy = number(run.evals[-1].get("accuracy")) if run.evals else None
    loss = run.last.get("loss")
    done: list[Span] = [(f" {units.grouped(run.step)}", S.TEXT)]
    if run.total_steps:
        done.append((f"/{units.grouped(run.total_steps)}", S.DIM))
    cells: list[tuple[Span, ...]] = [
        (mark, (" " + sign + " ", style), (f"{run.status:<9}", style), (outside(run.workload, look), S.TEXT)),
        tuple(done),
        item("", units.clock(run.started_wall_ns, False), S.DIM)[1:],
    ]
    if accuracy is not None:
        cells.append(item("acc", units.fixed(accuracy, 4, 0), S.VALUE))
    if loss is not None:
        cells.append(item("loss", units.significant(loss, 0), S.TEXT if units.known(loss) else S.CRIT))
    cells.append(item("", outside(run.id, look), S.DIM)[1:])
    row = items_row(cells, w)
    return row if selected is None else (("".join(t for t, _ in row), selected),)


def runs_rows(
    runs: Sequence[RunState],
    chosen: RunState,
    compared: Sequence[RunState],
    w: int,
    h: int,
    look: Look,
    focused: bool,
) -> tuple[list[Row], list[str | None]]:
    """The list around the chosen one, and the id on each row (None: a heading)."""
    at = next((i for i, r in enumerate(runs) if r is chosen), 0)
    room = max(1, h - 1)
    top = max(0, min(at - room // 2, len(runs) - room))
    shown = runs[top : top + room]
    style = S.SELECT if focused else S.SELECT_DIM
    places = {r.id: i for i, r in enumerate((chosen, *compared))} if compared else {}
    rows = [heading(f"runs {at + 1} of {len(runs)}", w)]
    rows += [run_row(r, w, look, style if r is chosen else None, places.get(r.id)) for r in shown]
    ids: list[str | None] = [None, *(r.id for r in shown)]
    return rows[:h], ids[:h]


def evaluation_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    rows = [heading("evaluations", w)]
    best = max((v for e in run.evals if (v := number(e.get("accuracy"))) is not None), default=None)
    for ev in list(run.evals)[::-1][: max(0, h - 1)]:
        accuracy = number(ev.get("accuracy"))
        star = glyphs(look).evaluation if best is not None and accuracy == best else " "
        rows.append(items_row((
            ((star, S.GOOD), *item(" epoch", units.count(number(ev.get("epoch")), 3))),
            item("step", units.grouped(number(ev.get("step")))),
            item("loss", units.significant(number(ev.get("loss")), 6)),
            item("acc", units.fixed(accuracy, 4, 6), S.VALUE),
        ), w))  # fmt: skip
    if not run.evals:
        rows.append(fit_row((("none yet", S.DIM),), w))
    return rows[:h]


def classes_of(run: RunState) -> list[str]:
    data = run.config.get("data")
    names = data.get("classes") if isinstance(data, dict) else None
    return [str(n) for n in names] if isinstance(names, list) else []


def best_recall(evals: Sequence[Mapping[str, Any]], k: int) -> float | None:
    """The best a class has had in any evaluation."""
    values = [e["recall"][k] for e in evals if isinstance(e.get("recall"), list) and k < len(e["recall"])]
    known = [v for v in map(number, values) if v is not None]
    return max(known, default=None)


def class_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """Recall of each class in the last evaluation, as a bar, with its distance from that class's best.
    Where there are more classes than rows, the worst ones."""
    latest = next((e for e in reversed(run.evals) if isinstance(e.get("recall"), list)), None)
    if latest is None:
        return [heading("recall by class", w), fit_row((("no evaluation with classes yet", S.DIM),), w)][:h]
    recall, names = latest["recall"], classes_of(run)
    step = units.grouped(number(latest.get("step")))
    rows = [heading("recall by class", w, f"step {step}")]
    order = list(range(len(recall)))
    if len(order) > h - 1:
        order.sort(key=lambda k: -1.0 if (v := number(recall[k])) is None else v)
        order = sorted(order[: max(0, h - 1)])
    label_w = min(12, max((len(names[k]) for k in order if k < len(names)), default=2))
    for k in order:
        rows.append(_class_row(run, k, recall[k], names, label_w, w, look))
    return rows[:h]


def _class_row(
    run: RunState, k: int, value: object, names: Sequence[str], label_w: int, w: int, look: Look
) -> Row:
    v, best = number(value), best_recall(run.evals, k)
    name = outside(names[k], look) if k < len(names) else str(k)
    fallen = v is not None and best is not None and best - v > 0.2
    style = S.CRIT if fallen else S.WARN if v is not None and v < 0.2 else S.GRAPH
    drop = (
        f" {glyphs(look).down}{100 * (best - v):.0f}"
        if v is not None and best is not None and best - v > 0.02
        else ""
    )
    text = units.fixed(v, 3, 6)
    size = max(0, w - label_w - 8 - 5)
    return fit_row((
        (fit(name, label_w) + " ", S.TEXT), *bar_spans(None if v is None else 100 * v, size, look, style),
        (text, S.VALUE if style == S.GRAPH else style), (drop, S.CRIT if fallen else S.DIM),
    ), w)  # fmt: skip


def event_rows(run: RunState, w: int, h: int, look: Look, scroll: int) -> tuple[list[Row], int]:
    """The newest first, and the scroll position as far as it can be."""
    events = [e for e in run.events if e.kind != "mode" and e.data.get("window") is None]
    scroll = max(0, min(scroll, len(events) - (h - 1)))
    stop = len(events) - scroll
    rows = [heading("events", w, f"{scroll} newer" if scroll else "")]
    for e in reversed(events[max(0, stop - (h - 1)) : stop]):
        style = S.CRIT if e.kind in GRAVE else S.WARN if e.kind == "fault" else S.TEXT
        head = f"{units.clock(e.wall_ns)} {outside(e.kind, look):<10} "
        rows.append(fit_row(((head, S.DIM), (outside(e.text, look, ""), style)), w))
    return rows[:h], scroll


def log_rows(run: RunState, w: int, h: int, look: Look, scroll: int, replay: bool) -> tuple[list[Row], int]:
    """What the worker printed last, the newest at the bottom."""
    lines = run.log_tail
    scroll = max(0, min(scroll, len(lines) - (h - 1)))
    rows = [heading("log", w, f"{scroll} newer" if scroll else "stdout.log")]
    if not lines:
        why = "nothing of it was recorded" if replay else "nothing was printed"
        rows.append(fit_row(((why, S.DIM),), w))
    stop = len(lines) - scroll
    for text in lines[max(0, stop - (h - 1)) : stop]:
        rows.append(fit_row(((outside(text, look, ""), S.TEXT),), w))
    return rows[:h], scroll


def compare_rows(chosen: RunState, compared: Sequence[RunState], w: int, h: int, look: Look) -> list[Row]:
    """Which curve is which, and in what the runs differ."""
    line = "━━" if look.unicode else "=="
    rows: list[Row] = []
    for i, run in enumerate((chosen, *compared)):
        accuracy = number(run.evals[-1].get("accuracy")) if run.evals else None
        spans: list[Span] = [(line + " ", STYLES[i % len(STYLES)]), (outside(run.id, look), S.TEXT)]
        spans.append((f"  {run.status}", status_mark(run.status, glyphs(look))[1]))
        spans.append((f"  loss {units.significant(run.last.get('loss'), 0)}", S.TEXT))
        if accuracy is not None:
            spans.append((f"  acc {units.fixed(accuracy, 4, 0)}", S.VALUE))
        spans.append((f"  {units.count(runmath.pace(run), 0)} samples/s", S.DIM))
        rows.append(fit_row(spans, w))
    for other in compared:
        differ = runmath.differences(chosen, other)
        cells = [item(name, f"{_short(a)} / {_short(b)}", S.ACCENT) for name, a, b in differ]
        clean = [tuple((outside(t, look, ""), s) for t, s in cell) for cell in cells]
        lead: tuple[Span, ...] = (("options that differ" if clean else "same options", S.DIM),)
        rows.append(items_row([lead, *clean], w))
    return fill(rows, w, h) if len(rows) > h else rows


def _short(value: object) -> str:
    if value in (None, "", []):
        return "-"
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
    return text if len(text) <= 24 else "…" + text[-23:]


def rank_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """A distributed run's processes: own work as a bar, step, backward (with the exchange of gradients),
    waiting. The one that works longest is the one the others wait for."""
    ranks = run.ranks
    work = [r.work_s for r in ranks if r.work_s is not None]
    longest, usual = max(work, default=0.0), sorted(work)[(len(work) - 1) // 2] if work else 0.0
    skew = f"slowest +{100 * (longest / usual - 1):.0f}%" if usual > 0 else ""
    rows = [heading(f"ranks {len(ranks)}", w, skew)]
    for r in ranks[: max(0, h - 1)]:
        slow = r.work_s is not None and len(work) > 1 and r.work_s == longest and longest > 1.1 * usual
        share = None if r.work_s is None or longest <= 0 else 100 * r.work_s / longest
        mark = glyphs(look).warning if slow else " "
        rows.append(fit_row((
            (f"{r.rank:>3} ", S.VALUE), (mark + " ", S.WARN),
            *bar_spans(share, max(0, w - 44), look, S.GRAPH_WARN if slow else S.GRAPH),
            (" own ", S.DIM), (units.ms(r.work_s, 6), S.VALUE),
            (" bwd ", S.DIM), (units.ms(r.backward_s, 6), S.TEXT),
            (" wait ", S.DIM), (units.ms(r.wait_s, 6), S.TEXT),
        ), w))  # fmt: skip
    return rows[:h]
