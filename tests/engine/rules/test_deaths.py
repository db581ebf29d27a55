"""Whom the kernel killed, and how workers end."""

from __future__ import annotations

import pytest

from tests.engine.rules.scene import Scene, values


def killed(scene: Scene, **data: object) -> None:
    run = scene.run()
    scene.train(run, 30)
    run.end("killed", -9, "killed", signal="SIGKILL", **data)
    scene.go(5)


def test_a_kill_counted_by_the_cgroup_is_out_of_memory() -> None:
    s = Scene()
    killed(s, oom_kill_delta=1, node_oom_kill_delta=1, oom="cgroup", cgroup_limit_bytes=500 << 20,
           cgroup_peak_bytes=500 << 20, cgroup_failcnt=67)  # fmt: skip
    a = s.alert("oom-killed")
    assert (a.severity, a.entity, a.problem, a.first_step) == ("critical", "run-1", "oom", 50)
    assert a.remedies[0].quantity == "limit 500 MiB -> 600 MiB"
    assert values(a)["Kills counted by the kernel"] == 1
    assert a.ruled_out
    s.quiet("worker-sigkilled")
    assert s.alert("worker-crashed").suppressed_by == "oom-killed"


def test_a_kill_by_a_person_is_no_out_of_memory() -> None:
    s = Scene()
    killed(s, oom_kill_delta=0, node_oom_kill_delta=0)
    assert s.alert("worker-sigkilled").severity == "critical"
    assert s.alert("worker-sigkilled").ruled_out
    s.quiet("oom-killed")
    s.quiet("worker-crashed")


def test_the_kernel_log_names_the_worker() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    s.kernel("oom-kill", pid="4242", task="python3", constraint="CONSTRAINT_NONE")
    a = s.alert("oom-killed")
    assert a.entity == "run-1"
    run.end("killed", -9, "killed", oom_kill_delta=0, node_oom_kill_delta=1, oom="likely")
    s.go(5)
    assert s.alert("oom-killed").count == 1  # the same death told twice
    s.quiet("worker-sigkilled")


def test_only_the_nodes_count_rose_and_the_log_names_another() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    s.kernel("oom-kill", pid="999", task="stress", constraint="CONSTRAINT_NONE", anon_rss="1000 kB")
    run.end("killed", -9, "killed", oom_kill_delta=None, node_oom_kill_delta=1, oom="likely")
    s.go(2)
    s.quiet("worker-sigkilled")  # the kernel's record may yet come
    s.go(5)
    assert s.alert("oom-killed").entity == "node"
    assert s.alert("worker-sigkilled").entity == "run-1"


def test_only_the_nodes_count_rose_and_the_log_cannot_be_read() -> None:
    s = Scene()
    s.set({"kernel.records": None})
    killed(s, node_oom_kill_delta=1, oom="likely")
    assert s.alert("oom-killed").entity == "run-1"


def test_without_the_kernel_log_the_counter_tells_of_other_victims() -> None:
    s = Scene()
    s.set({"kernel.records": None}).go(2)
    s.set({"memory.oom_kills": 1}).go(8)
    a = s.alert("oom-killed")
    assert a.entity == "node"
    assert "cannot be read" in a.why


def test_the_counter_is_silent_where_a_run_explains_it() -> None:
    s = Scene()
    s.set({"kernel.records": None})
    run = s.run()
    s.train(run, 30)
    s.set({"memory.oom_kills": 1})
    s.go()
    run.end("killed", -9, "killed", oom_kill_delta=1, oom="cgroup", node_oom_kill_delta=1)
    s.go(10)
    assert [a.entity for a in s.found("oom-killed")] == ["run-1"]


@pytest.mark.parametrize(
    ("status", "code", "crashed"),
    [
        ("failed", 1, True), ("killed", -11, True), ("killed", -7, True), ("lost", None, True),
        ("finished", 0, False), ("stopped", 0, False), ("killed", -15, False), ("killed", -2, False),
    ],
)  # fmt: skip
def test_what_counts_as_a_crash(status: str, code: int | None, crashed: bool) -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    run.end(status, code, "some reason")  # type: ignore[arg-type]
    s.go(5)
    assert bool(s.found("worker-crashed")) == crashed
    s.quiet("oom-killed")


def test_a_crash_shows_where() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    trace = (
        'Traceback\n  File "/a/train.py", line 12, in f\n  File "/a/model.py", line 7, in g\nValueError: bad'
    )
    run.event("exception", "ValueError: bad", traceback=trace)
    run.end("failed", 1, "ValueError: bad", stderr="ValueError: bad")
    s.go(2)
    a = s.alert("worker-crashed")
    assert values(a)["Where"] == "/a/model.py:7"
    assert "ValueError: bad" in a.title


def test_a_kill_of_another_process_explains_no_crash_of_a_run() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    s.kernel("oom-kill", pid="999", task="stress", constraint="CONSTRAINT_MEMCG", anon_rss="1000 kB")
    run.end("failed", 1, "ValueError: bad", stderr="ValueError: bad")
    s.go(2)
    assert s.alert("oom-killed").entity == "node"
    assert s.alert("worker-crashed").suppressed_by is None


def test_a_bus_error_points_at_shared_memory() -> None:
    s = Scene()
    run = s.run()
    s.train(run, 30)
    run.end("killed", -7, "killed by SIGBUS")
    s.go(2)
    assert s.alert("shm-exhausted").severity == "critical"
    assert s.alert("worker-crashed").suppressed_by == "shm-exhausted"
