"""Start the dashboard, live or over a recording. Textual is imported late: first a picture, then the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dctop.tui import lean, skeleton
from dctop.tui.draw.look import Look
from dctop.tui.firstread import titles
from dctop.tui.state import UiState
from dctop.tui.terminal import ended_by_signals, look_of, no_echo, size_of
from dctop.tui.theme import DEFAULT, THEMES, colors_of, find
from dctop.tui.theme import paint as paint_of
from dctop.tui.views.dashboard import PANE_KEYS

if TYPE_CHECKING:
    from dctop.tui.dialogs.forms import Value
    from dctop.tui.panes.base import LaterPane, PaneModel

EXIT_OK, EXIT_FAILURE, EXIT_USAGE = 0, 1, 2
FIRST_TICK_S = 0.25
"""How long the first tick is waited for before Textual is imported."""


def run_dashboard(
    *,
    replay: Path | None = None,
    at: str | None = None,
    readonly: bool = False,
    paint: str = "auto",
    theme: str | None = None,
    graph: str | None = None,
    interval_s: float = 1.0,
    panes: Sequence[str] | None = None,
    focus_run: str | None = None,
    record: Path | None = None,
    config: Any = None,
    lang: str | None = None,
) -> int:
    """Show the dashboard until the user leaves it; returns the exit status.

    `replay`: a recording instead of the node, from the moment `at` on. `paint`: auto | fast | safe.
    `panes`: which to show (default: all). `record`: record into this file from the start. `config`: the
    user's `engine.config.Config`; options given here win over it.
    """
    error = _terminal_error() or _usage_error(theme, graph, paint, panes)
    if error is not None:
        print(f"dctop: {error}", file=sys.stderr)
        return EXIT_USAGE
    wanted = theme or _setting(config, "theme") or DEFAULT
    theme = find(wanted) or DEFAULT
    look = look_of(graph or _setting(config, "graph"), os.environ)
    shown = panes if panes is not None else _setting(config, "panes")
    hidden = set(PANE_KEYS) - set(shown) if shown else set()
    out = sys.stdout.fileno()
    failure: str | None = None
    status = EXIT_FAILURE
    source: Any = None
    with ended_by_signals(), no_echo(sys.stdin.fileno()) as usual:
        try:
            _first_picture(out, look, theme, hidden, replay is None)
            source = _open_source(replay, at, interval_s, config, lang)
            if record is not None and replay is None:
                source.start_recording(record)
            state, models = UiState(hidden=hidden), dashboard_models()
            if replay is not None and at is None and source.live:
                state.following = source.seek(source.t1_ns)
            if replay is None and focus_run is None:
                _first_numbers(out, source, models, state, look, theme)
            all_panes: list[PaneModel | LaterPane] = [
                *models,
                *other_models(models, _setting(config, "energy")),
            ]
            status, failure = _show(
                source,
                all_panes,
                state,
                look,
                theme,
                readonly,
                paint,
                config,
                focus_run,
                replay,
                wanted,
                usual,
            )
        except KeyboardInterrupt:
            status = 130
        except (OSError, ValueError, ImportError) as e:
            failure = str(e) or type(e).__name__
        finally:
            skeleton.write(skeleton.LEAVE, out)
            if source is not None:
                _close(source)
    if failure is not None:
        from dctop.engine import paths

        print(f"dctop: {failure} (details: {paths.log_file()})", file=sys.stderr)
        return EXIT_FAILURE
    return status


def pane_models(energy: Any = None) -> list[PaneModel | LaterPane]:
    """One of each pane, the dashboard's first. `energy`: what a kWh costs."""
    models = dashboard_models()
    return [*models, *other_models(models, energy)]


def dashboard_models() -> list[PaneModel]:
    """The dashboard's panes in the order of their digits."""
    from dctop.tui.panes import PANES

    return [make() for make in PANES]


def other_models(dashboard: Sequence[PaneModel], energy: Any = None) -> list[LaterPane]:
    """The panes of the other views, made when they are shown; some share what they know with one of the
    dashboard's."""
    from dctop.tui.panes.base import LaterPane
    from dctop.tui.views.gpu import OWN

    def detail() -> PaneModel:
        from dctop.tui.panes.alert_detail import AlertDetailPane

        pane = AlertDetailPane()
        if energy is not None:
            pane.price_per_kwh, pane.currency = energy.price_per_kwh, energy.currency
        return pane

    def run() -> PaneModel:
        from dctop.tui.panes.run_view import RunPane

        pane = RunPane()
        if energy is not None:
            pane.energy = energy
        return pane

    def timeline() -> PaneModel:
        from dctop.tui.panes.timeline import TimelinePane

        return TimelinePane()

    @cache
    def gpus() -> Mapping[str, PaneModel]:
        from dctop.tui.panes.gpu_view import gpu_panes

        return {pane.key: pane for pane in gpu_panes(dashboard, energy)}

    own = [LaterPane(key, lambda key=key: gpus()[key]) for key in OWN]  # type: ignore[misc]
    return [LaterPane("alert-detail", detail), LaterPane("run", run), LaterPane("timeline", timeline), *own]


def _show(
    source: Any,
    models: Sequence[PaneModel | LaterPane],
    state: UiState,
    look: Look,
    theme: str,
    readonly: bool,
    paint_mode: str,
    config: Any,
    focus_run: str | None,
    replay: Path | None,
    wanted: str,
    usual: list[Any] | None,
) -> tuple[int, str | None]:
    lean.load_asyncio()
    with lean.textual() if paint_mode != "safe" else lean.standing_in():
        from dctop.tui.application import DctopApp

    app = DctopApp(
        source,
        models,
        look=look,
        theme=theme,
        colors=colors_of(os.environ),
        state=state,
        remap=_keys(config),
        paint_mode=paint_mode,
        readonly=readonly,
        focus_run=focus_run,
        save=_save_user if replay is None else None,
    )
    app.terminal_before = usual
    for problem in _setting(config, "problems") or ():
        app.state.say(str(problem), "warning")
    if find(wanted) is None:
        app.state.say(f"no such theme: {wanted}; F2 lists them", "warning")
    with lean.pilot():
        result = app.run(mouse=_setting(config, "mouse") is not False)
    return (EXIT_FAILURE if app.failure else result or EXIT_OK), app.failure


def _open_source(
    replay: Path | None, at: str | None, interval_s: float, config: Any, lang: str | None
) -> Any:
    from dctop.tui.commands import language

    words = language(lang, _setting(config, "lang"))
    if replay is None:
        from dctop.engine import paths
        from dctop.engine.live import LiveEngine

        engine = LiveEngine(
            interval_s=interval_s, thresholds=_setting(config, "rules") or {}, lang=words, soon=True,
            own_rules=_setting(config, "own_rules"), energy=_setting(config, "energy"),
        )  # fmt: skip
        recording = _setting(config, "recording")
        if recording is not None:
            r = recording
            engine.configure_recording(r.dir, r.max_size_mb, r.max_age_days, r.durability)
        engine.keep_usual(paths.state_dir() / "usual.json")
        outside = _setting(config, "alerts")
        if outside is not None:
            engine.tell_outside(outside)
        engine.start()
        return engine
    from dctop.engine.recording.reader import open_recording
    from dctop.engine.recording.replay import ReplaySource

    source = ReplaySource(open_recording(replay), lang=words)
    if at:
        from dctop.tui.dialogs.times import HINT, moment_ns

        moment = moment_ns(
            at, source.t1_ns if at.startswith("-") else source.t0_ns, source.t0_ns, source.t1_ns
        )
        if moment is None:
            raise ValueError(f"--at {at}: not a moment ({HINT})")
        source.seek(max(source.t0_ns, min(source.t1_ns, moment)))
    return source


def _close(source: Any) -> None:
    for name in ("stop", "close"):
        end = getattr(source, name, None)
        if end is not None:
            end()
            return


def _terminal_error() -> str | None:
    try:
        if sys.stdin.isatty() and sys.stdout.isatty():
            return None
    except (AttributeError, ValueError):  # closed, or none at all
        pass
    return (
        "the dashboard needs a terminal for input and output; "
        "without one use `dctop snapshot --json` or `dctop record -o FILE`"
    )


def _usage_error(
    theme: str | None, graph: str | None, paint_mode: str, panes: Sequence[str] | None
) -> str | None:
    checks: tuple[tuple[str, str | None, Iterable[str]], ...] = (
        ("graph", graph, ("braille", "block", "ascii")),
        ("paint", paint_mode, ("auto", "fast", "safe")),
        *(("pane", p, PANE_KEYS) for p in panes or ()),
    )
    for what, value, known in checks:
        if value is not None and value not in known:
            return f"no such {what}: {value} (there are: {', '.join(known)})"
    if theme is not None and find(theme) is None:
        return f"no such theme: {theme} (there are: {', '.join(THEMES)})"
    return None


def _first_picture(fd: int, look: Look, theme: str, hidden: set[str], live: bool) -> None:
    w, h = size_of(fd)
    names = dict(zip(PANE_KEYS, ("CPU", "GPU", "MEM", "DISK", "NET", "PROC", "TRAIN", "ALERTS"), strict=True))
    colors, known = paint_of(theme, colors_of(os.environ)), titles(look) if live else {}
    skeleton.write(skeleton.picture(w, h, look, colors, names, hidden, known), fd)


def _first_numbers(
    fd: int, source: Any, models: Sequence[PaneModel], state: UiState, look: Look, theme: str
) -> None:
    """What the first tick read. A node that is slow to read keeps nobody waiting: Textual shows it later."""
    from dctop.tui.early import numbers

    if source.snapshot() is not None or source.wait_ticks(1, FIRST_TICK_S):
        w, h = size_of(fd)
        colors = paint_of(theme, colors_of(os.environ))
        skeleton.write(numbers(w, h, look, colors, source, state, models), fd)


def _setting(config: Any, name: str) -> Any:
    """A setting by name; None where the configuration is silent."""
    return None if config is None else getattr(config, name, None)


def _keys(config: Any) -> Mapping[str, str | Sequence[str]]:
    return _setting(config, "keys") or {}


def _save_user(values: dict[str, Value]) -> str | None:
    """Write what F2 set to the user's configuration; an error line or None."""
    from dctop.engine import config

    settings: dict[str, Any] = {k: v for k, v in values.items() if not k.startswith("pane.")}
    if "interval_s" in settings:
        settings["interval"] = float(settings.pop("interval_s"))
    settings["panes"] = [k for k in PANE_KEYS if values.get(f"pane.{k}", True)]
    return config.save_user(settings)
