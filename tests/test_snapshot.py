"""`dctop snapshot`: one valid document of what is true now."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dctop.engine.metrics.derived import CATALOGUE
from dctop.engine.metrics.model import Frame, Snapshot
from dctop.probes.base import Sample
from dctop.tui import cli
from dctop.tui.commands import snapshot


def strict(text: str) -> Any:
    """JSON as the standard has it: Python would read NaN and Infinity too."""

    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def document() -> Any:
    argv = [sys.executable, "-m", "dctop.tui.cli", "snapshot", "--json", "--interval", "0.5", "--top", "5"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return strict(done.stdout)


def values(document: Any, metric: str) -> list[Any]:
    return [m["value"] for m in document["metrics"] if m["id"] == metric]


def test_one_document_with_the_promised_parts(document: Any) -> None:
    assert document["schema"] == 1
    assert document["host"] == os.uname().nodename
    assert set(document) >= {"time", "metrics", "processes", "gpus", "problems"}
    assert all(set(m) == {"id", "labels", "value", "unit"} for m in document["metrics"])


def test_names_are_the_catalogues(document: Any) -> None:
    assert {m["id"] for m in document["metrics"]} <= set(CATALOGUE)
    for m in document["metrics"]:
        assert tuple(m["labels"]) in ((), CATALOGUE[m["id"]].labels)


def test_numbers_agree_with_the_kernel(document: Any) -> None:
    meminfo = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert values(document, "memory.total_bytes") == [int(meminfo["MemTotal"].split()[0]) * 1024]
    assert values(document, "cpu.count") == [os.cpu_count()]
    assert values(document, "host.boot_id") == [Path("/proc/sys/kernel/random/boot_id").read_text().strip()]


def test_rates_exist_because_two_readings_were_taken(document: Any) -> None:
    assert 0 <= values(document, "cpu.util_pct")[0] <= 100
    assert values(document, "cpu.context_switches_per_s")[0] > 0


def test_processes_are_the_busiest_and_limited(document: Any) -> None:
    shares = [p["cpu_pct"] for p in document["processes"]]
    assert len(shares) == 5
    assert shares == sorted(shares, reverse=True)


def test_a_node_without_a_gpu_says_why(document: Any) -> None:
    if not document["gpus"]["devices"]:
        assert document["gpus"]["status"] not in (None, "ok")
        assert document["gpus"]["detail"]


def test_the_filter_takes_ids_and_whole_families(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["snapshot", "--json", "--interval", "0.2", "--metric", "memory", "cpu.util_pct"]
    assert cli.main(argv) == 0
    ids = {m["id"] for m in strict(capsys.readouterr().out)["metrics"]}
    assert "memory.used_pct" in ids and "cpu.util_pct" in ids
    assert all(i == "cpu.util_pct" or i.startswith("memory.") for i in ids)


def test_the_table_shows_units_and_processes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["snapshot", "--interval", "0.2", "--top", "3"]) == 0
    out = capsys.readouterr().out
    assert os.uname().nodename in out.splitlines()[0]
    assert "PID USER" in out
    assert "iB" in next(line for line in out.splitlines() if line.startswith("memory.total_bytes"))


def synthetic(values: dict[str, Any]) -> Snapshot:
    sample = Sample("cpu", 1, 1, values)
    return Snapshot(
        Frame(1, 1, 1_700_000_000_000_000_000, {"cpu": sample}), None, dict(values), {}, {}, {}, {}
    )


def test_missing_is_null_and_nothing_is_nan() -> None:
    values = {"cpu.util_pct": math.nan, "cpu.load1": None, "cpu.load5": math.inf, "cpu.model": "a\ud800b"}
    document = snapshot.document_of(synthetic(values), 10)
    text = json.dumps(document, allow_nan=False, ensure_ascii=False)
    text.encode()
    got = {m["id"]: m["value"] for m in document["metrics"]}  # type: ignore[attr-defined]
    assert (got["cpu.util_pct"], got["cpu.load1"], got["cpu.load5"], got["cpu.model"]) == (
        None,
        None,
        None,
        "a?b",
    )


def test_what_could_not_be_read_is_there_as_null() -> None:
    document = snapshot.document_of(synthetic({}), 10)
    got = {m["id"]: m["value"] for m in document["metrics"]}  # type: ignore[attr-defined]
    assert got["memory.total_bytes"] is None
    assert got["gpu.status"] is None


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "%", "-"),
        (12.345, "%", "12.35 %"),
        (3.0, "cores", "3 cores"),
        (1024**3, "bytes", "1 GiB"),
        (1.5 * 1024, "bytes/s", "1.5 KiB/s"),
        ("ok", "", "ok"),
        (0, "", "0"),
    ],
)
def test_values_in_the_table(value: Any, unit: str, text: str) -> None:
    assert snapshot.shown(value, unit) == text
