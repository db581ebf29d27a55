"""`dctop infer RUN`: measure the inference of a run's checkpoint."""

from __future__ import annotations

import json
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dctop.tui.commands import CommandError
from dctop.tui.commands.check import Verdict, report

if TYPE_CHECKING:
    from dctop.engine.rules.alert import Alert
    from dctop.engine.training.runstate import RunState

NAME = "infer"
HELP = "measure inference: latency, throughput, accuracy, calibration"
LOOK_EVERY = 200
"""Requests from one look of the rules at the log to the next: a window."""


def configure(parser: ArgumentParser) -> None:
    from dctop.engine.training import infer, options

    parser.add_argument("run", help="run id, its beginning, `last`, or a checkpoint file")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--detach", action="store_true", help="start it, print its id and end")
    parser.add_argument("--python", metavar="PATH", help=options.PYTHON.help)
    options.add_table(parser, infer.OPTIONS)


def run(args: Namespace) -> int:
    """0 all is well, 1 something is not as it should be (or it failed), 2 it could not be started, 130
    stopped by Ctrl-C."""
    from dctop.engine import paths
    from dctop.engine.training import infer, inferlog
    from dctop.engine.training.watcher import load_run

    given = {o.name: value for o in infer.OPTIONS if (value := getattr(args, o.name)) is not None}
    result = infer.launch(_subject(args.run), given, args.python)
    if result.run_id is None:
        raise CommandError(result.error or "the measurement could not be started")
    if args.detach:
        print(result.run_id)
        return 0
    from dctop.tui.commands.train import Headless

    status = Headless(
        result.run_id, quiet=args.json, told=frozenset(("start", *inferlog.PARTS, "note"))
    ).follow()
    state = load_run(paths.runs_dir() / result.run_id)
    if state is None or status:
        return status
    wrong = inferlog.findings(state)
    verdict, lang = diagnosis(state)
    if args.json:
        print(json.dumps(document(state, verdict.alerts), indent=1, allow_nan=False))
    else:
        print("\n".join(["", *table(inferlog.results(state))]))
        for line in wrong:
            print(f"! {line}")
        if verdict.alerts:
            print("\n" + report(verdict, lang))
    return 1 if wrong or verdict.bad else 0


def diagnosis(state: RunState) -> tuple[Verdict, str]:
    """What the rules say of a measurement, in the language that is set."""
    from dctop.engine.config import load
    from dctop.engine.rules.logsource import judge_run
    from dctop.tui.commands import language

    config, _ = load(None)
    lang = language(None, config.lang)
    alerts = judge_run(state, lang, config.rules, LOOK_EVERY)
    end = state.ended_wall_ns or state.started_wall_ns
    return Verdict(state.id, state.started_wall_ns, end, alerts, ()), lang


def _subject(name: str) -> str:
    """The id of a run that was trained; a file stays what it is."""
    import os

    from dctop.engine.training import control
    from dctop.engine.training.folder import INFER

    if os.sep in name or name.endswith(".pt"):
        return name
    try:
        return control.find(name, skip=INFER).id
    except control.ControlError as error:
        raise CommandError(str(error), 1) from None


def document(state: RunState, alerts: Sequence[Alert] = ()) -> dict[str, object]:
    """Everything measured, as JSON: missing is null."""
    from dctop.engine.rules.plain import document as plain_alert
    from dctop.engine.training import inferlog
    from dctop.tui.commands.runs import plain

    parts = inferlog.results(state)
    return {
        "id": state.id,
        "status": state.status,
        "measures": plain(state.config.get("measures")),
        "model": plain(state.config.get("model")),
        "device": plain(state.config.get("device")),
        "config": plain(state.config.get("config")),
        **{kind: plain(parts.get(kind)) for kind in inferlog.PARTS},
        "findings": inferlog.findings(state),
        "alerts": [plain_alert(a) for a in alerts],
    }


def table(parts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The results as text: stages, throughput, classes."""
    return [*_latency(parts.get("latency", {})), *_throughput(parts.get("throughput", {})),
            *_classes(parts.get("eval", {}))]  # fmt: skip


def _latency(data: Mapping[str, Any]) -> list[str]:
    if not data:
        return []
    rows = [("", "p50", "p95", "p99", "share")]
    names = {"pre": "preprocess", "h2d": "to device", "forward": "forward", "post": "postprocess"}
    for stage, figures in data.get("stages", {}).items():
        share = figures.get("share")
        rows.append(
            (names.get(stage, stage), *_times(figures), "-" if share is None else f"{100 * share:.0f} %")
        )
    rows.append(("whole request", *_times(data.get("latency", {})), ""))
    return aligned(rows)


def _times(figures: Mapping[str, Any]) -> tuple[str, str, str]:
    def ms(name: str) -> str:
        value = figures.get(name)
        return f"{value * 1e3:.3g} ms" if isinstance(value, (int, float)) else "-"

    return ms("p50_s"), ms("p95_s"), ms("p99_s")


def _throughput(data: Mapping[str, Any]) -> list[str]:
    points = data.get("points") or []
    rows = [("batch", "latency", "samples/s")]
    for p in points:
        mark = "  < knee" if p["batch"] == data.get("knee") else ""
        rows.append((str(p["batch"]), f"{p['latency_s'] * 1e3:.3g} ms", f"{p['samples_per_s']:,.0f}{mark}"))
    return ["", *aligned(rows)] if points else []


def _classes(data: Mapping[str, Any]) -> list[str]:
    recall, names = data.get("recall") or [], data.get("classes") or []
    confusion, support = data.get("confusion") or [], data.get("support") or []
    if not recall:
        return []
    then = (data.get("trained") or {}).get("recall") or []
    rows = [("class", "recall", "trained", "samples", "mostly taken for")]
    for i, value in enumerate(recall):
        row = list(confusion[i]) if i < len(confusion) else []
        n = str(support[i]) if i < len(support) else "-"
        wrong = max((n, j) for j, n in enumerate(row) if j != i) if len(row) > 1 else (0, 0)
        other = f"{names[wrong[1]]} {wrong[0]}" if wrong[0] and wrong[1] < len(names) else "-"
        before = then[i] if i < len(then) else None
        rows.append((
            names[i] if i < len(names) else str(i), "-" if value is None else f"{value:.3f}",
            f"{before:.3f}" if isinstance(before, float) else "-", n, other,
        ))  # fmt: skip
    return ["", *aligned(rows), "", *_quality(data)]


def _quality(data: Mapping[str, Any]) -> list[str]:
    out = []
    interval = data.get("interval")
    if interval:
        out.append(f"Test accuracy: {data['accuracy']:.4f} ({interval[0]:.4f} to {interval[1]:.4f}, 95 %)")
    if isinstance(data.get("train_accuracy"), float):
        out.append(
            f"accuracy on training samples {data['train_accuracy']:.4f}, gap {data['gap_pp']:.1f} points"
        )
    return out


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first one to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))).rstrip()
        for row in rows
    ]
