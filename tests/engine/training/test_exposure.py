"""Files others may read and secrets in output: real files, real modes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine.training.exposure import EVERY_NS, ExposureWatch, Found, readable
from dctop.engine.training.runlog import RunReader
from dctop.engine.training.watcher import RunFollower
from tests.fakes.runs import append, event, everybodys, make_run, start, wait_end, write_idx

TOKEN = "hf_" + "a1B2" * 8
S = 10**9


@pytest.fixture
def open_place() -> Iterator[Path]:
    with everybodys() as place:
        yield place


def reader_of(place: Path, *records: dict[str, object], **facts: object) -> RunReader:
    reader = RunReader(make_run(place, "20200101-000000-x", *records, **facts))
    reader.poll()
    return reader


def look(watch: ExposureWatch, reader: RunReader, now_ns: int = S) -> tuple[Found, ...]:
    """What a look at that moment finds."""
    watch.look(reader, now_ns)
    return watch.wait()


def test_a_file_is_readable_only_where_its_directories_may_be_entered(open_place: Path) -> None:
    file = open_place / "a" / "b.pt"
    file.parent.mkdir(mode=0o755)
    file.touch(0o644)
    assert readable(file) == "0644"
    file.parent.chmod(0o700)
    assert readable(file) is None
    file.parent.chmod(0o711)
    file.chmod(0o640)
    assert readable(file) is None
    assert readable(open_place / "gone") is None


def test_checkpoints_logs_and_data_are_looked_at(open_place: Path) -> None:
    data, saved = open_place / "data", open_place / "step-1.pt"
    data.mkdir(mode=0o755)
    (data / "train.bin").touch(0o644)
    saved.touch(0o604)
    made = event("checkpoint", "saved", 1, ok=True, path=str(saved))
    reader = reader_of(open_place, made, data_dir=str(data))
    for name in ("steps.jsonl", "run.json"):
        (reader.directory / name).chmod(0o600)
    reader.directory.chmod(0o755)
    found = look(ExposureWatch(), reader)
    assert found == (("checkpoint", str(saved), "0604"), ("data", str(data / "train.bin"), "0644"))
    reader.close()


def test_data_of_the_system_is_public_by_design(tmp_path: Path) -> None:
    reader = reader_of(tmp_path, data_dir="/usr/share")
    reader.directory.chmod(0o700)
    assert look(ExposureWatch(), reader) == ()
    reader.close()


def test_secrets_are_told_by_line_once_a_minute_and_never_quoted(tmp_path: Path) -> None:
    reader = reader_of(tmp_path)
    reader.directory.chmod(0o700)
    out, watch = reader.directory / "stdout.log", ExposureWatch()
    out.write_text(f"epoch 1: loss=0.5 token 12\nlogging in with {TOKEN}\nmax_tokens=512\n")
    found = look(watch, reader)
    assert found == (("secret", str(out), "line 2"),) and TOKEN not in repr(found)
    with out.open("a") as more:
        more.write("password=correct-horse-battery\nhalf a li")
    assert look(watch, reader, 2 * S) == found, "not before a minute has passed"
    assert look(watch, reader, S + EVERY_NS)[1] == ("secret", str(out), "line 4")
    append(reader.directory, event("checkpoint", "saved", 5, ok=True, path="/nowhere"))
    reader.poll()
    with out.open("a") as more:
        more.write(f"ne\nagain {TOKEN}\n")
    assert look(watch, reader, 6 * S + EVERY_NS)[-1][2] == "line 6", "a new checkpoint is looked at soon"
    reader.close()


def test_a_real_run_is_private_and_told_once_its_checkpoint_is_not(open_place: Path) -> None:
    data = write_idx(open_place / "idx", train=64)
    data.chmod(0o700)
    saved = open_place / "shared"
    saved.mkdir(mode=0o755)
    directory = start(data=str(data), max_steps=4, checkpoint_dir=str(saved), checkpoint_every=2)
    state = wait_end(directory)
    assert state.status == "finished" and not [f for f in state.exposed if f[0] == "log"]
    newest = sorted(saved.glob("step-*.pt"))[-1]
    assert readable(newest) is None, "the worker writes for its owner only"
    newest.chmod(0o644)
    reader = RunReader(directory)
    reader.poll()
    assert ("checkpoint", str(newest), "0644") in look(ExposureWatch(), reader)
    reader.close()


def test_what_was_found_is_part_of_the_state(tmp_path: Path) -> None:
    directory = make_run(tmp_path, "20200101-000000-x", event("mode", "train", 0, mode="train"))
    (directory / "stdout.log").write_text(f"export HF_TOKEN={TOKEN}\n")
    follower = RunFollower(directory, wall=lambda: 10**18 + S)
    follower.poll()
    follower._run.exposure.wait()
    state = follower.poll()
    assert state is not None and state.exposed[-1][0] == "secret"
    follower.close()
