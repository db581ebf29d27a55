"""Alerts to the outside: a command that gets JSON on standard input, a webhook that gets it by POST.

Each has a thread of its own, a short queue and a rate; the tick only compares and appends, and ending dctop
waits for neither. What comes faster than the rate is told together in the next message. Symptoms, notes
below the wanted severity and what is muted are not told.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dctop.engine.rules.alert import RANK, Alert
from dctop.engine.rules.plain import Json, document, iso

if TYPE_CHECKING:
    from dctop.engine.config import Outside

log = logging.getLogger(__name__)

SCHEMA = 1
ATTEMPTS = 4
"""Deliveries of one message at most: the pauses between are 1, 2 and 4 s."""
SETTLE_NS = 3_000_000_000
"""What is less than critical is told after so long: its root may open a moment later."""
QUEUE = 200
ALSO = 50
"""Further alerts told in one message at most."""
Sink = Callable[[bytes, float, threading.Event], "Failure | None"]


class Failure:
    """Why a message was not taken, in one line; `final`: asking again is of no use."""

    def __init__(self, text: str, final: bool = False) -> None:
        self.text, self.final = text, final


class Told:
    """What changed since the tick before and is worth a message. No thread, no clock of its own."""

    def __init__(self, min_severity: str = "warning") -> None:
        self._rank = RANK[min_severity]
        self._known: dict[int, tuple[str, int]] = {}
        """id -> (severity, count) as told."""
        self._waiting: dict[int, int] = {}
        """id -> wall time it was first seen."""
        self._before: Sequence[Alert] = ()

    def changes(self, alerts: Sequence[Alert], wall_ns: int) -> list[tuple[str, Alert]]:
        """(opened | escalated | closed, alert) in the order of the list."""
        if alerts is self._before and not self._waiting:
            return []
        self._before = alerts
        out: list[tuple[str, Alert]] = []
        ids = set()
        for a in alerts:
            ids.add(a.id)
            event = self._event(a, wall_ns)
            if event:
                out.append((event, a))
        for gone in [i for i in (*self._known, *self._waiting) if i not in ids]:
            self._known.pop(gone, None)
            self._waiting.pop(gone, None)
        return out

    def _event(self, a: Alert, wall_ns: int) -> str | None:
        told = self._known.get(a.id)
        if not a.open:
            self._waiting.pop(a.id, None)
            if told is not None and told[0]:
                self._known[a.id] = ("", told[1])
                return "closed"
            return None
        muted = a.muted_until_ns is not None and a.muted_until_ns > wall_ns
        if RANK[a.severity] > self._rank or a.suppressed_by is not None or a.acked or muted:
            return None
        if told is not None and told[0]:
            if RANK[a.severity] < RANK[told[0]]:
                self._known[a.id] = (a.severity, a.count)
                return "escalated"
            return None
        first = self._waiting.setdefault(a.id, wall_ns)
        if a.severity != "critical" and wall_ns - first < SETTLE_NS:
            return None
        del self._waiting[a.id]
        self._known[a.id] = (a.severity, a.count)
        return "opened"


class Lane:
    """One receiver: queue, rate, retries, thread (started with the first message)."""

    def __init__(
        self, name: str, sink: Sink, per_minute: float, timeout_s: float, pause_s: float = 1.0
    ) -> None:
        self.name = name
        self.sent = self.failed = 0
        self.error: str | None = None
        """Why the latest message was not taken; None after one that was."""
        self._sink = sink
        self._timeout_s = timeout_s
        self._gap_s = 60.0 / per_minute
        self._burst = max(1.0, min(per_minute, 3.0))
        self._pause_s = pause_s
        self._tokens, self._at = self._burst, time.monotonic()
        self._queue: deque[Json] = deque()
        self._dropped = 0
        self._wake = threading.Condition()
        self._ended = threading.Event()
        self._busy = False
        self._thread: threading.Thread | None = None

    def put(self, message: Json) -> None:
        """Never blocks: beyond the queue's length the oldest is dropped and counted."""
        with self._wake:
            if self._ended.is_set():
                return
            if len(self._queue) >= QUEUE:
                self._queue.popleft()
                self._dropped += 1
            self._queue.append(message)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=f"dctop-{self.name}", daemon=True)
                self._thread.start()
            self._wake.notify_all()

    def stop(self) -> None:
        """End now: a command that runs is ended with it."""
        self._ended.set()
        with self._wake:
            self._wake.notify_all()

    def wait_idle(self, timeout_s: float) -> bool:
        """Until everything put is delivered or given up."""
        with self._wake:
            return self._wake.wait_for(lambda: not self._queue and not self._busy, timeout_s)

    def _run(self) -> None:
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: bool(self._queue) or self._ended.is_set())
                if self._ended.is_set():
                    return
                self._busy = True
            if self._limit():
                return
            try:
                self._deliver(self._next())
            except Exception as e:  # a receiver must not end its thread
                self.error = f"{type(e).__name__}: {e}"
                log.exception("%s failed", self.name)

    def _limit(self) -> bool:
        """Wait for the rate; True if it ended meanwhile."""
        while True:
            now = time.monotonic()
            self._tokens = min(self._burst, self._tokens + (now - self._at) / self._gap_s)
            self._at = now
            if self._tokens >= 1.0:
                self._tokens -= 1.0
                return False
            if self._ended.wait((1.0 - self._tokens) * self._gap_s):
                return True

    def _next(self) -> Json:
        """Everything that waits, as one message: the gravest, the others in short."""
        with self._wake:
            waiting = list(self._queue)
            self._queue.clear()
            dropped, self._dropped = self._dropped, 0
        waiting.sort(key=lambda m: RANK.get(str(_alert(m).get("severity")), 9))
        first, rest = waiting[0], waiting[1:]
        short = ("rule", "entity", "severity", "title", "opened", "closed")
        also = [{"event": m["event"], **{k: _alert(m).get(k) for k in short}} for m in rest[:ALSO]]
        return {**first, "also": also, "left_out": dropped + len(rest) - len(also)}

    def _deliver(self, message: Json) -> None:
        body = _body(message)
        for attempt in range(ATTEMPTS):
            if attempt and self._ended.wait(self._pause_s * 2 ** (attempt - 1)):
                return
            failure = self._sink(body, self._timeout_s, self._ended)
            if failure is None:
                self.sent += 1
                self.error = None
                return
            self.error = failure.text
            if failure.final or self._ended.is_set():
                break
        self.failed += 1
        log.warning("%s: %s", self.name, self.error)


def _body(message: Json) -> bytes:
    return json.dumps(message, ensure_ascii=False, allow_nan=False).encode(errors="replace") + b"\n"


def _alert(message: Json) -> Mapping[str, object]:
    found = message["alert"]
    return found if isinstance(found, dict) else {}


class Notifier:
    """The receivers of one dctop. `put` once a tick."""

    def __init__(self, settings: Outside, host: str, pause_s: float = 1.0) -> None:
        self.host = host
        self.lanes = [
            Lane(name, sink, settings.per_minute, settings.timeout_s, pause_s)
            for name, sink in sinks(settings)
        ]
        self._told = Told(settings.min_severity)

    def put(self, alerts: Sequence[Alert], wall_ns: int) -> None:
        for event, alert in self._told.changes(alerts, wall_ns):
            message = envelope(event, alert, self.host, wall_ns)
            for lane in self.lanes:
                lane.put(message)

    def stop(self) -> None:
        """Waits for nobody."""
        for lane in self.lanes:
            lane.stop()

    @property
    def problem(self) -> str | None:
        """One line while a receiver does not take messages."""
        return next((f"{lane.name}: {lane.error}" for lane in self.lanes if lane.error), None)


def envelope(event: str, alert: Alert, host: str, wall_ns: int) -> Json:
    """One message. `event`: opened | escalated | closed | test."""
    return {
        "schema": SCHEMA, "event": event, "host": host, "sent": iso(wall_ns),
        "alert": document(alert), "also": [], "left_out": 0,
    }  # fmt: skip


def sinks(settings: Outside) -> list[tuple[str, Sink]]:
    """(name, how to deliver) of what is configured."""
    out: list[tuple[str, Sink]] = []
    if settings.command:
        out.append(("alerts.command", _command(settings.command)))
    if settings.webhook:
        out.append(("alerts.webhook", _webhook(settings.webhook)))
    return out


def deliver_test(settings: Outside, host: str) -> list[tuple[str, str | None]]:
    """Send one message to each receiver, once; (name, None or why it was not taken)."""
    now = time.time_ns()
    alert = Alert(
        "test", "node", "framework", "info", "firing", now, None, None, "A test of dctop's alerts",
        "Sent by `dctop doctor --test-alert`.", (), (), None, (), "event",
    )  # fmt: skip
    body = _body(envelope("test", alert, host, now))
    out: list[tuple[str, str | None]] = []
    for name, sink in sinks(settings):
        failure = sink(body, settings.timeout_s, threading.Event())
        out.append((name, None if failure is None else failure.text))
    return out


# -- receivers ------------------------------------------------------------------------------------------


def _command(argv: Sequence[str]) -> Sink:
    def run(body: bytes, timeout_s: float, ended: threading.Event) -> Failure | None:
        if shutil.which(argv[0]) is None:
            return Failure(f"{argv[0]}: not found or not executable", final=True)
        try:
            child = subprocess.Popen(
                list(argv), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
        except OSError as e:
            return Failure(f"{argv[0]}: {e.strerror or e}", final=True)
        try:
            return _feed(child, argv[0], body, timeout_s, ended)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    return run


def _feed(
    child: subprocess.Popen[bytes], name: str, body: bytes, timeout_s: float, ended: threading.Event
) -> Failure | None:
    deadline = time.monotonic() + timeout_s
    data: bytes | None = body
    while True:
        try:
            child.communicate(data, timeout=min(0.1, timeout_s))
        except subprocess.TimeoutExpired:
            data = None
            if ended.is_set():
                return Failure("ended with dctop", final=True)
            if time.monotonic() >= deadline:
                return Failure(f"{name}: no end within {timeout_s:g} s, killed")
            continue
        except (BrokenPipeError, OSError):
            child.wait(max(0.1, deadline - time.monotonic()))
        return None if child.returncode == 0 else Failure(f"{name}: exit status {child.returncode}")


def _webhook(url: str) -> Sink:
    def post(body: bytes, timeout_s: float, ended: threading.Event) -> Failure | None:
        import http.client
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        where = parts.hostname or ""
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection = kind(where, parts.port, timeout=timeout_s)
        # The socket's time-out holds for each read: who answers a byte at a time needs a deadline.
        timer = threading.Timer(timeout_s, _hang_up, (connection,))
        timer.daemon = True
        timer.start()
        try:
            headers = {"Content-Type": "application/json", "User-Agent": "dctop"}
            connection.request("POST", path, body, headers)
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as e:
            late = "no answer" if isinstance(e, TimeoutError) or not timer.is_alive() else ""
            text = (
                f"{late} within {timeout_s:g} s"
                if late
                else f"{getattr(e, 'strerror', None) or e or type(e).__name__}"
            )
            return Failure(f"{where}: {text}")
        finally:
            timer.cancel()
            connection.close()
        if 200 <= status < 300:
            return None
        return Failure(f"{where}: HTTP {status}", final=status < 500 and status not in (408, 429))

    return post


def _hang_up(connection: object) -> None:
    import socket

    sock = getattr(connection, "sock", None)
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
