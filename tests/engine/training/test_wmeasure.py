"""The figures of an inference measurement, against values worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import wmeasure as w

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=300)


@given(TIMES, st.floats(0, 1))
def test_a_quantile_lies_within_the_values_and_grows_with_its_share(times: list[float], share: float) -> None:
    ordered = sorted(times)
    found = w.quantile(ordered, share)
    assert found is not None and ordered[0] <= found <= ordered[-1] * (1 + 1e-12)
    assert found <= (w.quantile(ordered, 1.0) or 0) * (1 + 1e-12)


def test_percentiles_that_so_few_requests_cannot_tell_are_missing() -> None:
    assert w.spread([1.0] * 19)["p95_s"] is None
    assert w.spread([1.0] * 99)["p99_s"] is None
    assert w.spread([float(i) for i in range(1, 102)]) == {
        "p50_s": 51.0, "p95_s": 96.0, "p99_s": 100.0, "mean_s": 51.0, "max_s": 101.0,
    }  # fmt: skip
    assert w.spread([]) == {"p50_s": None, "p95_s": None, "p99_s": None, "mean_s": None, "max_s": None}


def points(*rates: float) -> list[dict[str, float]]:
    return [{"batch": 2.0**i, "samples_per_s": r, "latency_s": 2**i / r} for i, r in enumerate(rates)]


def test_the_knee_is_the_batch_beyond_which_little_is_gained() -> None:
    assert w.knee(points(100, 190, 300, 320, 900)) == 4
    assert w.knee(points(100, 190, 300)) is None
    assert w.knee([]) is None
    assert w.batch1_bound(points(100, 190, 300, 700)) == pytest.approx(8 / 700 * 100)
    assert w.batch1_bound(points(100)) is None


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    assert w.calibration([0.9] * 10, [True] * 9 + [False]) == pytest.approx(0.0)
    assert w.calibration([0.95] * 10, [False] * 10) == pytest.approx(0.95)
    assert w.calibration([], []) is None


def test_two_proportions() -> None:
    # 8,500 of 10,000 against 8,700 of 10,000: pooled 0.86.
    z = w.two_proportion_z(8500, 10_000, 8700, 10_000)
    assert z == pytest.approx(0.02 / math.sqrt(0.86 * 0.14 * 2e-4))
    assert w.two_proportion_z(10, 10, 10, 10) is None
    low, high = w.wilson(90, 100) or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.8256, 0.9448)


def test_stability_index_is_zero_for_the_same_and_large_for_a_collapse() -> None:
    even = [0.1] * 10
    assert w.stability_index(even, even) == 0
    assert (w.stability_index([1.0] + [0.0] * 9, even) or 0) > 1
    assert w.stability_index([], even) is None


def test_unscaled_pixels_are_a_mismatch_with_their_factor() -> None:
    trained = {"min": 0.0, "max": 1.0, "mean": 0.286, "std": 0.353}
    now = {"min": 0.0, "max": 255.0, "mean": 72.9, "std": 90.0, "samples": 1024}
    found = w.compare_inputs(now, trained)
    assert found["mismatch"] is True and found["range_ratio"] == 255 and found["factor"] == 255
    # An old checkpoint stores no range: the mean alone tells.
    assert w.compare_inputs(now, {"mean": 0.286, "std": 0.353})["mismatch"] is True
    assert w.compare_inputs({**trained, "samples": 1024}, trained)["mismatch"] is False
    # One dark image proves nothing, and nothing stored can be compared with.
    assert w.compare_inputs({**now, "samples": 8}, trained)["mismatch"] is None
    assert w.compare_inputs(now, {})["mismatch"] is None


def summary(
    p50: float = 0.01, accuracy: float = 0.9, nll: float = 0.3, pre: float = 0.001
) -> dict[str, object]:
    return {
        "latency": {"p50_s": p50, "p95_s": p50 * 1.2, "p99_s": p50 * 1.4},
        "stages": {"pre": {"p50_s": pre}, "h2d": {"p50_s": 0.0}, "forward": {"p50_s": 0.008}},
        "throughput": {"best_samples_per_s": 1000.0},
        "quality": {"accuracy": accuracy, "samples": 10_000, "nll": nll, "predicted": [0.5, 0.5]},
    }  # fmt: skip


def test_the_same_measurement_has_no_findings() -> None:
    found = w.compare(summary(), summary())
    assert found["findings"] == [] and found["p50_ratio"] == 1 and found["psi"] == 0 and found["drop_pp"] == 0


def test_a_slower_one_names_the_stage_that_grew() -> None:
    found = w.compare(summary(0.03, pre=0.021), summary())
    assert found["grown_stage"] == "pre"
    assert found["findings"] == [
        "latency p50 is 3.00 times the baseline's (limit 1.25); most of it in pre",
        "latency p99 is 3.00 times the baseline's (limit 1.5)",
    ]


def test_a_drop_counts_from_one_point_and_z_3_on() -> None:
    assert w.compare(summary(accuracy=0.895), summary())["findings"] == []
    assert w.compare(summary(accuracy=0.87), summary())["findings"] == ["accuracy fell by 3.0 points (z 6.6)"]
    assert "NLL is 100.0 times" in str(w.compare(summary(nll=30.0), summary())["findings"])


def test_missing_parts_are_missing_in_the_comparison() -> None:
    found = w.compare({}, summary())
    assert found["p50_ratio"] is None and found["z"] is None and found["findings"] == []
