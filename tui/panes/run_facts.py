"""What the training panes say about a run: status, figures, phases, why it ended."""

from __future__ import annotations

from collections.abc import Sequence

from dctop.engine.rules.alert import Alert
from dctop.engine.training.runstate import PHASES, RunState
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans, stacked
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.panes.parts import Item, item, items_row, outside

ENDED_BADLY = ("failed", "killed", "lost")
_FILLS = "░▞▒▚▓█"
_LETTERS = "dhflbu"
_PHASE_STYLE = (S.PHASE_1, S.PHASE_2, S.PHASE_3, S.PHASE_4, S.PHASE_5, S.PHASE_6)
_SHORT = {"data": "data", "h2d": "h2d", "forward": "fwd", "loss": "loss", "backward": "bwd", "update": "opt"}
_INF = float("inf")
RECENT = 50
"""Steps over which phases and trends are taken (RULES: S50)."""


def status_mark(status: str, g: Glyphs) -> tuple[str, S]:
    return {
        "running": (g.live, S.GOOD),
        "starting": (g.live, S.DIM),
        "stopping": (g.paused, S.WARN),
        "finished": (g.closed, S.GOOD),
        "stopped": (g.paused, S.DIM),
        "failed": (g.critical, S.CRIT),
        "killed": (g.critical, S.CRIT),
        "lost": (g.warning, S.WARN),
    }.get(status, (g.info, S.DIM))


def progress(run: RunState) -> float | None:
    """Share done, %."""
    if run.step is None or not run.total_steps or run.total_steps < 0:
        return None
    return min(100.0, 100.0 * run.step / run.total_steps)


def status_row(run: RunState, w: int, look: Look) -> Row:
    """`● mnist-cnn  step 12 840/50 000  █████▋····  26%  ETA 3h12m`"""
    sign, style = status_mark(run.status, glyphs(look))
    done = progress(run)
    head: list[Span] = [(sign + " ", style)]
    if run.status != "running":
        head.append((run.status + " ", style))
    head.append((outside(run.workload, look) + "  ", S.BOLD))
    head += [("step ", S.DIM), (units.grouped(run.step), S.VALUE)]
    if run.total_steps is not None:
        head.append((f"/{units.grouped(run.total_steps)}", S.DIM))
    tail: list[Span] = [(units.pct(done, 5), S.VALUE)]
    if run.epoch is not None and w >= 70:
        of = f"/{run.total_epochs}" if run.total_epochs is not None else ""
        tail += [("  epoch ", S.DIM), (f"{run.epoch}{of}", S.TEXT)]
    if run.status in ("running", "starting", "stopping") and w >= 56:
        tail += [("  ETA ", S.DIM), (units.duration(run.eta_s, 6), S.TEXT)]
    used = sum(len(t) for t, _ in (*head, *tail)) + 2
    size = min(40, w - used)
    middle = (("  ", S.TEXT), *bar_spans(done, size, look, S.GRAPH)) if size >= 6 else (("  ", S.TEXT),)
    return fit_row((*head, *middle, *tail), w)


def trend(run: RunState, column: str = "loss") -> float | None:
    """Relative change of the median of the last 25 steps against the 25 before; None if unknown."""
    values = run.columns.get(column)
    if values is None:
        return None
    recent = [v for v in values[-RECENT:] if abs(v) < _INF]
    half = len(recent) // 2
    if half < 5:
        return None
    before, now = sorted(recent[:half])[half // 2], sorted(recent[half:])[half // 2]
    return (now - before) / abs(before) if before else None


def figures(run: RunState, look: Look) -> list[Item]:
    """Loss and its direction, accuracy, learning rate, speed, memory."""
    g, last = glyphs(look), run.last
    loss = last.get("loss")
    change = trend(run)
    if loss is not None and not units.known(loss):
        arrow, style = g.critical, S.CRIT
    elif change is None:
        arrow, style = " ", S.VALUE
    else:
        arrow = g.falling if change < -0.01 else g.rising if change > 0.01 else g.level
        style = S.VALUE
    out: list[Item] = [item("loss", units.significant(loss, 5) + arrow, style)]
    accuracy = last.get("accuracy")
    if accuracy is not None:
        out.append(item("acc", units.fixed(accuracy, 3)))
    out.append(item("lr", units.significant(last.get("lr"), 1)))
    out.append((*item("", units.count(run.samples_per_s))[1:], (" samples/s", S.DIM)))
    memory = last.get("mem_allocated_bytes")
    name = "gpu mem"
    if memory is None:
        memory, name = last.get("rss_anon_bytes"), "mem"
    if memory is not None:
        out.append(item(name, units.size(memory, 0)))
    grad = last.get("grad_norm")
    if grad is not None:
        out.append(item("grad", units.significant(grad, 1), S.TEXT if units.known(grad) else S.CRIT))
    out.append(item("step", units.ms(last.get("step_s"), 0)))
    if run.mode not in (None, "train"):
        out.insert(0, item("mode", outside(run.mode, look), S.INFO))
    return out


def phase_means(run: RunState) -> list[tuple[str, float]] | None:
    """Mean seconds of each phase over the last steps, `other` at the end; None if nothing was timed."""

    def mean(column: str) -> float | None:
        values = run.columns.get(column)
        if values is None or not len(values):
            return None
        recent = values[-RECENT:]
        total = sum(recent)
        if units.known(total):
            return total / len(recent)
        known = [v for v in recent if units.known(v)]
        return sum(known) / len(known) if known else None

    found = [(name, v) for name in PHASES if (v := mean(f"{name}_s")) is not None]
    if not found:
        return None
    whole = mean("step_s")
    other = None if whole is None else whole - sum(v for _, v in found)
    return [*found, ("other", max(0.0, other))] if other is not None else found


def _fill(name: str, look: Look) -> tuple[str, S]:
    if name == "other":
        return ("·" if look.unicode else "."), S.DIM
    i = PHASES.index(name)
    return (_FILLS if look.unicode else _LETTERS)[i], _PHASE_STYLE[i]


def phase_rows(run: RunState, w: int, h: int, look: Look) -> list[Row]:
    """Where a step goes: its parts in ms (with the fill that stands for each), and a stacked bar."""
    means = phase_means(run)
    if not means or h <= 0:
        return []
    legend: list[Item] = []
    for name, s in means:
        sign, style = _fill(name, look)
        legend.append(((sign, style), (f" {_SHORT.get(name, name)} ", S.DIM), (units.ms(s, 0), S.TEXT)))
    parts = [(s, *_fill(name, look)) for name, s in means]
    rows: list[Row] = [fit_row(stacked(parts, w, look), w)]
    return [*rows, items_row(legend, w)][:h]


def ending(run: RunState, alerts: Sequence[Alert]) -> tuple[str, str] | None:
    """(why, what to do) of a run that ended badly; the rule engine's word before the run's own."""
    if run.status not in ENDED_BADLY:
        return None
    for alert in alerts:
        if alert.entity == run.id and alert.suppressed_by is None and alert.severity == "critical":
            do = alert.remedies[0].text if alert.remedies else "A shows the diagnosis"
            return alert.title, do
    log = f"{run.directory}/stdout.log"
    if run.status == "killed":
        why = run.reason or (
            f"ended by signal {-run.exit_code}" if run.exit_code and run.exit_code < 0 else "killed"
        )
        do = "A shows whether the kernel needed its memory" if run.exit_code == -9 else f"read {log}"
        return why, do
    if run.status == "lost":
        return (
            run.reason or "its process is gone and left no word",
            f"read {log}; start again from its checkpoint",
        )
    return run.reason or f"exit code {run.exit_code}", f"read {log}"


def ending_row(run: RunState, alerts: Sequence[Alert], w: int, look: Look) -> Row | None:
    found = ending(run, alerts)
    if found is None:
        return None
    sign, style = status_mark(run.status, glyphs(look))
    why, do = (outside(text, look) for text in found)
    return fit_row(((f"{sign} {why}", style), (f"  {glyphs(look).level} {do}", S.TEXT)), w)


def data_item(run: RunState, look: Look) -> Item | None:
    """The data's source; made-up data is called so."""
    if run.synthetic:
        return ((f"{glyphs(look).warning}synthetic data", S.WARN),)
    return item("data", outside(run.data_source, look)) if run.data_source else None


def brief_row(run: RunState, w: int, look: Look, selected: S | None) -> Row:
    """A run on one line, for lists."""
    sign, style = status_mark(run.status, glyphs(look))
    last = run.last
    cells: list[Item] = [
        ((sign + " ", style), (f"{run.status:<9}", style), (outside(run.workload, look), S.TEXT)),
        item("step", f"{units.grouped(run.step)}/{units.grouped(run.total_steps)}"),
        item("loss", units.significant(last.get("loss"), 5)),
        item("since", units.clock(run.started_wall_ns, False)),
        ((outside(run.id, look), S.DIM),),
    ]
    row = items_row(cells, w)
    return row if selected is None else (("".join(t for t, _ in row), selected),)
