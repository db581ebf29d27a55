"""Checkpoints: atomic, the last three and the best kept, the good one stays when there is no space."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from dctop.engine.training import wckpt
from tests.fakes.runs import tmpfs


def state(step: int, size: int = 10) -> dict[str, object]:
    return {"format": 1, "step": step, "model": {"w": torch.full((size,), float(step))}}


def test_the_last_three_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = str(tmp_path / "checkpoints")
    for step in range(1, 8):
        wckpt.save(folder, step, state(step), best=step == 2)
    assert wckpt.saved(folder) == [f"step-{n:08d}.pt" for n in (2, 5, 6, 7)]
    assert wckpt.load(f"{folder}/best.pt")["step"] == 2
    assert wckpt.latest(folder) == f"{folder}/step-00000007.pt"
    assert all((tmp_path / "checkpoints" / n).stat().st_mode & 0o700 for n in wckpt.saved(folder))


def test_no_space_leaves_the_last_good_one(tmp_path: Path) -> None:
    with tmpfs(tmp_path / "disk", "256k") as disk:
        folder = str(disk)
        wckpt.save(folder, 1, state(1, 20_000), best=True)
        with pytest.raises(
            wckpt.CheckpointError, match=r"no space left.*last good checkpoint stays"
        ) as caught:
            wckpt.save(folder, 2, state(2, 200_000), best=True)
        assert caught.value.code == errno.ENOSPC and "\n" not in str(caught.value)
        assert sorted(p.name for p in disk.iterdir()) == ["best.pt", "step-00000001.pt"]
        assert wckpt.load(f"{folder}/best.pt")["step"] == 1


def test_what_an_interrupted_save_left_is_swept(tmp_path: Path) -> None:
    (tmp_path / "step-00000001.pt.tmp").write_bytes(b"half")
    wckpt.save(str(tmp_path), 2, state(2), best=False)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000002.pt"]


def test_broken_checkpoints_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "step-00000001.pt"
    wckpt.save(str(tmp_path), 1, state(1, 5000), best=False)
    whole = path.read_bytes()
    for data in (b"", b"not a checkpoint", whole[: len(whole) // 2]):
        path.write_bytes(data)
        with pytest.raises(wckpt.CheckpointError, match="broken checkpoint") as caught:
            wckpt.load(str(path))
        assert "\n" not in str(caught.value)
    torch.save({"weights": 1}, path)
    with pytest.raises(wckpt.CheckpointError, match="not a checkpoint of a run"):
        wckpt.load(str(path))
    torch.save({**state(1), "format": 99}, path)
    with pytest.raises(wckpt.CheckpointError, match="format 99 is newer"):
        wckpt.load(str(path))
    with pytest.raises(wckpt.CheckpointError, match="no such checkpoint"):
        wckpt.load(str(tmp_path / "step-00000009.pt"))
