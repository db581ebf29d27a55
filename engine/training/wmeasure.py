"""Figures of an inference measurement: percentiles, knee, calibration, drift, comparison with a baseline.

Worker side, standard library only; every function is pure. Times are seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

STAGES = ("pre", "h2d", "forward", "post")
"""Parts of a request in order: preprocess (decode and scale), copy to the device, forward, postprocess."""
GAIN = 0.10
"""Below this gain in samples/s a larger batch is not worth its latency (RULES.md 1.2)."""
BINS = 15
Z_LIMIT, DROP_PP = 3.0, 1.0
"""A drop counts from one-sided z > 3 and 1 percentage point on (RULES.md 1.5)."""
P50_RATIO, P99_RATIO, NLL_RATIO = 1.25, 1.5, 2.0
PSI_WARN, PSI_CRIT = 0.1, 0.2
RANGE_RATIO, MEAN_SHIFT = 2.0, 0.5
LEAST_SAMPLES = 32


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Of sorted values, by linear interpolation between the two nearest."""
    if not ordered:
        return None
    at = share * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def spread(times: Sequence[float]) -> dict[str, float | None]:
    """p50_s, p95_s, p99_s, mean_s, max_s. p99 of fewer than 100 values is None: it would be the maximum."""
    ordered = sorted(times)
    return {
        "p50_s": quantile(ordered, 0.5),
        "p95_s": quantile(ordered, 0.95) if len(ordered) >= 20 else None,
        "p99_s": quantile(ordered, 0.99) if len(ordered) >= 100 else None,
        "mean_s": math.fsum(ordered) / len(ordered) if ordered else None,
        "max_s": ordered[-1] if ordered else None,
    }


def knee(points: Sequence[Mapping[str, float]]) -> int | None:
    """The smallest batch beyond which the next larger one gains less than 10 % samples/s. `points` are
    sorted by batch. None: the largest one measured still gained (or there is but one)."""
    for now, then in zip(points, points[1:]):  # noqa: RUF007  (pairwise is Python 3.10)
        if then["samples_per_s"] < now["samples_per_s"] * (1 + GAIN):
            return int(now["batch"])
    return None


def batch1_bound(points: Sequence[Mapping[str, float]]) -> float | None:
    """latency(8) / latency(1): below 1.5 single requests waste the device (`infer-batch1-bound`)."""
    times = {int(p["batch"]): p["latency_s"] for p in points}
    return times[8] / times[1] if 8 in times and times.get(1, 0) > 0 else None


def calibration(confidences: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> float | None:
    """Expected calibration error: mean over equal-width bins of |accuracy - confidence|, weighted by size
    (Guo et al. 2017). 0 is perfect."""
    if not confidences:
        return None
    sums = [[0.0, 0.0, 0.0] for _ in range(bins)]
    for confidence, hit in zip(confidences, correct):
        one = sums[min(bins - 1, int(confidence * bins))]
        one[0] += 1
        one[1] += confidence
        one[2] += hit
    return math.fsum(abs(hits - total) for _, total, hits in sums) / len(confidences)


def two_proportion_z(hits: float, n: int, hits_then: float, n_then: int) -> float | None:
    """z of the pooled two-proportion test, positive where the share has fallen. None: nothing varies."""
    if n <= 0 or n_then <= 0:
        return None
    pooled = (hits + hits_then) / (n + n_then)
    variance = pooled * (1 - pooled) * (1 / n + 1 / n_then)
    return (hits_then / n_then - hits / n) / math.sqrt(variance) if variance > 0 else None


def wilson(hits: float, n: int, z: float = 1.96) -> tuple[float, float] | None:
    """95 % confidence interval of a proportion (Wilson 1927)."""
    if n <= 0:
        return None
    p, zz = hits / n, z * z
    middle = (p + zz / (2 * n)) / (1 + zz / n)
    half = z / (1 + zz / n) * math.sqrt(p * (1 - p) / n + zz / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def stability_index(now: Sequence[float], then: Sequence[float]) -> float | None:
    """Population stability index of two distributions over the same classes (shares that sum to 1);
    0.1 is worth a look, 0.2 a change. Empty classes count as half a per mille."""
    if not now or len(now) != len(then):
        return None
    total = 0.0
    for a, b in zip(now, then):
        p, q = max(a, 5e-4), max(b, 5e-4)
        total += (p - q) * math.log(p / q)
    return total


def moved(now: Sequence[float], then: Sequence[float]) -> dict[str, float]:
    """The class whose share changed most: `index`, `now`, `then`."""
    i = max(range(len(now)), key=lambda k: abs(now[k] - then[k]))
    return {"index": i, "now": now[i], "then": then[i]}


def _shares(counts: object) -> list[float]:
    if not isinstance(counts, list) or not counts or not all(_number(n) is not None for n in counts):
        return []
    total = math.fsum(counts)
    return [n / total for n in counts] if total else []


def compare_inputs(now: Mapping[str, object], trained: Mapping[str, object]) -> dict[str, object]:
    """`range_ratio` (greatest absolute value now / then), `mean_shift` in standard deviations of the
    training inputs, `mismatch`: whether either is beyond its limit; None where a figure is missing."""
    top_now, top_then = _reach(now), _reach(trained)
    ratio = None
    if top_now is not None and top_then:
        ratio = max(top_now / top_then, top_then / top_now) if top_now else math.inf
    mean_now, mean_then, std = (
        _number(d.get(k)) for d, k in ((now, "mean"), (trained, "mean"), (trained, "std"))
    )
    shift = abs(mean_now - mean_then) / std if None not in (mean_now, mean_then) and std else None  # type: ignore[operator]
    known = [x for x in (ratio, shift) if x is not None]
    n = _number(now.get("samples")) or 0
    wrong = (ratio is not None and ratio > RANGE_RATIO) or (shift is not None and shift > MEAN_SHIFT)
    return {
        "range_ratio": ratio,
        "mean_shift": shift,
        "mismatch": wrong if known and n >= LEAST_SAMPLES else None,
        "factor": top_now / top_then if wrong and top_now and top_then else None,
    }


def _reach(stats: Mapping[str, object]) -> float | None:
    low, high = _number(stats.get("min")), _number(stats.get("max"))
    return None if low is None or high is None else max(abs(low), abs(high))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def compare(now: Mapping[str, object], then: Mapping[str, object]) -> dict[str, object]:
    """A measurement against its baseline, both as `summary` of winfer makes them: ratios of latency (a
    stage at a time) and throughput, the accuracy's z and drop in percentage points, NLL ratio, PSI of the
    predicted classes, and `findings`: one line for each that is beyond its limit."""
    out: dict[str, object] = {}
    findings: list[str] = []
    for name, limit in (("p50_s", P50_RATIO), ("p95_s", None), ("p99_s", P99_RATIO)):
        ratio = _ratio(now, then, "latency", name)
        out[name.replace("_s", "_ratio")] = ratio
        if ratio is not None and limit is not None and ratio > limit:
            findings.append(f"latency {name[:3]} is {ratio:.2f} times the baseline's (limit {limit})")
    stages = {stage: _ratio(now, then, "stages", stage, "p50_s") for stage in STAGES}
    out["stage_ratio"] = stages
    grown = _grown(now, then)
    out["grown_stage"] = grown
    if findings and grown and findings[0].startswith("latency p50"):
        findings[0] += f"; most of it in {grown}"
    out["throughput_ratio"] = _ratio(now, then, "throughput", "best_samples_per_s")
    _compare_quality(now, then, out, findings)
    out["findings"] = findings
    return out


def _compare_quality(
    now: Mapping[str, object], then: Mapping[str, object], out: dict[str, object], findings: list[str]
) -> None:
    accuracy, accuracy_then = _at(now, "quality", "accuracy"), _at(then, "quality", "accuracy")
    n, n_then = _at(now, "quality", "samples"), _at(then, "quality", "samples")
    out["z"] = out["drop_pp"] = None
    if None not in (accuracy, accuracy_then, n, n_then):
        assert accuracy is not None and accuracy_then is not None and n is not None and n_then is not None
        z = two_proportion_z(accuracy * n, int(n), accuracy_then * n_then, int(n_then))
        drop = 100 * (accuracy_then - accuracy)
        out["z"], out["drop_pp"] = z, drop
        if z is not None and z > Z_LIMIT and drop >= DROP_PP:
            findings.append(f"accuracy fell by {drop:.1f} points (z {z:.1f})")
    ratio = _ratio(now, then, "quality", "nll")
    out["nll_ratio"] = ratio
    if ratio is not None and ratio > NLL_RATIO:
        findings.append(f"NLL is {ratio:.1f} times the baseline's (limit {NLL_RATIO:g})")
    shares = [(_get(d, "quality", "predicted") or []) for d in (now, then)]
    psi = stability_index(*shares) if all(isinstance(s, list) for s in shares) else None  # type: ignore[arg-type]
    out["psi"] = psi
    out["moved"] = moved(*shares) if psi is not None else None  # type: ignore[arg-type]
    supports = [_shares(_get(d, "quality", "support")) for d in (now, then)]
    out["support_psi"] = stability_index(*supports)
    out["confidence_then"] = _at(then, "quality", "confidence")
    if psi is not None and psi > PSI_WARN:
        findings.append(f"predicted classes drifted: PSI {psi:.2f} (limit {PSI_WARN:g})")


def _grown(now: Mapping[str, object], then: Mapping[str, object]) -> str | None:
    """The stage whose median grew most."""
    grown = []
    for stage in STAGES:
        a, b = _at(now, "stages", stage, "p50_s"), _at(then, "stages", stage, "p50_s")
        if a is not None and b is not None:
            grown.append((a - b, stage))
    worst = max(grown, default=(0.0, ""))
    return worst[1] if worst[0] > 0 else None


def _get(value: object, *path: str) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _at(value: object, *path: str) -> float | None:
    return _number(_get(value, *path))


def _ratio(now: object, then: object, *path: str) -> float | None:
    a, b = _at(now, *path), _at(then, *path)
    return a / b if a is not None and b else None
