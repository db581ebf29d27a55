"""Reading a run log: as it grows, torn, thinned, replaced, from any program."""

from __future__ import annotations

import json
import math
import random
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dctop.engine.training import runlog
from dctop.engine.training.runlog import RunReader, StepStore, kept, parse_lines, part
from dctop.engine.training.runstate import STEP_FIELDS
from tests.fakes.runs import append, event, make_run, step

LOG: list[dict[str, Any]] = [
    event("mode", "init", 0, mode="init"),
    event("start", "data on cpu", 0, total_steps=40, pid=7),
    *(step(i) for i in range(1, 21)),
    event("eval", "test", 20, epoch=1, loss=0.5, accuracy=0.9, recall=[1.0, None], seconds=2.0),
    step(21, loss="nan"),
    event("end", "reached", 21, status="finished", exit_code=0),
]
BYTES = "".join(json.dumps(r, separators=(",", ":")) + "\n" for r in LOG).encode()


def read(data: bytes) -> RunReader:
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "steps.jsonl").write_bytes(data)
        reader = RunReader(Path(name))
        reader.poll()
        reader.close()
        return reader


@given(st.lists(st.integers(0, len(BYTES)), max_size=8))
def test_a_log_that_grows_in_any_pieces_reads_as_one(cuts: list[int]) -> None:
    ends = sorted({*cuts, len(BYTES)})
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "steps.jsonl"
        reader = RunReader(Path(name))
        for end in ends:
            path.write_bytes(BYTES[:end])  # the same file, longer
            reader.poll()
            whole = [json.loads(x) for x in BYTES[:end].split(b"\n")[:-1]]
            assert reader.store.total == sum(r["kind"] == "step" for r in whole)
            assert len(reader.events) == sum(r["kind"] != "step" for r in whole)
        reader.close()
    assert reader.bad_lines == 0
    assert list(reader.columns["step"]) == list(range(1, 22))
    assert math.isnan(reader.columns["loss"][20]) and math.isnan(reader.store.last["loss"] or 0)
    assert reader.end is not None and reader.mode == "init" and reader.evals[0]["recall"] == [1.0, None]


@given(st.integers(0, len(BYTES) - 1), st.binary(min_size=1, max_size=20))
def test_damage_costs_the_damaged_lines_only(at: int, junk: bytes) -> None:
    reader = read(BYTES[:at] + junk + BYTES[at:])
    hurt = 1 + junk.count(b"\n")
    assert reader.store.total + len(reader.events) >= len(LOG) - hurt


@given(st.binary(max_size=400))
@settings(max_examples=200)
def test_no_bytes_raise(data: bytes) -> None:
    read(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


KINDS = st.sampled_from(("step", "eval", "end", "mode", "new"))
RECORD = st.fixed_dictionaries(
    {"kind": KINDS}, optional=dict.fromkeys(("wall_ns", "step", "data", "text", "loss", "samples"), JSON)
)


@given(st.lists(RECORD, max_size=6))
def test_no_values_raise(records: list[dict[str, Any]]) -> None:
    reader = read("".join(json.dumps(r) + "\n" for r in records).encode())
    assert reader.store.total == sum(r["kind"] == "step" for r in records)
    reader.samples_per_s()
    reader.eta_s()


def test_lines_that_are_no_objects_are_counted() -> None:
    assert parse_lines([b'{"kind":"step"}', b"[1]", b"nonsense", b"3"]) == ([{"kind": "step"}], 3)
    assert parse_lines([]) == ([], 0)


def test_a_half_written_multibyte_character_waits_for_its_rest(tmp_path: Path) -> None:
    record = json.dumps(event("note", "Grad 45°, 温度"), ensure_ascii=False).encode() + b"\n"
    cut = record.index("°".encode()) + 1
    (tmp_path / "steps.jsonl").write_bytes(record[:cut])
    reader = RunReader(tmp_path)
    reader.poll()
    (tmp_path / "steps.jsonl").write_bytes(record)
    reader.poll()
    assert [e.text for e in reader.events] == ["Grad 45°, 温度"]
    reader.close()


def test_a_handed_out_view_does_not_change(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", *(step(i) for i in range(1, 11)))
    reader = RunReader(run)
    reader.poll()
    view = reader.columns
    append(run, *(step(i) for i in range(11, 16)))
    assert reader.poll()
    assert len(view["loss"]) == 10 and len(reader.columns["loss"]) == 15
    assert not reader.poll()
    reader.close()


def test_a_replaced_or_shortened_log_is_read_anew(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", *(step(i) for i in range(1, 11)))
    reader = RunReader(run)
    reader.poll()
    (run / "steps.jsonl").unlink()
    append(run, step(1), step(2))
    reader.poll()
    assert list(reader.columns["step"]) == [1, 2]
    (run / "steps.jsonl").write_bytes(b"")
    append(run, step(5))
    reader.poll()
    assert list(reader.columns["step"]) == [5] and reader.config["id"] == "r"
    reader.close()


def test_a_part_of_a_column_is_what_was_there_and_copies_no_more(tmp_path: Path) -> None:
    store = StepStore()
    store.add([{"step": n, "loss": 1.0 / n} for n in range(1, 11)])
    view = store.view()
    store.add([{"step": 11}])
    assert kept(view) == 10 and kept(dict(view)) == 10
    for columns in (view, dict(view)):
        assert list(part(columns, "step", 7)) == [8, 9, 10]
        assert list(part(columns, "step", 2, 4)) == [3, 4]
        assert list(part(columns, "step", 9, 20)) == [10]
        assert not part(columns, "step", 10) and not part(columns, "of an other format", 0)


def test_an_ended_run_gives_its_columns_when_asked(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", *LOG)
    reader = RunReader(run)
    reader.load_ended()
    assert reader.end is not None and reader.store.last["step"] == 21 and reader.store.total == 21
    assert list(reader.columns) == list(STEP_FIELDS)
    assert list(reader.columns["step"]) == list(range(1, 22))
    late = RunReader(run)
    late.load_ended()
    (run / "steps.jsonl").unlink()
    assert len(late.columns["step"]) == 0


def test_a_log_written_with_spaces_is_read_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r")
    (run / "steps.jsonl").write_text("".join(json.dumps(r) + "\n" for r in LOG))
    reader = RunReader(run)
    reader.load_ended()
    assert list(reader.columns["step"]) == list(range(1, 22)) and len(reader.events) == 4


def test_long_runs_are_thinned_evenly_and_stay_dense_at_the_end() -> None:
    store = StepStore()
    total = 3 * runlog.MAX_STEPS + 137
    rng, at = random.Random(1), 0
    while at < total:
        n = min(rng.randint(1, 700), total - at)
        store.add([{"step": i + 1, "loss": 0.5} for i in range(at, at + n)])
        at += n
    kept = [int(x) for x in store.columns["step"]]
    assert (
        len(kept) <= runlog.MAX_STEPS and kept == sorted(kept) and kept[-1] == total and store.total == total
    )
    assert kept[-runlog.DENSE_STEPS :] == list(range(total - runlog.DENSE_STEPS + 1, total + 1))
    gaps = [b - a for a, b in pairwise(kept)]
    thin = [g for g in gaps if g > 1]
    # 60,000 steps: every eighth, then all of the newest.
    assert set(thin[:-1]) == {8} and thin[-1] <= 8 and gaps[: len(thin)] == thin
    assert len(thin) > runlog.MAX_STEPS // 4
    assert all(len(c) == len(kept) for c in store.columns.values())


def test_rates_and_time_to_finish() -> None:
    reader = read(BYTES)
    assert reader.samples_per_s() == 3200.0
    eta = reader.eta_s()
    assert eta is not None and math.isclose(eta, 19 * (0.01 + 2.0 / 21))
    assert read(b"").samples_per_s() is None and read(b"").eta_s() is None


def test_many_events_are_bounded_and_the_grave_ones_kept(tmp_path: Path) -> None:
    run = make_run(tmp_path, "r", event("start", "s"), event("nonfinite", "n"))
    append(run, *(event("mode", "train", i, mode="train") for i in range(5 * runlog.MAX_EVENTS)))
    reader = RunReader(run)
    reader.poll()
    assert len(reader.events) <= runlog.MAX_EVENTS
    assert [e.kind for e in reader.events[:2]] == ["start", "nonfinite"]
    reader.close()
