"""The scorer of labelled series: windows, alarms, NAB scores worked out by hand; detectors on plain noise."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path

import pytest

from tests.benchmarks.baselines import ALL, Baseline
from tests.benchmarks.labelled import (
    APART,
    AT,
    EVENTS,
    LENGTH,
    PROFILES,
    Series,
    alarms,
    between,
    judge,
    nab_raw,
    normalised,
    read_csv,
    read_nab,
    runs,
    sigmoid,
    synthetic,
    thresholds,
)

STANDARD = PROFILES["standard"]


def flags(n: int, *on: int) -> list[float]:
    return [1.0 if i in on else 0.0 for i in range(n)]


def test_flagged_samples_close_together_are_one_alarm() -> None:
    assert alarms([3, 4, 9, 15, 40]) == [(3, 9), (15, 15), (40, 40)]
    assert alarms([]) == []


def test_labels_become_windows_that_stay_open_a_little() -> None:
    labels = [False] * 10 + [True] * 2 + [False] * 3 + [True] + [False] * 20 + [True]
    assert runs(labels) == ((10, 15 + APART), (36, 36))


def test_windows_of_time_include_both_ends_and_those_without_a_sample_are_left_out() -> None:
    times = [f"2020-01-01 00:0{i}:00" for i in range(6)]
    spans = [("2020-01-01 00:01:00", "2020-01-01 00:03:00"), ("2021-01-01 00:00:00", "2021-01-02 00:00:00")]
    assert between(times, spans) == ((1, 3),)


def test_recall_precision_and_false_alarms_are_counted_by_window_and_alarm() -> None:
    s = Series("s", (0.0,) * 1000, ((400, 449), (700, 749)))
    v = judge([s], [flags(1000, 10, 420, 421, 600, 900, 901)], 0.5)
    assert (v.found, v.windows, v.alarms, v.false, v.at_start) == (1, 2, 4, 3, 1)
    assert v.recall == 0.5
    assert v.precision == 0.25
    assert v.per_day == pytest.approx(3 * 86.4)


def test_an_alarm_that_reaches_into_a_window_is_not_false() -> None:
    s = Series("s", (0.0,) * 100, ((50, 60),))
    v = judge([s], [flags(100, 48, 49, 50)], 0.5)
    assert (v.found, v.false) == (1, 0)


def test_without_windows_or_alarms_there_is_no_recall_and_no_precision() -> None:
    v = judge([Series("s", (0.0,) * 10)], [flags(10)], 0.5)
    assert v.recall is None
    assert v.precision is None
    assert math.isnan(v.nab["standard"])


def test_the_sigmoid_is_that_of_the_paper() -> None:
    assert sigmoid(0.0) == 0.0
    assert sigmoid(-1.0) == pytest.approx(0.98661, abs=1e-5)
    assert sigmoid(1.0) == pytest.approx(-0.98661, abs=1e-5)
    assert sigmoid(3.1) == sigmoid(math.inf) == -1.0


def test_nab_gives_all_for_the_first_sample_of_a_window_and_nothing_for_silence() -> None:
    windows = ((400, 499), (700, 799))
    perfect = nab_raw([400, 700], windows, 1000, STANDARD)
    assert normalised(perfect, 2, STANDARD) == pytest.approx(100.0)
    assert normalised(nab_raw([], windows, 1000, STANDARD), 2, STANDARD) == 0.0


def test_nab_counts_the_earliest_of_a_window_only_and_less_the_later_it_is() -> None:
    windows = ((400, 499),)
    early, late = (nab_raw([i], windows, 1000, STANDARD) for i in (410, 490))
    assert nab_raw([410, 450, 490], windows, 1000, STANDARD) == early > late
    assert late == pytest.approx(sigmoid(-0.1) / sigmoid(-1.0))


def test_nab_charges_each_sample_outside_by_how_long_the_window_is_over() -> None:
    windows = ((400, 499),)
    assert nab_raw([300], windows, 1000, STANDARD) == pytest.approx(-0.11 - 1.0)
    assert nab_raw([400, 598], windows, 1000, STANDARD) == pytest.approx(1.0 + 0.11 * sigmoid(1.0))
    assert nab_raw([400, 900], windows, 1000, PROFILES["low FP"]) == pytest.approx(1.0 - 0.22)


def test_nab_counts_nothing_in_the_first_part() -> None:
    assert nab_raw([0, 149], (), 1000, STANDARD) == 0.0
    assert nab_raw([150], (), 1000, STANDARD) == pytest.approx(-0.11)
    assert nab_raw([750], (), 100_000, STANDARD) == pytest.approx(-0.11)  # 750 samples at most


def test_a_clone_of_nab_is_read_with_its_windows(tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "data" / "group").mkdir(parents=True)
    span = [["2014-01-01 00:05:00.000000", "2014-01-01 00:10:00.000000"]]
    labels = {"group/a.csv": span, "group/not here.csv": []}
    (tmp_path / "labels" / "combined_windows.json").write_text(json.dumps(labels))
    lines = [f"2014-01-01 00:{5 * i:02}:00,{i}" for i in range(4)]
    (tmp_path / "data" / "group" / "a.csv").write_text("timestamp,value\n" + "\n".join(lines) + "\n")
    assert read_nab(tmp_path) == [Series("group/a.csv", (0.0, 1.0, 2.0, 3.0), ((1, 2),))]


def test_tables_with_one_and_with_several_columns_are_read(tmp_path: Path) -> None:
    one, several = tmp_path / "one.csv", tmp_path / "several.csv"
    one.write_text("timestamp,value\n1,2.5\n2,\n")
    several.write_text("v1,v2,label\n1,10,0\n2,20,1\n")
    (s,) = read_csv(one)
    assert s.name == "one"
    assert s.values[0] == 2.5
    assert math.isnan(s.values[1])
    assert s.windows == ()
    assert read_csv(several) == [
        Series("several:v1", (1.0, 2.0), ((1, 1),)), Series("several:v2", (10.0, 20.0), ((1, 1),)),
    ]  # fmt: skip


def test_made_series_are_the_same_every_time_and_change_only_where_they_are_labelled() -> None:
    made = synthetic(1)
    assert made == synthetic(1)
    assert len(made) == 4 * (1 + len(EVENTS))
    by_name = {s.name: s for s in made}
    healthy = by_name["white/healthy/0"]
    assert len(healthy.values) == LENGTH
    for event, (length, _) in EVENTS.items():
        s = by_name[f"white/{event}/0"]
        differ = [i for i, (a, b) in enumerate(zip(healthy.values, s.values, strict=True)) if a != b]
        assert AT <= differ[0] <= AT + 1
        assert s.windows == ((AT, AT + length - 1 + APART),)


def test_thresholds_reach_from_the_middle_to_the_largest_score() -> None:
    picks = thresholds([[float(i) for i in range(1000)]])
    assert picks == sorted(picks)
    assert picks[0] == 500.0
    assert picks[-1] == 999.0


@pytest.mark.parametrize("b", ALL, ids=lambda b: b.name)
def test_every_detector_is_quiet_at_first_and_finds_a_huge_spike(b: Baseline) -> None:
    r = random.Random(3)
    update = b.make()
    before = [update(r.gauss(10.0, 1.0)) for _ in range(1000)]
    assert all(z < b.threshold for z in before[:10])
    assert all(math.isfinite(z) for z in before)
    assert sum(z >= b.threshold for z in before) < 100
    assert max(update(x) for x in (200.0, 200.0)) >= b.threshold


@pytest.mark.parametrize("b", ALL, ids=lambda b: b.name)
def test_no_detector_tells_of_a_constant_series(b: Baseline) -> None:
    update = b.make()
    assert all(update(5.0) < b.threshold for _ in range(1000))
