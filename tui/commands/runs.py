"""`dctop runs`: list, show, stop and remove training runs."""

from __future__ import annotations

import json
import math
import sys
import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING

from dctop.tui.commands import CommandError

if TYPE_CHECKING:
    from dctop.engine.config import Energy
    from dctop.engine.training.runstate import RunEvent, RunState

NAME = "runs"
HELP = "list, show, attach, stop, resume, remove training runs"

SHOWN = 20
STOP_WAIT_S = 60.0


def configure(parser: ArgumentParser) -> None:
    parser.add_argument(
        "action",
        nargs="?",
        default="list",
        choices=("list", "show", "attach", "stop", "checkpoint", "resume", "rm", "apply"),
        help="default: list",
    )
    parser.add_argument(
        "run", nargs="*", help="run id, its beginning, or `last`; apply: then the remedy (none: list them)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--all", action="store_true", help=f"list more than the newest {SHOWN}")
    parser.add_argument("--force", action="store_true", help="stop: kill it at once, nothing is saved")
    parser.add_argument("--checkpoint", metavar="WHICH", default="last",
                        help="resume from it: last, best, the number of a step, or a file")  # fmt: skip
    parser.add_argument("--headless", action="store_true", help="attach, resume: no dashboard")
    parser.add_argument("--detach", action="store_true", help="resume: print the new run's id and end")


def run(args: Namespace) -> int:
    if args.action == "list":
        if args.run:
            raise CommandError(f"list takes no run: dctop runs show {args.run[0]}")
        return _list(args.json, args.all)
    if not args.run:
        raise CommandError(f"{args.action} which run? `dctop runs` lists them; `last` is the newest")
    from dctop.engine.training import control

    if args.action == "apply":
        from dctop.tui.commands.apply import apply

        return apply(args.run, args.json)
    try:
        states = [control.find(name) for name in args.run]
        if args.action == "show":
            return _show(states, args.json)
        if args.action in ("attach", "resume"):
            if len(states) != 1:
                raise CommandError(f"{args.action} takes one run")
            return _attach(states[0], args) if args.action == "attach" else _resume(states[0], args)
        for state in states:
            if args.action == "stop":
                control.stop(state, args.force)
                _wait(state, args.json)
            elif args.action == "checkpoint":
                control.checkpoint(state)
                _tell(state.id, "writes a checkpoint after this step", args.json)
            else:
                control.remove(state)
                _tell(state.id, "removed", args.json)
    except control.ControlError as error:
        raise CommandError(str(error), 1) from None
    return 0


def _tell(run_id: str, what: str, as_json: bool) -> None:
    print(json.dumps({"id": run_id, "done": what}) if as_json else f"{run_id}: {what}", flush=True)


def _attach(state: RunState, args: Namespace) -> int:
    """Watch a run that goes on already, as the `train` that started it does."""
    from dctop.tui.commands.train import watch

    return watch(state.id, False, args.headless)


def _resume(state: RunState, args: Namespace) -> int:
    """A new run that goes on from a checkpoint with the options of the old one."""
    from dctop.engine.training import control, launcher
    from dctop.tui.commands.train import watch

    if state.status in control.ACTIVE:
        raise CommandError(f"{state.id} is {state.status}: it needs no resuming", 1)
    result = launcher.launch({"workload": state.workload}, None, state.id, args.checkpoint)
    if result.run_id is None:
        raise CommandError(result.error or "the run could not be started")
    if args.json:
        print(json.dumps({"id": result.run_id, "resumed": state.id}))
        return 0
    return watch(result.run_id, args.detach, args.headless)


def _list(as_json: bool, everything: bool) -> int:
    from dctop.engine import paths
    from dctop.engine.training.folder import run_ids
    from dctop.engine.training.watcher import load_run

    names = run_ids(paths.runs_dir())
    shown = names if everything else names[:SHOWN]
    states = [s for s in (load_run(paths.runs_dir() / name) for name in shown) if s is not None]
    if as_json:
        print(json.dumps([summary(s) for s in states], indent=1, allow_nan=False))
        return 0
    if not states:
        print("no runs yet: dctop train mnist-cnn", file=sys.stderr)
        return 0
    rows = [("RUN", "STATUS", "STEP", "LOSS", "TEST ACC", "SAMPLES/S", "WHY")]
    rows += [_row(s) for s in states]
    widths = [max(len(row[i]) for row in rows) for i in range(6)]
    for row in rows:
        cells = [cell.ljust(w) if i < 2 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))]
        print("  ".join([*cells, row[6]]).rstrip())
    if len(names) > len(states):
        print(f"{len(names) - len(states)} older runs: dctop runs --all", file=sys.stderr)
    return 0


def _row(s: RunState) -> tuple[str, str, str, str, str, str, str]:
    accuracy = s.evals[-1].get("accuracy") if s.evals else None
    loss = s.last.get("loss")
    return (
        s.id,
        s.status,
        f"{s.step or 0:,}/{s.total_steps or 0:,}",
        "-" if loss is None else f"{loss:.4f}",
        f"{accuracy:.4f}" if isinstance(accuracy, float) else "-",
        "-" if s.samples_per_s is None else f"{s.samples_per_s:,.0f}",
        s.reason or s.trouble or "",
    )


def summary(s: RunState) -> dict[str, object]:
    """A run as JSON: names as in RunState, missing is null, no NaN."""
    latest = s.evals[-1] if s.evals else None
    result: dict[str, object] = {
        "id": s.id, "workload": s.workload, "status": s.status, "reason": s.reason, "trouble": s.trouble,
        "exit_code": s.exit_code,
        "directory": s.directory, "host": s.host, "pid": s.pid, "device": s.device,
        "data_source": s.data_source, "synthetic": s.synthetic,
        "started_wall_ns": s.started_wall_ns, "ended_wall_ns": s.ended_wall_ns,
        "mode": s.mode, "step": s.step, "total_steps": s.total_steps,
        "epoch": s.epoch, "total_epochs": s.total_epochs,
        "samples_per_s": s.samples_per_s, "eta_s": s.eta_s,
        "last": dict(s.last), "eval": latest, "config": s.config.get("config"),
    }  # fmt: skip
    return {key: plain(value) for key, value in result.items()}


def plain(value: object) -> object:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def _show(states: list[RunState], as_json: bool) -> int:
    from dctop.engine.config import load

    settings = load()[0].energy
    if as_json:
        documents = [
            {
                **summary(s),
                "energy": plain(_energy(s, settings)),
                "events": [plain(_event(e)) for e in s.events],
                "evals": plain(list(s.evals)),
                "checkpoints": checkpoints_of(s),
            }
            for s in states
        ]
        print(json.dumps(documents[0] if len(documents) == 1 else documents, indent=1, allow_nan=False))
        return 0
    for s in states:
        _print_run(s, settings)
    return 0


def _energy(s: RunState, settings: Energy) -> dict[str, object] | None:
    from dctop.engine.training import energy

    used = energy.run_energy(None, s, settings)
    return None if used is None else energy.as_json(used)


def _event(e: RunEvent) -> dict[str, object]:
    return {"wall_ns": e.wall_ns, "step": e.step, "kind": e.kind, "text": e.text, "data": dict(e.data)}


def checkpoints_of(s: RunState) -> list[dict[str, object]]:
    """Its checkpoints, oldest first."""
    from dataclasses import asdict
    from pathlib import Path

    from dctop.engine.training import checkpoints

    asked = s.config.get("config")
    folder = checkpoints.folder_of(Path(s.directory), asked if isinstance(asked, dict) else {})
    return [asdict(c) for c in checkpoints.listed(folder)]


def _print_run(s: RunState, settings: Energy) -> None:
    from dctop.engine.training import energy
    from dctop.tui.commands.train import progress_text

    used = energy.run_energy(None, s, settings)
    asked = s.config.get("config")
    facts = [
        ("run", s.id),
        ("status", f"{s.status}{f': {s.reason}' if s.reason else ''}"),
        *([("trouble", s.trouble)] if s.trouble else []),
        ("progress", progress_text(s)),
        ("started", _when(s.started_wall_ns)),
        ("ended", _when(s.ended_wall_ns) if s.ended_wall_ns else "-"),
        ("device", s.device or "-"),
        ("data", s.data_source or "-"),
        ("energy", "-" if used is None else energy.in_words(used)),
        (
            "process",
            f"{s.pid or '-'} on {s.host or '-'}, exit code {'-' if s.exit_code is None else s.exit_code}",
        ),
        ("directory", s.directory),
        ("options", "  ".join(f"{k}={v}" for k, v in asked.items()) if isinstance(asked, dict) else "-"),
    ]
    remedy = s.config.get("remedy")
    if isinstance(remedy, dict):
        from dctop.tui.commands.apply import outcome

        facts.append(("remedy", outcome(s, remedy)))
    for name, value in facts:
        print(f"{name:<10} {value}")
    for c in checkpoints_of(s):
        best = "  best" if c["best"] else ""
        print(f"{'checkpoint':<10} step {c['step']:,}  {c['bytes']:,} bytes  {c['path']}{best}")
    print("events")
    for e in s.events:
        if e.kind != "mode":
            print(f"  {_when(e.wall_ns)}  {'' if e.step is None else e.step:>8}  {e.kind:<10} {e.text}")


def _when(wall_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(wall_ns / 1e9))


def _wait(state: RunState, as_json: bool = False) -> None:
    """Until the run has ended, so that a script may go on; at most a minute."""
    from pathlib import Path

    from dctop.engine.training.watcher import RunFollower

    follower = RunFollower(Path(state.directory))
    until = time.monotonic() + STOP_WAIT_S
    try:
        while time.monotonic() < until:
            now = follower.poll()
            if now is None or now.status not in ("starting", "running", "stopping"):
                _tell(state.id, "removed" if now is None else now.reason or now.status, as_json)
                return
            time.sleep(0.1)
    finally:
        follower.close()
    raise CommandError(f"{state.id} was asked to stop and goes on; --force kills it", 1)
