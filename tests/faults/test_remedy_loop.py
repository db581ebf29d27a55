"""Remedies that act, for real: what is applied comes true."""

from __future__ import annotations

import pytest

from dctop.engine.rules.logsource import judge_run
from tests.fakes.runs import write_idx
from tests.faults.loops import MIB, out_of_memory, starved


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_idx(tmp_path_factory.mktemp("idx"), train=4096))


@pytest.mark.timeout(400)
def test_out_of_memory_is_applied_and_the_successor_fits(data: str) -> None:
    loop = out_of_memory(520, 12, data=data, batch_size=1536, max_steps=20)
    assert loop.before.status == "killed" and "out of memory" in str(loop.before.reason)
    assert loop.after.status == "finished", loop.after.reason
    asked = loop.after.config["config"]
    assert asked["batch_size"] < 1536 <= asked["batch_size"] * asked["accumulate"]
    assert loop.after.config["parent"] == {"run": loop.before.id, "checkpoint": None}
    told = loop.told
    assert told is not None and told.met and told.metric == "memory"
    assert told.predicted is not None and told.predicted < 520 * MIB


@pytest.mark.timeout(300)
def test_a_starved_run_is_given_a_loader_and_its_step_time_falls(data: str) -> None:
    """How near it comes to the prediction is for the drill to say: where others use the machine, it is their
    doing."""
    loop = starved(20, data=data, batch_size=64)  # as long as a step of it computes or longer, on any machine
    assert loop.before.status == "stopped" and "SIGTERM" in str(loop.before.reason)
    assert loop.after.config["config"]["workers"] >= 1
    assert loop.after.config["parent"]["run"] == loop.before.id
    assert loop.after.columns["step"][0] > 1, "it goes on from the checkpoint"
    told = loop.told
    assert told is not None and told.metric == "step_s"
    assert told.observed is not None and told.before is not None and told.observed < 0.9 * told.before
    assert [a.rule for a in judge_run(loop.after) if a.rule == "remedy-verdict"] == ["remedy-verdict"]
