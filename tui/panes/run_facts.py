"""What the training panes say about a run: status, figures, phases, why it ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dctop.engine.rules.alert import Alert
from dctop.tui.draw import units
from dctop.tui.draw.bars import bar_spans
from dctop.tui.draw.glyphs import Glyphs, glyphs
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import Row, S, Span, fit_row
from dctop.tui.panes.parts import Item, item, items_row, outside

if TYPE_CHECKING:
    from dctop.engine.training.runstate import RunState


ENDED_BADLY = ("failed", "killed", "lost")
_INF = float("inf")
DEAD_WITHIN = 600
"""Steps from one round of looks at ReLUs to the next at most."""
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
        tail += [("  ETA ", S.DIM), (eta_text(run), S.TEXT)]
    used = sum(len(t) for t, _ in (*head, *tail)) + 2
    size = min(40, w - used)
    middle = (("  ", S.TEXT), *bar_spans(done, size, look, S.GRAPH)) if size >= 6 else (("  ", S.TEXT),)
    return fit_row((*head, *middle, *tail), w)


def eta_text(run: RunState) -> str:
    """Time to finish: `12m14s` where fast and slow stretches agree within a tenth, else `11m-14m`."""
    from dctop.engine.training import runmath

    left = runmath.time_left(run)
    if left is None or not units.known(left.high):
        return units.duration(run.eta_s, 6)
    if left.high - left.low <= max(5.0, 0.1 * left.high):
        return units.duration(round(left.low / 2 + left.high / 2), 6)
    return f"{units.duration(round(left.low), 0)}-{units.duration(round(left.high), 0)}"


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


def latest(run: RunState, column: str, within: int = 100) -> float | None:
    """The newest value of a column that is not measured at every step; None: none within so many."""
    value = run.last.get(column)
    if value is not None:
        return value
    values = run.columns.get(column)
    if values is None:
        return None
    return next((v for v in reversed(values[-within:]) if v == v), None)


def layer_items(run: RunState) -> list[Item]:
    """What single layers show: gradient of the first against the last, the layer with most dead units, the
    gradient scale. Nothing where it is not measured."""
    out: list[Item] = []
    first, last = latest(run, "grad_first"), latest(run, "grad_last")
    if first is not None and last:
        ratio = first / last
        out.append(
            (("grad first/last ", S.DIM), (units.significant(ratio, 0), S.WARN if ratio < 1e-3 else S.TEXT))
        )
    dead = latest(run, "dead_share", DEAD_WITHIN)
    if dead is not None:
        style = S.CRIT if dead > 0.9 else S.TEXT
        out.append((("dead ReLUs ", S.DIM), (units.pct(100 * dead, 0), style)))
    scale = latest(run, "amp_scale")
    if scale is not None:
        out.append(item("grad scale", units.significant(scale, 0)))
    return out


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
    accuracy = latest(run, "accuracy")
    if accuracy is not None:
        out.append(item("acc", units.fixed(accuracy, 3)))
    out.append(item("lr", units.significant(last.get("lr"), 1)))
    out.append((*item("", units.count(run.samples_per_s))[1:], (" samples/s", S.DIM)))
    memory = latest(run, "mem_allocated_bytes")
    name = "gpu mem"
    if memory is None:
        memory, name = latest(run, "rss_anon_bytes"), "mem"
    if memory is not None:
        out.append(item(name, units.size(memory, 0)))
    grad = latest(run, "grad_norm")
    if grad is not None:
        out.append(item("grad", units.significant(grad, 1), S.TEXT if units.known(grad) else S.CRIT))
    out.append(item("step", units.ms(last.get("step_s"), 0)))
    if run.mode not in (None, "train"):
        out.insert(0, item("mode", outside(run.mode, look), S.INFO))
    return out


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
    """Why it ended badly, or what is wrong with it while it goes on, and what to do."""
    found = ending(run, alerts)
    if found is None:
        if run.trouble is None:
            return None
        return fit_row(((f"{glyphs(look).warning} {outside(run.trouble, look)}", S.WARN),), w)
    sign, style = status_mark(run.status, glyphs(look))
    why, do = (outside(text, look) for text in found)
    return fit_row(((f"{sign} {why}", style), (f"  {glyphs(look).level} {do}", S.TEXT)), w)


def data_item(run: RunState, look: Look) -> Item | None:
    """The data's source (not its folder); made-up data is called so."""
    if run.synthetic:
        return ((f"{glyphs(look).warning}synthetic data", S.WARN),)
    name = (run.data_source or "").partition(" (")[0] or run.data_source
    return item("data", outside(name, look)) if name else None


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
