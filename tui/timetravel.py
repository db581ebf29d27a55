"""Moving through time: pause, look back, replay, jumps, speed, events, comparing, how much a graph spans."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from dctop.tui.dialogs.times import HINT, moment_ns, span_s
from dctop.tui.sources import is_live, is_replay, is_timed
from dctop.tui.timescale import next_scale
from dctop.tui.views import replaybar

if TYPE_CHECKING:
    from dctop.tui.application import DctopApp
    from dctop.tui.sources import EventLike

FAR = 1 << 40


class TimeTravel:
    """Bound to one app. The same keys live and in a replay, wherever the same thing can be done."""

    def __init__(self, app: DctopApp) -> None:
        self.app = app
        self.last_compared = "-5m"

    def table(self) -> dict[str, Callable[[], None]]:
        """Action id -> what it does."""
        out: dict[str, Callable[[], None]] = {
            "app.pause": self.pause, "app.goto": self.goto,
            "look.live": lambda: self.look_to(0), "look.oldest": lambda: self.look_to(FAR),
            "look.jump": lambda: self.jump(1), "look.jump_back": lambda: self.jump(-1),
            "alert.next": lambda: self.alert(1), "alert.previous": lambda: self.alert(-1),
            "replay.play": self.play, "replay.faster": lambda: self.speed(1),
            "replay.slower": lambda: self.speed(-1), "replay.start": lambda: self.seek_end(0),
            "replay.end": lambda: self.seek_end(1), "replay.jump": lambda: self.jump(1),
            "replay.jump_back": lambda: self.jump(-1),
            "time.events": self.events, "time.compare": self.compare,
            "time.wider": lambda: self.scale(1), "time.narrower": lambda: self.scale(-1),
        }  # fmt: skip
        for suffix, seconds in (("", 0.0), ("10", 10.0), ("60", 60.0)):
            for name, sign in (("back", -1), ("forward", 1)):
                out[f"look.{name}{suffix}"] = lambda s=seconds, d=sign: self.look(d, s)  # type: ignore[misc]
                out[f"replay.{name}{suffix}"] = lambda s=seconds, d=sign: self.step(d, s)  # type: ignore[misc]
        return out

    # -- live ---------------------------------------------------------------------------------------

    def pause(self) -> None:
        source, s = self.app.source, self.app.state
        if not is_live(source):
            return
        if s.paused_at is None and not source.back:
            s.paused_at = source.tick_seq
        else:
            self.look_to(0)
        self.app.node.update()

    def look(self, direction: int, seconds: float) -> None:
        """Live: `direction` < 0 back. 0 seconds: one tick."""
        source = self.app.source
        if is_live(source):
            self.app.hold_pause()
            ticks = max(1, round(seconds / source.interval_s)) if seconds else 1
            self.look_to(source.back - direction * ticks)

    def look_to(self, ticks: int) -> None:
        source, s = self.app.source, self.app.state
        if not is_live(source):
            return
        got = source.look_back(max(0, ticks))
        if 0 < got < ticks and ticks != FAR:
            more = "the recording begins there" if source.recorder is not None else "`r` records more"
            kept = replaybar.span_text(int(got * source.interval_s * 1e9))
            self.app.say(f"nothing is kept before {kept} ago: {more}", "warning")
        s.paused_at = None
        self.app.node.update()

    def look_at(self, wall_ns: int) -> None:
        """Live: the moment nearest to that time."""
        source = self.app.source
        if is_live(source):
            self.app.hold_pause()
            self.look_to(max(0, round((time.time_ns() - wall_ns) / 1e9 / source.interval_s)))

    # -- replay -------------------------------------------------------------------------------------

    def step(self, direction: int, seconds: float) -> None:
        source, s = self.app.source, self.app.state
        if is_replay(source):
            s.playing = s.following = False
            if seconds:
                source.seek(source.position_ns + int(direction * seconds * 1e9))
            else:
                source.step(direction)
            self.app.node.update()

    def seek_end(self, end: int) -> None:
        """To the beginning, or the end: of a recording that is being made the end is followed."""
        source, s = self.app.source, self.app.state
        if is_replay(source):
            s.playing, s.following = False, bool(end) and source.live
            source.seek(source.t1_ns if end else source.t0_ns)
            self.app.node.update()
            if s.following:
                self.app.say("following the recording: any step stops")
                self.app.ticker.poke()

    def play(self) -> None:
        source, s = self.app.source, self.app.state
        if is_replay(source):
            s.playing, s.following = not (s.playing or s.following), False
            if s.playing and source.at_end:
                if source.live:
                    s.playing, s.following = False, True
                else:
                    source.seek(source.t0_ns)
            self.app.ticker.poke()

    def speed(self, by: int) -> None:
        self.app.state.faster(by)
        if self.app.state.playing:
            self.app.ticker.poke()
        self.app.node.update(panes=False)

    # -- both ---------------------------------------------------------------------------------------

    def go(self, wall_ns: int) -> None:
        """Show that moment."""
        source, s = self.app.source, self.app.state
        if is_replay(source):
            s.playing = s.following = False
            source.seek(max(source.t0_ns, min(source.t1_ns, wall_ns)))
            self.app.node.update()
        else:
            self.look_at(wall_ns)

    def moment(self, text: str) -> int | str:
        """The time that `text` means from here, or what is wrong with it."""
        source = self.app.source
        if is_replay(source):
            at = moment_ns(text, source.position_ns, source.t0_ns, source.t1_ns)
            hint = HINT
        else:
            snap, now = source.snapshot(), time.time_ns()
            at = moment_ns(text, now if snap is None else snap.frame.wall_ns, last_ns=now)
            hint = "14:02, 3m ago, -5m, now"
        return f"not a moment: {text or 'nothing'} ({hint})" if at is None else at

    def goto(self) -> None:
        from dctop.tui.dialogs.forms import InputDialog

        def ok(text: str) -> str | None:
            at = self.moment(text)
            if isinstance(at, str):
                return at
            self.go(at)
            return None

        self.app.node.open(InputDialog("go to", "moment", "", ok, note=HINT))

    def jump(self, direction: int) -> None:
        from dctop.tui.dialogs.forms import InputDialog

        def ok(text: str) -> str | None:
            seconds = span_s(text)
            if seconds is None:
                return f"not a span: {text or 'nothing'} (90, 90s, 5m, 1h30m)"
            self.app.last_jump = text
            if is_live(self.app.source):
                self.look(direction, seconds)
            else:
                self.step(direction, seconds)
            return None

        title = "jump forward" if direction > 0 else "jump back"
        self.app.node.open(InputDialog(title, "by", self.app.last_jump, ok, note="90s, 5m, 1h30m"))

    def alert(self, direction: int) -> None:
        """Go to the beginning of the next or previous alert."""
        source, s = self.app.source, self.app.state
        if is_replay(source):
            found = source.next_event(direction, ("alert",))
            if found is None:
                self.app.say("no further alert" if direction > 0 else "no earlier alert")
            else:
                s.playing = s.following = False
                source.seek_seq(found.seq)
                self.app.node.update()
        elif is_live(source):
            snap = source.snapshot()
            self.app.hold_pause()
            here = 0 if snap is None else snap.frame.wall_ns
            times = sorted(
                {a.opened_wall_ns for a in source.alerts()}
                | {e.t0 for e in source.events() if e.kind == "alert"}
            )
            reach = int(1.5 * source.interval_s * 1e9)  # a tick lies up to one interval beside the moment
            pick = [t for t in times if t > here + reach] if direction > 0 else [
                t for t in reversed(times) if t < here - reach
            ]  # fmt: skip
            if not pick:
                self.app.say("no other alert within what is kept")
            else:
                self.look_at(pick[0])

    def events(self) -> None:
        """The list of all that happened, to search and to go to."""
        from dctop.tui.dialogs.events import event_dialog

        source = self.app.source
        found: list[EventLike] = list(source.events()) if is_timed(source) else []
        if not found:
            self.app.say(
                "nothing has happened in this recording" if is_replay(source)
                else "events are kept by a recording: `r` starts one"
            )  # fmt: skip
            return
        snap = source.snapshot()
        here = 0 if snap is None else snap.frame.wall_ns

        def go(event: EventLike) -> None:
            s = self.app.state
            if is_replay(source):
                s.playing = s.following = False
                source.seek_seq(event.seq)
                self.app.node.update()
            else:
                self.look_at(event.t0)

        self.app.node.open(event_dialog(found, here, self.app.node.look.unicode, go))

    def compare(self) -> None:
        """This moment against another one: what changed most."""
        from dctop.tui.dialogs.forms import InputDialog

        def ok(text: str) -> str | None:
            at = self.moment(text)
            if isinstance(at, str):
                return at
            error = self._compare(at)
            if error is None:
                self.last_compared = text
            return error

        self.app.node.open(InputDialog("compare this moment", "with", self.last_compared, ok, note=HINT))

    def _compare(self, other_ns: int) -> str | None:
        from dctop.engine.recording.compare import SPAN, compare
        from dctop.tui.dialogs.compare import compare_dialog

        source = self.app.source
        snap = source.snapshot()
        if snap is None or not is_timed(source):
            return "nothing to compare yet"
        here, there = source.snapshots_at(snap.frame.wall_ns, SPAN), source.snapshots_at(other_ns, SPAN)
        if not here or not there:
            return "nothing is kept of one of the moments"
        if here[-1].frame.seq == there[-1].frame.seq:
            return "that is this very moment: name another one"
        # Opened once the one that asked has closed.
        dialog = compare_dialog(compare(there, here))
        self.app.call_later(lambda: self.app.node.open(dialog))
        return None

    def scale(self, by: int) -> None:
        """More (`by` > 0) or less time in every graph."""
        s, source = self.app.state, self.app.source
        before, s.scale = s.scale, next_scale(s.scale, by)
        if s.scale == before:
            self.app.say("no wider" if by > 0 else "graphs show every tick")
            return
        each = replaybar.span_text(int(s.scale * source.interval_s * 1e9))
        self.app.say(f"graphs: each value is the mean of {each}" if s.scale > 1 else "graphs: every tick")
        self.app.node.update()
