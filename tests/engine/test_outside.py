"""Alerts to the outside: real programs, a real local server that is slow, hangs, refuses, fails."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.config import Outside
from dctop.engine.live import LiveEngine
from dctop.engine.outside import ATTEMPTS, QUEUE, Lane, Notifier, Told, deliver_test
from dctop.engine.rules.alert import Alert, Evidence

S = 1_000_000_000
ALERT = Alert(
    "disk-fill", "/data", "storage", "critical", "firing", S, None, None, "/data is full", "why",
    (Evidence("Free", float("nan"), "%", "< 2 %"),), (), None, (), "state", id=1,
)  # fmt: skip


class Server(ThreadingHTTPServer):
    """Keeps what it got; `answers` are taken in order, the last one for ever."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[dict[str, Any]] = []
        self.answers: list[int | str] = [200]
        self.free = threading.Event()
        """Set: whoever hangs goes on."""
        self.arrived = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook?x=1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.got.append({"path": self.path, "type": self.headers["Content-Type"], **json.loads(body)})
        server.arrived.set()
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if answer == "hang":
            server.free.wait(30)
        elif answer == "drip":
            self.wfile.write(b"HTTP/1.1 ")
            while not server.free.wait(0.2):
                try:
                    self.wfile.write(b"2")
                    self.wfile.flush()
                except OSError:
                    return
        elif answer == "close":
            self.connection.close()
        else:
            self.send_response(int(answer))
            self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    s = Server()
    thread = threading.Thread(target=s.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield s
    s.free.set()
    s.shutdown()
    s.server_close()


def hook(tmp_path: Path, body: str) -> tuple[str, ...]:
    """A program that reads its standard input into `text` and runs `body`."""
    file = tmp_path / "hook.py"
    file.write_text(
        f"import os, sys, time\ntext = sys.stdin.read()\nout = {str(tmp_path / 'out')!r}\n{body}\n"
    )
    return (sys.executable, str(file))


def notifier(**settings: Any) -> Notifier:
    return Notifier(Outside(**{"per_minute": 60.0, "timeout_s": 5.0, **settings}), "node-1", pause_s=0.01)


def idle(n: Notifier, timeout_s: float = 30.0) -> None:
    for lane in n.lanes:
        assert lane.wait_idle(timeout_s)


def test_a_program_gets_the_alert_as_json_on_its_standard_input(tmp_path: Path) -> None:
    n = notifier(command=hook(tmp_path, "open(out, 'w').write(text)"))
    n.put([ALERT], 2 * S)
    idle(n)
    message = json.loads((tmp_path / "out").read_text())
    assert (message["schema"], message["event"], message["host"]) == (1, "opened", "node-1")
    assert message["alert"]["rule"] == "disk-fill"
    assert message["alert"]["evidence"][0]["value"] is None
    assert (n.lanes[0].sent, n.problem) == (1, None)


def test_a_webhook_gets_it_by_post(server: Server) -> None:
    n = notifier(webhook=server.url)
    n.put([ALERT], 2 * S)
    n.put([replace(ALERT, state="closed", closed_wall_ns=3 * S)], 3 * S)
    idle(n)
    assert server.got[0]["path"] == "/hook?x=1"
    assert server.got[0]["type"] == "application/json"
    events = [m["event"] for m in server.got] + [a["event"] for m in server.got for a in m["also"]]
    assert sorted(events) == ["closed", "opened"]


def test_a_failing_program_is_asked_again_so_often_and_no_more(tmp_path: Path) -> None:
    n = notifier(command=hook(tmp_path, "open(out, 'a').write('x')\nsys.exit(3)"))
    n.put([ALERT], 2 * S)
    idle(n)
    assert (tmp_path / "out").read_text() == "x" * ATTEMPTS
    assert (n.lanes[0].sent, n.lanes[0].failed) == (0, 1)
    assert n.problem is not None and n.problem.endswith("exit status 3")


def test_a_program_that_is_not_there_is_not_asked_again() -> None:
    n = notifier(command=("/nowhere/hook",))
    n.put([ALERT], 2 * S)
    idle(n)
    assert n.problem == "alerts.command: /nowhere/hook: not found or not executable"


def test_a_program_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    spawn = "import subprocess\np = subprocess.Popen(['sleep', '60'])\n"
    body = spawn + "open(out, 'w').write(str(p.pid))\ntime.sleep(60)"
    n = notifier(command=hook(tmp_path, body), timeout_s=1.0)
    lane = n.lanes[0]
    n.put([ALERT], 2 * S)
    while not lane.error:
        time.sleep(0.05)
    n.stop()
    assert "no end within 1 s" in str(lane.error)
    pid = int((tmp_path / "out").read_text())
    for _ in range(100):
        status = Path(f"/proc/{pid}/status")
        if not status.exists() or "State:\tZ" in status.read_text():
            break
        time.sleep(0.05)
    else:
        raise AssertionError("its child lives on")


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_fails_is_asked_again(server: Server, status: int) -> None:
    server.answers = [status, status, 200]
    n = notifier(webhook=server.url)
    n.put([ALERT], 2 * S)
    idle(n)
    assert len(server.got) == 3
    assert (n.lanes[0].sent, n.problem) == (1, None)


def test_a_server_that_fails_for_ever_is_given_up(server: Server) -> None:
    server.answers = [500]
    n = notifier(webhook=server.url)
    n.put([ALERT], 2 * S)
    idle(n)
    assert len(server.got) == ATTEMPTS
    assert n.problem == "alerts.webhook: 127.0.0.1: HTTP 500"


def test_a_server_that_refuses_the_message_is_not_asked_again(server: Server) -> None:
    server.answers = [404]
    n = notifier(webhook=server.url)
    n.put([ALERT], 2 * S)
    idle(n)
    assert len(server.got) == 1
    assert n.lanes[0].failed == 1


def test_nobody_listening_is_one_line(server: Server) -> None:
    url = server.url
    server.server_close()
    n = notifier(webhook=url)
    n.put([ALERT], 2 * S)
    idle(n)
    assert n.problem == "alerts.webhook: 127.0.0.1: Connection refused"


@pytest.mark.parametrize("how", ["hang", "drip", "close"])
def test_a_server_that_does_not_answer_is_left(server: Server, how: str) -> None:
    server.answers = [how, 200]
    n = notifier(webhook=server.url, timeout_s=1.0)
    n.put([ALERT], 2 * S)
    idle(n)
    assert len(server.got) == 2
    assert n.lanes[0].sent == 1


def test_a_hanging_server_delays_neither_the_tick_nor_the_other_receiver_nor_the_end(
    server: Server, tmp_path: Path
) -> None:
    server.answers = ["hang"]
    n = notifier(webhook=server.url, command=hook(tmp_path, "open(out, 'w').write(text)"), timeout_s=60.0)
    began = time.thread_time()
    for i in range(300):
        n.put([replace(ALERT, id=i)], 2 * S)
    assert time.thread_time() - began < 5.0
    assert server.arrived.wait(10)
    assert n.lanes[0].wait_idle(30)
    assert (tmp_path / "out").exists()
    n.stop()
    n.put([replace(ALERT, id=999)], 2 * S)
    assert not n.lanes[1].wait_idle(0.05), "it still hangs; nobody waited for it"


def test_what_comes_faster_than_the_rate_is_told_together(server: Server) -> None:
    n = notifier(webhook=server.url, per_minute=60.0)
    for i in range(40):
        n.put([replace(ALERT, id=i, severity="critical", entity=f"/m{i}")], 2 * S)
    idle(n)
    assert len(server.got) <= 6
    told = [m["alert"]["entity"] for m in server.got] + [a["entity"] for m in server.got for a in m["also"]]
    assert sorted(told) == sorted(f"/m{i}" for i in range(40))


def test_the_queue_is_bounded_and_says_what_it_lost() -> None:
    got: list[dict[str, Any]] = []
    first, go = threading.Event(), threading.Event()

    def sink(body: bytes, timeout_s: float, ended: threading.Event) -> None:
        got.append(json.loads(body))
        first.set()
        go.wait(30)

    lane = Lane("x", sink, 60.0, 1.0)
    message: dict[str, object] = {"event": "opened", "alert": {"severity": "warning"}}
    lane.put(message)
    assert first.wait(10)
    for _ in range(QUEUE + 30):
        lane.put(message)
    go.set()
    assert lane.wait_idle(30)
    assert len(got[1]["also"]) + got[1]["left_out"] + 1 == QUEUE + 30


def told(*seen: tuple[int, Alert], severity: str = "warning") -> list[tuple[int, str]]:
    t = Told(severity)
    return [(second, event) for second, a in seen for event, _ in t.changes([a], second * S)]


WARNING = replace(ALERT, severity="warning")


def test_an_alarm_is_told_once_and_its_end_once() -> None:
    closed = replace(ALERT, state="closed")
    assert told((1, ALERT), (2, ALERT), (3, closed), (4, closed)) == [(1, "opened"), (3, "closed")]


def test_a_warning_waits_for_its_root() -> None:
    assert told((1, WARNING), (2, WARNING), (4, WARNING), (5, WARNING)) == [(4, "opened")]
    symptom = replace(WARNING, suppressed_by="xid")
    assert told((1, WARNING), (2, symptom), (9, symptom), (10, replace(symptom, state="closed"))) == []


def test_a_graver_alert_is_told_again_and_a_lesser_one_is_not() -> None:
    assert told((1, WARNING), (4, WARNING), (5, ALERT), (6, WARNING)) == [(4, "opened"), (5, "escalated")]


def test_notes_muted_and_acknowledged_alerts_are_not_told() -> None:
    assert told((1, replace(ALERT, severity="info")), (9, replace(ALERT, severity="info"))) == []
    assert told((1, replace(ALERT, muted_until_ns=5 * S)), (6, replace(ALERT, muted_until_ns=5 * S))) == [
        (6, "opened")
    ]
    assert told((1, replace(ALERT, acked=True))) == []
    assert told(
        (1, replace(ALERT, severity="info")), (5, replace(ALERT, severity="info")), severity="info"
    ) == [(5, "opened")]


def test_a_test_message_says_how_it_went(server: Server) -> None:
    server.answers = [200, 500]
    settings = Outside(webhook=server.url)
    assert deliver_test(settings, "n") == [("alerts.webhook", None)]
    assert deliver_test(settings, "n") == [("alerts.webhook", "127.0.0.1: HTTP 500")]
    assert server.got[0]["event"] == "test"


def test_the_live_engine_tells_and_ends_at_once(server: Server) -> None:
    """With a rule of one's own that fires at once, and a receiver that hangs."""
    server.answers = ["hang"]
    own = {"always": {"when": "cpu.count > 0", "severity": "critical"}}
    engine = LiveEngine(0.1, runs_dir=False, own_rules=own)
    engine.tell_outside(Outside(webhook=server.url, timeout_s=60.0))
    engine.start()
    try:
        assert server.arrived.wait(20)
        assert engine.wait_ticks(3, 10)
    finally:
        engine.stop()
    assert server.got[0]["alert"]["rule"] == "always"
