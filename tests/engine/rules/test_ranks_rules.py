"""Stragglers, time-outs, ranks that are gone: from states as the reader makes them, and for real."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from dctop.engine.rules.logsource import judge_run
from dctop.engine.rules.ranks import TIMEOUT, balanced
from dctop.engine.training.ranks import RankState, from_text, text_of
from tests.engine.rules.gpus import rank
from tests.engine.rules.scene import Scene, values
from tests.fakes.runs import start, wait_end, write_idx
from tests.fakes.source import FakeRun


def ranks_run(s: Scene, *ranks: RankState) -> FakeRun:
    run = s.run()
    run.publish(config={**run.now.config, "ranks": len(ranks)}, ranks=ranks)
    return run


def test_the_rank_that_waits_least_is_the_slow_one_and_its_data_the_cause() -> None:
    s = Scene()
    run = ranks_run(s, rank(0, 0.1, 0.06), rank(1, 0.1, 0.01, data_s=0.051))
    s.train(run, 1500)
    a = s.alert("straggler-wait")
    assert a.severity == "critical" and "rank 1" in a.title and "for its data" in a.why
    assert values(a)["Slow rank"] == 1 and values(a)["Covered by the cause"] == 100
    assert a.remedies[0].effect == "step 100 -> 50 ms"
    assert a.ruled_out == ("Its copies", "Its computing", "Work outside the phases")


def test_a_rank_that_computes_longer_gets_fewer_samples() -> None:
    s = Scene()
    run = ranks_run(s, rank(0, 0.1, 0.04), rank(1, 0.1, 0.04), rank(2, 0.1, 0.02), rank(3, 0.1, 0.04))
    s.train(run, 1500)
    a = s.alert("straggler-wait")
    assert values(a)["Slow rank"] == 2
    # tau 80, 80, 100, 80 ms for 32 samples.
    assert a.remedies[0].quantity == "0: 34, 1: 34, 2: 27, 3: 34"
    assert a.remedies[0].effect == "step 100 -> 84.2 ms"


def test_a_cause_that_covers_too_little_is_not_named() -> None:
    s = Scene()
    slow = rank(1, 0.1, 0.01, data_s=0.026, compute_s=0.055)
    run = ranks_run(s, rank(0, 0.1, 0.06, compute_s=0.03), slow)
    s.train(run, 1500)
    a = s.alert("straggler-wait")
    assert "not known" in a.why and a.ruled_out == ()


@pytest.mark.parametrize(
    "ranks",
    [
        (rank(0, 0.1, 0.050), rank(1, 0.1, 0.047)),  # 3 % apart
        (rank(0, 0.002, 0.0015), rank(1, 0.002, 0.0005)),  # a toy: a millisecond
    ],
)
def test_balanced_ranks_and_toy_steps_are_no_stragglers(ranks: tuple[RankState, ...]) -> None:
    s = Scene()
    s.train(ranks_run(s, *ranks), 1500)
    s.quiet("straggler-wait")


def test_ranks_in_warm_up_or_without_a_log_are_not_judged() -> None:
    s = Scene()
    s.train(ranks_run(s, rank(0, 0.1, 0.06), rank(1, 0.1, 0.01, judged=3)), 300)
    assert "every rank" in s.unknown("straggler-wait")
    t = Scene()
    t.train(t.run(), 300)
    t.quiet("straggler-wait")


def test_shares_by_speed_keep_the_whole_batch() -> None:
    found = balanced([rank(0, 0.03, 0.004), rank(1, 0.03, 0.016)])
    assert found is not None and sum(found[0]) == 64 and found[1] == pytest.approx(0.0225)
    assert balanced([rank(0, 0.03, 0.004), rank(1, 0.03, 0.016, samples=None)]) is None


def test_a_rank_in_a_recording_is_what_it_was() -> None:
    ranks = (rank(0, 0.1235, 0.06), rank(1, 0.1, 0.01, wait_s=None))
    assert from_text(text_of(ranks)) == ranks
    for damaged in ("", "[[1]]", "{", "[[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]]", None, 5):
        assert from_text(damaged) == ()


@pytest.mark.parametrize(
    "said",
    [
        "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=112, OpType=ALLREDUCE)",
        "RuntimeError: [gloo/transport/tcp/unbound_buffer.cc:81] Timed out waiting 1800000ms for recv",
        "torch.distributed.DistBackendError: NCCL communicator was aborted: timed out",
    ],
)
def test_time_outs_of_nccl_and_gloo_are_known(said: str) -> None:
    assert TIMEOUT.search(said)
    s = Scene()
    run = ranks_run(s, rank(0, 0.1, 0.06), dataclasses.replace(rank(1, 0.1, 0.01), step=380))
    run.event("exception", said)
    run.end("failed", 1, said)
    s.go(2)
    a = s.alert("nccl-timeout")
    assert values(a)["Furthest behind"] == 1 and "FLIGHT" not in a.title
    assert s.alert("worker-crashed").suppressed_by == "nccl-timeout"


def test_a_rank_that_is_gone_is_named_and_explains_the_crash() -> None:
    s = Scene()
    run = ranks_run(s, rank(0, 0.1, 0.06), rank(1, 0.1, 0.01))
    run.event("exception", "RuntimeError: Connection closed by peer [127.0.0.1]:4711")
    run.end("killed", 1, "rank 1 was killed by SIGKILL", rank=1, signal="SIGKILL", rank_exit_code=-9)
    s.go(2)
    a = s.alert("rank-missing")
    assert "rank 1 of 2 is gone (SIGKILL)" in a.title
    assert s.alert("worker-crashed").suppressed_by == "rank-missing"


def test_a_real_rank_that_kills_itself_is_missing(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx", train=250))
    never = {"eval_every": 10**6, "checkpoint_every": 10**6}
    state = wait_end(start(data=data, nproc=2, max_steps=10**4, batch_size=8, fault=["kill@12"], **never))
    found = {a.rule: a for a in judge_run(state)}
    assert "rank 1 of 2 is gone (SIGKILL)" in found["rank-missing"].title
    assert found["rank-missing"].suppressed_by == "worker-sigkilled"


def test_one_process_has_no_ranks_to_miss() -> None:
    s = Scene()
    run = s.run()
    run.event("exception", "ConnectionResetError: Connection reset by peer")
    run.end("failed", 1, "reset")
    s.go(2)
    s.quiet("rank-missing", but_checked=False)
    assert not s.found("nccl-timeout")
