"""The two machines every rule's sightings go through. Time comes in as an argument, in nanoseconds.

STATE:  ok -> pending (hold) -> firing -> clearing (clear held) -> ok, never less than 30 s of firing.
EVENT:  fires on one sighting and latches; only acknowledging or a new start of the worker ends it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

S = 1_000_000_000
MIN_FIRING_NS = 30 * S
CLEAR_NS = 30 * S
CLEAR_STEPS = 20
REFIRE_NS = 600 * S
"""Fires again within ten minutes of closing: the same incident, counted."""
EASE_NS = 30 * S
"""A lower severity must have lasted this long before an alert is called less grave."""

MachineState = Literal["ok", "pending", "firing", "clearing"]
Change = Literal["pending", "fired", "severity", "clearing", "again", "closed", "dropped"]


@dataclass(slots=True)
class StateMachine:
    """One STATE rule at one entity. `level`: 0 while ok or pending, else the alert's severity."""

    state: MachineState = "ok"
    level: int = 0
    fired_ns: int = 0
    _since: tuple[int | None, int | None, int | None] = (None, None, None)
    """Since when the condition has been at least info, warning, critical."""
    _clear_ns: int = 0
    _clear_step: int | None = None
    _below_ns: int | None = None

    def update(
        self, now: int, level: int, clear: bool, hold_ns: int = 0, step: int | None = None
    ) -> Change | None:
        """One sighting at `now`. A level at or above a threshold is never also clear."""
        since = self._since = _since(self._since, level, now)
        held = 0
        for i in (2, 1, 0):
            begun = since[i]
            if begun is not None and now - begun >= hold_ns:
                held = i + 1
                break
        if self.state in ("ok", "pending"):
            return self._quiet(now, level, held)
        return self._loud(now, level, held, clear and not level, step)

    def unknown(self) -> Change | None:
        """Nothing was seen: an alert can neither come nor go on what is not known."""
        self._since = (None, None, None)
        if self.state == "pending":
            self.state = "ok"
            return "dropped"
        if self.state == "clearing":
            self.state = "firing"
            return "again"
        return None

    def _quiet(self, now: int, level: int, held: int) -> Change | None:
        if held:
            self.state, self.level, self.fired_ns, self._below_ns = "firing", held, now, None
            return "fired"
        if level:
            if self.state == "pending":
                return None
            self.state = "pending"
            return "pending"
        if self.state == "pending":
            self.state = "ok"
            return "dropped"
        return None

    def _loud(self, now: int, level: int, held: int, clear: bool, step: int | None) -> Change | None:
        if clear:
            if self.state == "firing":
                self.state, self._clear_ns, self._clear_step = "clearing", now, step
                return "clearing"
            return self._clearing(now, step)
        if self.state == "clearing":
            self.state = "firing"
            self._below_ns = None
            return "again"
        return self._severity(now, level, held)

    def _clearing(self, now: int, step: int | None) -> Change | None:
        began = self._clear_step
        steps = 0 if step is None or began is None else step - began
        long_enough = now - self._clear_ns >= CLEAR_NS or steps >= CLEAR_STEPS
        if long_enough and now - self.fired_ns >= MIN_FIRING_NS:
            self.state, self.level, self._since = "ok", 0, (None, None, None)
            return "closed"
        return None

    def _severity(self, now: int, level: int, held: int) -> Change | None:
        if held > self.level:
            self.level, self._below_ns = held, None
            return "severity"
        if not 0 < level < self.level:
            self._below_ns = None
            return None
        if self._below_ns is None:
            self._below_ns = now
        if now - self._below_ns >= EASE_NS:
            self.level, self._below_ns = level, None
            return "severity"
        return None


def _since(
    old: tuple[int | None, int | None, int | None], level: int, now: int
) -> tuple[int | None, int | None, int | None]:
    a, b, c = old
    return (
        None if level < 1 else (now if a is None else a),
        None if level < 2 else (now if b is None else b),
        None if level < 3 else (now if c is None else c),
    )


@dataclass(slots=True)
class EventMachine:
    """One EVENT rule at one entity."""

    open: bool = False
    level: int = 0

    def fire(self, level: int) -> Change:
        """It happened: `fired` for the first time, `again` while still latched."""
        if self.open:
            self.level = max(self.level, level)
            return "again"
        self.open, self.level = True, level
        return "fired"

    def release(self) -> None:
        """Acknowledged, or the worker was started anew."""
        self.open = False


def same_incident(closed_ns: int, now: int) -> bool:
    """Whether firing at `now` belongs to the incident that closed at `closed_ns`."""
    return 0 <= now - closed_ns <= REFIRE_NS
