"""What others can read: a run's checkpoints, logs and data, and secrets its program printed."""

from __future__ import annotations

import shlex

from dctop.engine.rules.base import INFO, WARNING, Details, Ev, KeepingRule, Occurrence, Outcome, Rule, num
from dctop.engine.rules.runwindow import RunWindow

MOST = 6
"""Paths shown."""


class DataExposure(KeepingRule[tuple[tuple[str, str, str], ...]]):
    """Checkpoints, run logs or the run's data that every user of the node may read (the mode says so, and
    every directory above may be entered); or a secret in what the program printed, found by the patterns that
    mask recordings. A note; a secret in a log that others may read is a warning. System directories (/usr,
    /opt) are public by design. Looked at once a minute, and after each checkpoint."""

    id = "data-exposure"
    problem = "framework"
    kind = "event"
    severities = "iw"
    source = "mode bits; the patterns of engine/recording/masking.py"

    def judge(self, run: RunWindow) -> Outcome:
        found = run.run.exposed
        if not found or found == self._kept.get(run.id):
            return ()
        self._kept[run.id] = found
        secret = any(kind == "secret" for kind, _, _ in found)
        public = any(kind == "log" for kind, _, _ in found)
        level = WARNING if secret and public else INFO
        at = run.node.wall_ns
        return (Occurrence(run.id, level, found, at, self._details(run, found), run.step),)

    def _details(self, run: RunWindow, found: tuple[tuple[str, str, str], ...]) -> Details:
        files = [f for f in found if f[0] != "secret"]
        secrets = [f for f in found if f[0] == "secret"]
        evidence = [Ev(kind, f"{path} {detail}") for kind, path, detail in found[:MOST]]
        remedies: list[str | tuple[str, dict[str, object]]] = []
        if files:
            paths = " ".join(shlex.quote(path) for _, path, _ in files[:MOST])
            remedies.append(("mode", {"paths": paths, "n": len(files)}))
        if secrets:
            remedies.append(("rotate", {"where": f"{secrets[0][1]} {secrets[0][2]}"}))
        facts = {"run": run.id, "n": len(files), "secrets": len(secrets), "more": num(len(found), 9),
                 "first": found[0][1]}  # fmt: skip
        variant = None if not secrets else "both" if files else "secret"
        return Details(evidence, facts, list(remedies), variant=variant)


RULES: tuple[type[Rule], ...] = (DataExposure,)
