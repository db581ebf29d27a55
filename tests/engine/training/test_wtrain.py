"""The loop in a real run of each kind, and its arithmetic in this process."""

from __future__ import annotations

import json
import math
import statistics
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from dctop.engine.training import launcher
from dctop.engine.training.options import resolve
from tests.fakes.runs import find, kinds, start, wait_end, write_idx
from tests.fakes.worker import module

wtrain, wconfig, wlog, wtiming = (module(name) for name in ("wtrain", "wconfig", "wlog", "wtiming"))


class Wishes:
    stop = None
    checkpoint = False


def trainer(folder: Path, workload: str = "mnist-cnn", **config: Any) -> Any:
    folder.mkdir(parents=True, exist_ok=True)
    if workload == "mnist-cnn":
        config["data"] = str(write_idx(folder / "idx"))
    asked = resolve({"threads": 1, **config}, workload)
    run = {"id": "x", "workload": workload, "config": asked, "data_dir": config.get("data")}
    (folder / "run.json").write_text(json.dumps(run))
    return wtrain.Trainer(str(folder), run, wlog.RunLog(str(folder)), Wishes())


def parameters(made: Any) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in made.model.parameters()])


def test_gpt_learns_a_text_saves_and_resumes(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 500)
    usual = {"data": str(text), "context": 16, "eval_every": 30, "checkpoint_every": 30, "lr": 0.01}
    state = wait_end(start(workload="gpt", max_steps=60, **usual))
    assert state.status == "finished", state.reason
    loss = state.columns["loss"]
    assert 5.0 < loss[0] < 6.5 and loss[-1] < 0.7 * loss[0]  # ln 256 = 5.55
    assert state.config["unit"] == "byte" and state.config["units_per_sample"] == 16
    assert state.config["parameters"] == 98_976 - (64 - 16) * 48
    assert state.evals[-1]["loss"] < 4.0 and 0 < state.evals[-1]["accuracy"] <= 1
    assert state.evals[-1].get("recall") is None
    again = launcher.launch({"workload": "gpt", "threads": 1, "max_steps": 70}, resume=state.id)
    assert again.run_id is not None, again.error
    state = wait_end(Path(state.directory).parent / again.run_id)
    assert state.status == "finished" and state.columns["step"][0] == 61 and state.columns["loss"][0] < 4.5


def test_phases_and_the_rest_add_up_to_the_step_within_two_per_cent_in_a_real_run(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    state = wait_end(start(data=data, epochs=8, eval_every=10_000, checkpoint_every=10_000))
    assert state.status == "finished", state.reason
    lines = map(json.loads, (Path(state.directory) / "steps.jsonl").read_text().splitlines())
    steps = [line for line in lines if line["kind"] == "step"]
    assert len(steps) == 128
    shares = []
    for step in steps:
        phases = math.fsum(step[field] for field in wtiming.FIELDS)
        assert math.isclose(phases + step["other_s"], step["step_s"], rel_tol=0.02), step
        shares.append(phases / step["step_s"])
    # What is between the phases is little: they alone tell where the time of a usual step goes.
    assert statistics.median(shares) >= 0.98
    # And the step is as long as another clock says: from end to end, without the first of an epoch, whose
    # beginning is not the end of the step before.
    pairs = [(a, b) for a, b in pairwise(steps) if a["epoch"] == b["epoch"]]
    between = math.fsum((b["wall_ns"] - a["wall_ns"]) * 1e-9 for a, b in pairs)
    assert math.isclose(math.fsum(b["step_s"] for _, b in pairs), between, rel_tol=0.02)


def test_the_default_corpus_is_pythons_own_library() -> None:
    from dctop.engine.training import wgpt

    data, source = wgpt.corpus(None)
    assert len(data) > 1_000_000 and b"import os" in data and "Python library sources" in source
    assert data == wgpt.corpus(None)[0]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "No such file"), (b"short", "expected at least 10,000 bytes .* found 5")],
)
def test_a_text_that_will_not_do_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    from dctop.engine.training import wgpt

    path = tmp_path / "x"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(wgpt.CorpusError, match=why):
        wgpt.corpus(str(path))


@pytest.mark.parametrize("name", ["nano", "micro"])
def test_sizes_are_what_is_built_and_no_byte_sees_what_follows(name: str) -> None:
    from dctop.engine.training import wgpt

    size = wgpt.SIZES[name]
    model = wgpt.build(size, 32, 0.0, "relu").eval()
    assert sum(p.numel() for p in model.parameters()) == wgpt.parameters(size, 32)
    x = torch.randint(0, 256, (1, 32))
    changed = x.clone()
    changed[0, 20:] = 7
    a, b = model(x), model(changed)
    assert torch.allclose(a[0, :20], b[0, :20], atol=1e-5) and not torch.allclose(a[0, 20:], b[0, 20:])


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "a", batch_size=64, max_steps=3, optimizer="sgd", lr=0.1)
    parts = trainer(tmp_path / "b", batch_size=16, accumulate=4, max_steps=3, optimizer="sgd", lr=0.1)
    assert torch.equal(parameters(whole), parameters(parts))
    for made in (whole, parts):
        made.run()
        made.log.close()
    assert torch.allclose(parameters(whole), parameters(parts), atol=1e-6)


def test_the_last_step_of_an_epoch_takes_what_is_left(tmp_path: Path) -> None:
    made = trainer(tmp_path, batch_size=100, accumulate=2, epochs=2)
    made.run()
    made.log.close()
    records = [json.loads(x) for x in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [r["samples"] for r in records if r["kind"] == "step"] == [200, 200, 112] * 2
    epochs = [r["data"] for r in records if r["kind"] == "epoch"]
    assert [e["epoch"] for e in epochs] == [1, 2] and all(0 < e["accuracy"] <= 1 for e in epochs)


def test_the_learning_rate_follows_its_schedule() -> None:
    def rates(**config: Any) -> list[float]:
        made = wconfig.Config({"config": resolve(config)})
        return [made.lr_factor(step, 100) for step in (1, 5, 10, 34, 35, 67, 68, 100)]

    assert rates() == [1.0] * 8
    assert rates(warmup_steps=10)[:3] == [0.1, 0.5, 1.0]
    assert rates(schedule="step") == pytest.approx([1, 1, 1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = rates(schedule="cosine", warmup_steps=10)
    assert (
        cosine[2] == 1.0
        and cosine[-1] == pytest.approx(0.1)
        and cosine == sorted(cosine[:3]) + sorted(cosine[3:], reverse=True)
    )


def test_clipping_bounds_the_step_and_the_norm_is_told_as_it_was(tmp_path: Path) -> None:
    made = trainer(tmp_path, clip=1e-3, optimizer="sgd", lr=1.0, max_steps=4, batch_size=32)
    before = parameters(made)
    made.run()
    made.log.close()
    assert (parameters(made) - before).norm() < 4.01e-3
    steps = [json.loads(x) for x in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert all(r["grad_norm"] > 1e-2 for r in steps if r["kind"] == "step")


def test_a_target_ends_the_run_when_it_is_reached(tmp_path: Path) -> None:
    state = wait_end(start(workload="linear", lr=0.01, target=0.049, epochs=1000))
    assert state.status == "finished" and state.reason == "reached its target of 0.049"
    assert find(state, "reached").data["value"] <= 0.049 and (state.step or 0) < 100
    assert kinds(state)[-3:] != [] and find(state, "checkpoint").data["ok"]


def test_the_checkpoint_holds_what_the_documentation_says(tmp_path: Path) -> None:
    made = trainer(tmp_path, max_steps=2)
    made.run()
    made.log.close()
    (path,) = (tmp_path / "checkpoints").glob("step-*.pt")
    state = torch.load(path, weights_only=True)
    text = Path(__file__).parents[3].joinpath("docs/RUNLOG.md").read_text()
    assert all(f"`{key}`" in text for key in state if key != "best")
    stored = state["input"]
    assert stored["min"] == 0.0 and stored["max"] == pytest.approx(200 / 255)
    assert len(stored["histogram"]) == 16 and math.isclose(sum(stored["histogram"]), 1.0, abs_tol=1e-4)
    assert state["config"]["batch_size"] == 32


def test_a_compiled_run_is_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the compiler's front end only: building kernels takes a minute, and changes nothing here."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    plain, compiled = (trainer(tmp_path / str(on), compile=on, max_steps=3) for on in (False, True))
    for made in (plain, compiled):
        made.run()
        made.log.close()
    assert torch.allclose(parameters(plain), parameters(compiled), atol=1e-5)
    assert compiled.facts()["compiled"] and "_orig_mod" not in next(iter(compiled.model.state_dict()))
