"""Each export is read by another program than the one that wrote it, and says what the recording says."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from dctop.engine.export.openmetrics import write_openmetrics
from dctop.engine.export.parquet import write_parquet
from dctop.engine.export.perfetto import write_perfetto
from dctop.engine.export.tables import (
    TABLES,
    NewSeries,
    Scope,
    all_values,
    column_of,
    matches,
    snapshots,
    table,
)
from dctop.engine.export.text import iso, write_csv, write_jsonl
from dctop.engine.recording.reader import Recording, open_recording
from dctop.probes.base import Value
from tests.fakes.frames import Stream
from tests.fakes.recordings import Session, damage, session

ALL = Scope()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(tmp_path_factory.mktemp("rec") / "a.dctop")


def truth(recording: Recording) -> list[tuple[int, dict[str, Value]]]:
    return [(s.frame.seq, all_values(s)) for s in snapshots(recording, ALL)]


# -- tables -------------------------------------------------------------------------------------------------


def test_parquet_is_read_by_duckdb_with_the_recording_s_values(path: Path, tmp_path: Path) -> None:
    with open_recording(path) as r:
        for name in TABLES:
            columns, rows = table(r, name, ALL)
            write_parquet(columns, rows, tmp_path / f"{name}.parquet", r.meta)
        expected = truth(r)
        steps = r.every_run()[0].columns
        kinds = sorted(e.kind for e in r.events())
    db = duckdb.connect()
    db.execute(f"SET file_search_path='{tmp_path}'")
    got = db.sql("SELECT * FROM 'metrics.parquet' ORDER BY seq").fetchall()
    names = [d[0] for d in db.sql("SELECT * FROM 'metrics.parquet' LIMIT 0").description]
    assert len(got) == len(expected) == 190
    for row, (seq, values) in zip(got, expected, strict=True):
        record = dict(zip(names, row, strict=True))
        assert record["seq"] == seq
        assert {k: v for k, v in record.items() if k in values} == values
        assert all(record[k] is None for k in names[3:] if k not in values), "missing is null"
    assert db.sql("SELECT max(\"cpu.context_switches\") FROM 'metrics.parquet'").fetchall() == [
        ((1 << 63) + 200_000,)
    ]
    assert db.sql("SELECT count(*), min(loss) FROM 'steps.parquet' WHERE run='run-7'").fetchall() == [
        (400, min(steps["loss"]))
    ]
    assert [k for (k,) in db.sql("SELECT kind FROM 'events.parquet' ORDER BY 1").fetchall()] == kinds
    (user, top) = db.sql(
        "SELECT user, max(cpu_pct) FROM 'processes.parquet' WHERE pid=103 GROUP BY 1 ORDER BY 2 DESC"
    ).fetchall()[0]
    assert user in ("annlee", "user") and top > 0
    meta = pq.read_schema(tmp_path / "metrics.parquet")
    assert meta.metadata[b"dctop.host"] == b"gpu-node-17"
    assert (
        meta.field("cpu.load1").metadata[b"help"] and str(meta.field("time").type) == "timestamp[ns, tz=UTC]"
    )


def test_csv_has_a_header_and_empty_cells_for_what_is_missing(path: Path) -> None:
    with open_recording(path) as r:
        scope = Scope(metrics=("cpu.temp_c", "cpu.load1", "fs"))
        columns, rows = table(r, "metrics", scope)
        out = io.StringIO()
        n = write_csv(columns, rows, out)
        expected = truth(r)
    read = list(csv.DictReader(io.StringIO(out.getvalue())))
    assert n == len(read) == 190
    names = set(read[0])
    assert {"time", "seq", "mono_ns", "cpu.temp_c{sensor=a}", "fs.used_pct{mount=/}"} <= names
    assert not any(n.startswith("cpu.user") for n in names)
    assert any(row["cpu.temp_c{sensor=a}"] == "" for row in read)
    for row, (seq, values) in zip(read, expected, strict=True):
        assert int(row["seq"]) == seq
        load = values.get("cpu.load1")
        assert float(row["cpu.load1"]) == load
    assert read[0]["time"].endswith("Z") and len(read[0]["time"]) == 24


@pytest.mark.parametrize("name", TABLES)
def test_json_lines_are_objects_that_name_their_table(path: Path, name: str) -> None:
    with open_recording(path) as r:
        columns, rows = table(r, name, ALL)
        out = io.StringIO()
        n = write_jsonl(name, columns, rows, out)
    lines = [json.loads(line, parse_constant=pytest.fail) for line in out.getvalue().splitlines()]
    assert len(lines) == n > 0
    assert all(next(iter(line)) == "table" and line["table"] == name for line in lines)
    if name == "events":
        (alert,) = (x for x in lines if x["kind"] == "alert")
        assert json.loads(alert["body"])["evidence"][0]["threshold"] == "> 90 %"


def test_a_range_holds_only_its_rows(path: Path) -> None:
    with open_recording(path) as r:
        walls = [s.frame.wall_ns for s in snapshots(r, ALL)]
        scope = Scope(walls[50], walls[69])
        for name in TABLES:
            columns, rows = table(r, name, scope)
            kinds = [c.name for c in columns]
            at = [row[kinds.index("time")] for row in rows]
            assert at
            if name != "events":
                assert all(isinstance(t, int) and walls[50] <= t <= walls[69] for t in at)
        _, rows = table(r, "metrics", scope)
        first = next(rows)
        full = next(row for row in table(r, "metrics", ALL)[1] if row[1] == first[1])
        assert first == full, "rates are known from the first row on"


def test_a_recording_being_written_is_exported_with_its_newest_frames(tmp_path: Path) -> None:
    live = Session(tmp_path / "live.dctop").write(7)
    with open_recording(live.path) as r:
        columns, rows = table(r, "metrics", ALL)
        got = list(rows)
        assert len(got) == 7
        assert {"cpu.util_pct", "process.count"} <= {c.name for c in columns}
    live.close()


def test_a_series_nobody_listed_is_not_lost(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.dctop"
    broken.write_bytes(path.read_bytes())
    import sqlite3

    db = sqlite3.connect(broken)
    db.execute("UPDATE series SET crc=0 WHERE stream='=' AND name='cpu.util_pct'")
    db.commit()
    db.close()
    with open_recording(broken) as r:
        columns, rows = table(r, "metrics", Scope(metrics=("cpu.*",)), frozenset())
        columns = [c for c in columns if c.name != "cpu.util_pct"]
        from dctop.engine.export.tables import metric_rows

        with pytest.raises(NewSeries) as caught:
            list(metric_rows(r, Scope(metrics=("cpu.*",)), columns))
        assert caught.value.extra == {"cpu.util_pct"}
        again, rows = table(r, "metrics", Scope(metrics=("cpu.*",)), caught.value.extra)
        assert len(list(rows)) == 190 and "cpu.util_pct" in {c.name for c in again}


def test_damaged_chunks_are_left_out(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.dctop"
    broken.write_bytes(path.read_bytes())
    damage(broken, "chunk", "num", 0)
    with open_recording(broken) as r:
        assert len(list(table(r, "metrics", ALL)[1])) == 130


@pytest.mark.parametrize(("want", "key", "yes"), [
    ("cpu", "cpu.util_pct", True),
    ("cpu", "cpufreq.x", False),
    ("cpu.util_pct", "cpu.util_pct", True),
    ("cpu.core.util_pct", "cpu.core.util_pct{core=3}", True),
    ("disk.iops{disk=sda}", "disk.iops{disk=sda}", True),
    ("disk.iops{disk=sda}", "disk.iops{disk=sdb}", False),
    ("disk.*{disk=nvme*}", "disk.iops{disk=nvme0n1}", True),
    ("disk.*{disk=nvme*}", "disk.iops{disk=sda}", False),
    ("*.util_pct", "gpu.util_pct{gpu=GPU-1}", True),
    ("gpu.", "gpu.power_w{gpu=GPU-1}", True),
])  # fmt: skip
def test_series_are_chosen_by_id_group_or_pattern(want: str, key: str, yes: bool) -> None:
    assert matches(want, key) is yes


def test_units_and_types_come_from_the_catalogue() -> None:
    assert column_of("disk.read_bytes{disk=a}").type == "uint"
    assert column_of("cpu.model").type == "text"
    assert (column_of("cpu.util_pct").type, column_of("cpu.util_pct").unit) == ("float", "%")
    assert column_of("never.heard_of").type == "float"
    assert iso(1_790_000_000_123_999_999) == "2026-09-21T14:13:20.123Z"


# -- OpenMetrics --------------------------------------------------------------------------------------------


def test_openmetrics_is_read_by_prometheus_own_parser(path: Path) -> None:
    out = io.StringIO()
    with open_recording(path) as r:
        assert write_openmetrics(r, ALL, out) == 0
        expected = truth(r)
        walls = {s.frame.seq: s.frame.wall_ns for s in snapshots(r, ALL)}
    families = {f.name: f for f in text_string_to_metric_families(out.getvalue())}
    load = families["dctop_cpu_load1"]
    assert load.type == "gauge" and {s.labels["host"] for s in load.samples} == {"gpu-node-17"}
    values = [v["cpu.load1"] for _, v in expected]
    assert [s.value for s in load.samples] == values
    assert float(load.samples[0].timestamp) == pytest.approx(walls[1] / 1e9, abs=1e-5)
    idle = families["dctop_cpu_idle_ticks"]
    assert idle.type == "counter" and idle.samples[0].name.endswith("_total")
    model = families["dctop_cpu_model"]
    assert [s.labels["value"] for s in model.samples] == ["Some CPU", "Some CPU, replaced"]
    assert [s.value for s in families["dctop_alert"].samples] == [1.0, 0.0]
    assert len(families["dctop_train_loss"].samples) == 100, "steps of one moment cannot be told apart"


def test_openmetrics_leaves_out_what_a_clock_set_back_made_impossible(tmp_path: Path) -> None:
    s = Session(tmp_path / "a.dctop")
    s.stream = Stream(seed=1, clock_step_at=30)
    s.write(40).close()
    out = io.StringIO()
    with open_recording(s.path) as r:
        assert write_openmetrics(r, ALL, out) > 0
    assert list(text_string_to_metric_families(out.getvalue()))


# -- Perfetto -----------------------------------------------------------------------------------------------


def check_trace(text: str) -> list[dict[str, object]]:
    """The rules of Perfetto's JSON importer; the events."""
    document = json.loads(text, parse_constant=pytest.fail)
    events = document["traceEvents"]
    stacks: dict[tuple[object, object], list[float]] = defaultdict(list)
    spans: dict[tuple[object, object, object], int] = defaultdict(int)
    for e in events:
        assert isinstance(e["pid"], int) and e["name"]
        if e["ph"] == "M":
            continue
        assert isinstance(e["ts"], (int, float)) and math.isfinite(e["ts"])
        if e["ph"] == "C":
            assert e["args"] and all(type(v) in (int, float) for v in e["args"].values())
        elif e["ph"] == "X":
            end = e["ts"] + e["dur"]
            stack = stacks[e["pid"], e["tid"]]
            while stack and stack[-1] <= e["ts"] + 1e-3:
                stack.pop()
            assert not stack or end <= stack[-1] + 2e-3, "slices of a thread nest"
            stack.append(end)
        elif e["ph"] in "be":
            spans[e["cat"], e["id"], e["pid"]] += 1 if e["ph"] == "b" else -1
        else:
            assert e["ph"] == "i" and e["s"] in ("g", "p", "t")
    assert set(spans.values()) <= {0}
    return events


def test_a_perfetto_trace_keeps_the_importer_s_rules(path: Path) -> None:
    out = io.StringIO()
    with open_recording(path) as r:
        n = write_perfetto(r, ALL, out)
        expected = truth(r)
    events = check_trace(out.getvalue())
    assert len(events) == n
    tracks: dict[str, float] = {}
    for e in events:
        if e["ph"] == "C" and e["name"] == "cpu.util_pct [%]":
            tracks |= e["args"]
    assert tracks["value"] == expected[-1][1]["cpu.util_pct"]
    names = {e["name"] for e in events}
    assert {
        "disk-fill: /data of gpu-node-17 is 91 % full",
        "NOT RECORDED",
        "marker: annlee restarted the loader",
    } <= names
    assert sum(e["ph"] == "X" and str(e["name"]).startswith("step ") for e in events) > 50
    counters = [e for e in events if e["ph"] == "C" and e["name"] == "fs.used_pct [%]"]
    assert len(counters) < 70, "written when it changes only"


def test_a_trace_of_a_clock_set_back_and_of_one_frame_is_whole(tmp_path: Path) -> None:
    s = Session(tmp_path / "a.dctop")
    s.stream = Stream(seed=1, clock_step_at=30)
    s.write(40).close()
    one = Session(tmp_path / "one.dctop").write(1).close()
    for path in (s.path, one):
        out = io.StringIO()
        with open_recording(path) as r:
            write_perfetto(r, ALL, out)
        assert check_trace(out.getvalue())
