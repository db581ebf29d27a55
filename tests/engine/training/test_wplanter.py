"""Faults are planted at their step, taken away after it, and told in the truth."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from typing import Any

import pytest
import torch

from dctop.engine.training import wfaults
from tests.fakes.runs import in_child
from tests.fakes.worker import module

wplanter, wcauses = module("wplanter"), module("wcauses")


def planter(folder: Path, *specs: str, rank: int = 0, ranks: int = 1) -> Any:
    return wplanter.Planter([wfaults.parse(s) for s in specs], str(folder), "run:x", rank, ranks)


def truths(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "truth.jsonl").read_text().splitlines()]


def test_the_truth_has_beginning_and_end_and_lr_comes_back(tmp_path: Path) -> None:
    drill = planter(tmp_path, "lr:10@2-3", "lr-low:2@4-4")
    rates = []
    for number in range(1, 6):
        drill.begin(number)
        rates.append(drill.lr_factor)
    assert rates == pytest.approx([1, 10, 10, 0.5, 1])
    begun, ended = truths(tmp_path)[:2]
    assert (begun["id"], begun["entity"], begun["step0"], begun["t1"]) == ("lr", "run:x", 2, None)
    assert ended["t0"] == begun["t0"] and ended["step1"] == 4 and isinstance(ended["t1"], int)


def test_a_window_still_open_is_closed_with_the_run(tmp_path: Path) -> None:
    drill = planter(tmp_path, "nan@1", "fill:1@1")
    drill.begin(1)
    drill.close(8)
    assert [t["step1"] for t in truths(tmp_path)[-2:]] == [8, 8]
    assert (tmp_path / "ballast").exists()  # a disk that is full is full to the end


def test_ballast_is_written_and_taken_away_again(tmp_path: Path) -> None:
    drill = planter(tmp_path, "fill:2@1-1")
    drill.begin(1)
    assert (tmp_path / "ballast").stat().st_size == 2_000_000
    drill.begin(2)
    assert not (tmp_path / "ballast").exists()


def test_inputs_are_spoilt_only_while_planted(tmp_path: Path) -> None:
    drill = planter(tmp_path, "nan@2-2", "input-scale:255@3-3", "eval-raw@3-3")
    seen = [drill.batch(n, torch.full((2, 1, 28, 28), 0.5)) for n in (1, 2, 3, 4)]
    assert [int(x.isnan().sum()) for x in seen] == [0, 1, 0, 0]
    assert [x[1].max().item() for x in seen] == [0.5, 0.5, 127.5, 0.5]
    assert [drill.evaluated(n, torch.ones(1)).item() for n in (2, 3)] == [1, 255]


def test_permuted_labels_are_the_same_labels_elsewhere_and_the_same_in_every_process(tmp_path: Path) -> None:
    y = torch.arange(32)
    batch = (torch.zeros(32), y)
    one, other = (planter(tmp_path, "labels-permuted@2-2") for _ in range(2))
    spoilt = one.fetched(2, batch)[1]
    assert not torch.equal(spoilt, y) and torch.equal(spoilt.sort().values, y)
    assert torch.equal(spoilt, other.fetched(2, batch)[1]) and torch.equal(one.fetched(3, batch)[1], y)


class Images:
    classes = tuple("0123456789")

    def __init__(self) -> None:
        self.fetch = self
        self.labels = torch.arange(10_000) % 10
        self.images = torch.zeros(10_000, 1, 28, 28, dtype=torch.uint8)
        self.train_count = 10_000


def test_the_training_set_is_spoilt_as_said(tmp_path: Path) -> None:
    lot = Images()
    planter(tmp_path, "labels-random:0.5").seen(lot)
    assert 0.4 < (lot.labels != torch.arange(10_000) % 10).float().mean() < 0.5  # a tenth hits by chance
    few = Images()
    planter(tmp_path, "few-samples:200").seen(few)
    assert few.train_count == 200
    thin = Images()
    planter(tmp_path, "imbalance:10").seen(thin)
    left = torch.bincount(thin.labels).tolist()
    assert 70 < left[0] < 130 and left[1:] == [1000] * 9 and thin.train_count == len(thin.images)


def test_labels_are_confused_and_samples_ordered_as_said(tmp_path: Path) -> None:
    confused = Images()
    planter(tmp_path, "labels-confused:0.5").seen(confused)
    counts = torch.bincount(confused.labels).tolist()
    assert 400 < counts[3] < 600 and counts[3] + counts[4] == 2000
    drill, images = planter(tmp_path, "by-class:50@2-200"), Images()
    drill.seen(images)
    drawn = torch.arange(32)
    assert torch.equal(drill.chosen(1, drawn), drawn)
    seen = [set(images.labels[drill.chosen(n, drawn)].tolist()) for n in (2, 49, 50, 150)]
    assert seen == [{0}, {0}, {1}, {3}]


def test_the_same_batch_is_read_again_and_again(tmp_path: Path) -> None:
    drill = planter(tmp_path, "same-batch@2-3")
    one, two, three = torch.arange(4), torch.arange(4, 8), torch.arange(8, 12)
    assert torch.equal(drill.chosen(1, one), one) and torch.equal(drill.chosen(2, two), two)
    assert torch.equal(drill.chosen(3, three), two) and torch.equal(drill.chosen(4, three), three)


def test_gradients_are_too_large_only_while_planted(tmp_path: Path) -> None:
    drill = planter(tmp_path, "grad-scale:16@2-2")
    net = drill.built(torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False)))
    norms = []
    for step in (1, 2, 3):
        net.zero_grad()
        net(drill.batch(step, torch.ones(1, 2))).sum().backward()
        norms.append(net[0].weight.grad.norm().item())
    assert norms[1] == pytest.approx(16 * norms[0]) and norms[2] == norms[0]


def test_a_schedule_begins_anew(tmp_path: Path) -> None:
    drill, rates = planter(tmp_path, "lr-restart:10@1-25"), []
    for number in range(1, 28):
        drill.begin(number)
        rates.append(drill.lr_factor)
    assert rates[0] == rates[10] == rates[20] == 1.0 and rates[26] == 1.0
    assert rates[9] == pytest.approx(0.122, abs=1e-3) and rates[:10] == sorted(rates[:10], reverse=True)


def test_shuffled_labels_of_an_evaluation_belong_to_other_samples(tmp_path: Path) -> None:
    drill, x = planter(tmp_path, "eval-shuffled@2"), torch.arange(5)
    assert torch.equal(drill.evaluated(1, x), x)
    assert drill.evaluated(2, x).tolist() == [4, 0, 1, 2, 3]


def test_the_network_begins_spoilt_as_said(tmp_path: Path) -> None:
    def net() -> torch.nn.Sequential:
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))

    big = planter(tmp_path, "init:10").built(net())
    assert torch.allclose(big[0].weight, net()[0].weight * 10) and torch.equal(big[0].bias, net()[0].bias)
    dead = planter(tmp_path, "bias:5").built(net())
    assert dead[0].bias.tolist() == [-5.0] * 8 and torch.equal(dead[2].bias, net()[2].bias)
    deep = planter(tmp_path, "deep-sigmoid:12").built(net())
    assert sum(isinstance(layer, torch.nn.Sigmoid) for layer in deep) == 12
    assert deep(torch.zeros(2, 4)).shape == (2, 3)
    held = planter(tmp_path, "frozen:1").built(net())
    assert [p.requires_grad for p in held.parameters()] == [False, False, True, True]
    cut = planter(tmp_path, "detached").built(net())
    cut(torch.ones(2, 4)).sum().backward()  # type: ignore[no-untyped-call]
    assert [p.grad is None for p in cut.parameters()] == [True, True, False, False]
    assert list(cut.state_dict()) == list(net().state_dict())


def test_of_several_ranks_the_last_is_struck_and_tells(tmp_path: Path) -> None:
    first, last = (planter(tmp_path, "crash@1", "lr:10@1", rank=r, ranks=2) for r in (0, 1))
    first.begin(1)
    assert [t["id"] for t in truths(tmp_path)] == ["lr"] and first.lr_factor == 10
    with pytest.raises(wplanter.PlantedCrash):
        last.begin(1)
    assert [t["id"] for t in truths(tmp_path)] == ["lr", "crash"] and last.lr_factor == 10


def test_neighbours_are_there_and_gone(tmp_path: Path) -> None:
    drill = planter(tmp_path, "neighbour:2@1-1")
    wdist = module("wdist")
    before = set(wdist.children(os.getpid()))
    drill.begin(1)
    assert len(set(wdist.children(os.getpid())) - before) == 2
    drill.begin(2)
    assert set(wdist.children(os.getpid())) == before


def test_an_address_limit_comes_and_goes(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    undo = wcauses.limit_addresses(64, "")
    limited = resource.getrlimit(resource.RLIMIT_AS)
    undo()
    assert limited[0] != before[0] and resource.getrlimit(resource.RLIMIT_AS) == before


def test_slow_disk_reads_what_it_wrote_and_takes_it_away(tmp_path: Path) -> None:
    drill = planter(tmp_path, "slow-disk:2@1-1")
    drill.begin(1)
    assert (tmp_path / wcauses.SPARE).stat().st_size == 2 << 20
    drill.chosen(1, torch.zeros(1))
    drill.begin(2)
    assert not (tmp_path / wcauses.SPARE).exists()
    drill.chosen(1, torch.zeros(1))  # a loader that is late


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes control groups")
def test_a_group_of_its_own_is_entered_left_and_removed() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(wcauses.__file__).parent)!r})
import wcauses, wmem
for controller, cause in (("cpu", wcauses.limit_cpu), ("memory", wcauses.limit_memory)):
    folder = os.path.join(wmem.controller_cgroup(controller)[0], wmem.drill_group(os.getpid()))
    undo = cause(64.0, "")
    inside = str(os.getpid()) in open(folder + "/cgroup.procs").read().split()
    undo()
    print(controller, inside, os.path.exists(folder))
"""
    assert in_child(code).splitlines() == ["cpu True False", "memory True False"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a tmpfs")
def test_a_private_shm_is_seen_by_nobody_else() -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(wcauses.__file__).parent)!r})
import wcauses
wcauses.private_shm(3)
room = os.statvfs("/dev/shm")
print(room.f_blocks * room.f_frsize)
"""
    before = os.statvfs("/dev/shm").f_blocks
    assert in_child(code) == str(3 << 20) and os.statvfs("/dev/shm").f_blocks == before


def test_what_cannot_be_planted_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wcauses.wmem, "controller_cgroup", lambda _controller: (None, False))
    with pytest.raises(wcauses.CannotPlant, match="no cpu cgroup can be found here"):
        wcauses.limit_cpu(20, "")
