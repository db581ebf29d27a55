"""Problem 3, slow inference, as the times of requests show it: slower than the baseline, beyond the limit
asked for, a stage that is too large, a long tail, a queue.

A window is 200 requests; warm-up is no part of any. Times count from when a request should have come
(coordinated omission), so the queue is in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from dctop.engine.rules.base import CRITICAL, NOT_APPLICABLE, WARNING, Details, Ev, Needs, Outcome, Rule, num
from dctop.engine.rules.inferbase import (
    STAGES,
    InferRule,
    Remedies,
    in_ms,
    ms,
    of_percent,
    percent,
)
from dctop.engine.rules.measured import Measured, Request, number_at
from dctop.engine.rules.queueing import least_replicas, mean_wait, most_rate
from dctop.engine.rules.runwindow import RunWindow
from dctop.engine.rules.window import median, quantile
from dctop.engine.training.runstate import RunEvent

WINDOW = 200


class InferLatencyRegression(InferRule):
    """p50 above 1.25 x the baseline's in 3 windows in a row of at least 200 requests each, or p99 above 1.5 x
    in as many as last a second (a neighbour's time slice of 4 ms covers a window of a fast model: measured);
    clear below 1.10 and 1.25. A baseline is of the same model, batch, precision, device, threads and load,
    or it is none; warm-up is left out. Gain of the stage that grew: Amdahl, 1 / (1 - its share)."""

    id = "infer-latency-regression"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "p50": 1.25, "p99": 1.5, "clear_p50": 1.10, "clear_p99": 1.25, "windows": 3.0, "requests": 200.0,
        "span_s": 1.0, "waiting": 0.85, "hold_s": 0.0,
    }  # fmt: skip
    source = "ratios against a stored baseline; Amdahl 1967"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        if m.data("reference") is None:
            return Needs("baseline")
        n = int(self.t["windows"])
        windows = [w for w in m.windows if (number_at(w.data, "requests") or 0) >= self.t["requests"]]
        if len(windows) < n:
            return Needs("requests", f"{n * self.t['requests']:g}")
        then = [m.at("reference", "latency", f"{p}_s") for p in ("p50", "p99")]
        p50 = self._ratios(windows[-n:], "p50_s", then[0])
        p99 = self._ratios(self._lasting(windows, n), "p99_s", then[1])
        if not p50:
            return Needs("baseline")
        slow = min(p50) > self.t["p50"] or (bool(p99) and min(p99) > self.t["p99"])
        clear = max(p50) < self.t["clear_p50"] and (not p99 or max(p99) < self.t["clear_p99"])
        return self.reading(
            run, WARNING if slow else 0, clear, lambda: self._details(run, m, windows[-n:], then)
        )

    def _lasting(self, windows: Sequence[RunEvent], n: int) -> Sequence[RunEvent]:
        """The newest windows that are `n` and last so long; none if all together do not."""
        for k in range(n, len(windows) + 1):
            if (windows[-1].wall_ns - windows[-k].wall_ns) / 1e9 >= self.t["span_s"]:
                return windows[-k:]
        return ()

    def _ratios(self, windows: Sequence[RunEvent], name: str, then: float | None) -> list[float]:
        found = [number_at(w.data, "latency", name) for w in windows]
        return [v / then for v in found if v is not None and then]

    def _details(
        self, run: RunWindow, m: Measured, windows: Sequence[RunEvent], then: Sequence[float | None]
    ) -> Details:
        p50, p99 = (_middle(windows, "latency", f"{p}_s") for p in ("p50", "p99"))
        before = {s: m.at("reference", "stages", s) for s in STAGES}
        now = {s: _middle(windows, "stages", s, "p50_s") for s in STAGES}
        grown = {s: (now[s] or 0.0) - (before[s] or 0.0) for s in STAGES if now[s] is not None}
        worst = max(grown, key=lambda s: grown[s], default="forward")
        share = _middle(windows, "cpu_share")
        slow, waited = (
            sum(number_at(w.data, "slow", k) or 0 for w in windows) for k in ("requests", "waited")
        )
        base50, base99 = then
        evidence = [
            Ev("p50", in_ms(p50), "ms", _limit(base50, self.t["p50"])),
            Ev("base50", in_ms(base50), "ms"),
            Ev("p99", in_ms(p99), "ms", _limit(base99, self.t["p99"])),
            Ev("base99", in_ms(base99), "ms"),
            *(
                Ev(s, f"{ms(before[s])} -> {ms(now[s])}", "ms")
                for s in STAGES
                if now[s] is not None and (now[s] or before[s])
            ),
            Ev("cpu", None if share is None else round(share, 3), "", f">= {self.t['waiting']:g}"),
        ]
        after = None if p50 is None else max(p50 - max(0.0, grown.get(worst, 0.0)), 1e-9)
        more = grown.get(worst, 0.0)
        facts = {
            "run": run.id, "p50": ms(p50), "base50": ms(base50), "p99": ms(p99), "base99": ms(base99),
            "times50": num(p50 / base50 if p50 and base50 else None),
            "times99": num(p99 / base99 if p99 and base99 else None),
            "stage": STAGES[worst], "grown": ms(more), "after": ms(after),
            "gain": num(p50 / after if p50 and after else None), "share": of_percent(share),
            "waited": num(waited, 9), "slow": num(slow, 9),
            "least": ms(None if p50 is None or share is None else p50 * share),
            "baseline": str((m.data("reference") or {}).get("run")),
        }  # fmt: skip
        contended = (share is not None and share < self.t["waiting"]) or (slow and waited > slow / 2)
        waits = share is not None and share < self.t["waiting"]
        remedies: Remedies = ["core" if waits else "neighbours"] if contended else []
        steady = p50 is not None and base50 is not None and p50 <= self.t["p50"] * base50
        if not steady:
            remedies.append("stage")
        elif not contended:
            remedies.append("tail")
        return Details(
            evidence, facts, [*remedies, "again"], ("key", "warmup"), variant="tail" if steady else None
        )


class InferSlo(InferRule):
    """p99 above the limit asked for (`--slo-ms`): in all windows of a minute, or over all requests of a
    measurement that has ended, at least 200. Times count from the intended arrival. The most requests a
    second that keep it: M/D/1, the wait beyond which one request in a hundred lies (MLPerf's server
    scenario asks the same)."""

    id = "infer-slo"
    kind = "state"
    severities = "c"
    thresholds: ClassVar[Mapping[str, float]] = {
        "span_s": 60.0, "requests": 200.0, "clear": 0.95, "busy": 0.7, "hold_s": 0.0,
    }  # fmt: skip
    source = "MLPerf inference, server scenario; M/D/1"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        limit = number_at(m.fact("flags"), "slo_s")
        if not limit:
            return NOT_APPLICABLE
        seen = self._p99(m)
        if seen is None:
            return Needs("requests", f"{self.t['requests']:g}")
        level = CRITICAL if min(seen) > limit else 0
        clear = max(seen) <= self.t["clear"] * limit
        return self.reading(run, level, clear, lambda: self._details(run, m, limit, median(seen) or 0.0))

    def _p99(self, m: Measured) -> list[float] | None:
        whole = number_at(m.whole, "latency", "p99_s")
        if m.whole is not None:
            enough = (number_at(m.whole, "requests") or 0) >= self.t["requests"]
            return [whole] if whole is not None and enough else None
        for k in range(2, len(m.windows) + 1):
            if (m.windows[-1].wall_ns - m.windows[-k].wall_ns) / 1e9 >= self.t["span_s"]:
                found = [number_at(w.data, "latency", "p99_s") for w in m.windows[-k:]]
                return [v for v in found if v is not None] or None
        return None

    def _details(self, run: RunWindow, m: Measured, limit: float, p99: float) -> Details:
        rate = number_at(m.fact("flags"), "rate")
        stages = {s: v for s, v in m.stages().items() if s != "queue"}
        service = m.at("latency", "load", "service_s") or sum(stages.values())
        most = most_rate(service, limit)
        missed = m.at("latency", "slo", "share")
        worst = max(stages, key=lambda s: stages[s], default="forward")
        evidence = [
            Ev("p99", in_ms(p99), "ms", f"<= {1000 * limit:g} ms"),
            Ev("missed", percent(missed), "%", "<= 1 %"),
            Ev("p50", in_ms(m.p50()), "ms"),
            Ev("service", in_ms(service), "ms"),
            Ev("rate", rate, "requests/s"),
            Ev("most", most, "requests/s"),
        ]
        facts: dict[str, object] = {
            "run": run.id, "p99": ms(p99), "limit": f"{1000 * limit:g}", "missed": of_percent(missed),
            "service": ms(service), "rate": num(rate), "most": num(most), "stage": STAGES[worst],
            "part": ms(stages.get(worst)), "needed": num(p99 / limit),
            "without": ms(service - stages.get(worst, 0.0)),
            "replicas": math.ceil(rate / most) if rate and most else 1,
        }  # fmt: skip
        remedies: Remedies = []
        if rate and most and rate > most:
            remedies += ["rate", "stage"]
        elif service >= limit:
            remedies += ["stage"]
        else:
            remedies += ["tail", "stage"]
        return Details(evidence, facts, remedies, variant="service" if service >= limit else None)


class InferPreprocHeavy(InferRule):
    """Preprocessing takes at least 30 % of the median request (without its queue) over 200 requests and more
    than 0.5 ms; clear below 20 %. Warm-up is left out: a cold file cache is no finding. Predicted: p50 -
    t_pre + t_pre / k, k as much faster as brings it back below 20 %."""

    id = "infer-preproc-heavy"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "share": 0.30, "clear": 0.20, "least_s": 0.0005, "requests": 200.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "the handbook's third problem; Amdahl"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        pre, p50, queue = m.stage("pre"), m.p50(), m.stage("queue") or 0.0
        enough = bool(m.windows) or (number_at(m.whole, "requests") or 0) >= self.t["requests"]
        if pre is None or p50 is None or not enough:
            return Needs("requests", f"{self.t['requests']:g}")
        served = max(p50 - queue, pre, 1e-9)
        share = pre / served
        heavy = share >= self.t["share"] and pre > self.t["least_s"]
        clear = share < self.t["clear"] or pre < self.t["least_s"] / 2
        return self.reading(
            run, WARNING if heavy else 0, clear, lambda: self._details(run, m, pre, served, share)
        )

    def _details(self, run: RunWindow, m: Measured, pre: float, served: float, share: float) -> Details:
        rest = served - pre
        target = self.t["clear"] / (1 - self.t["clear"]) * rest
        k = max(2, math.ceil(pre / target)) if target > 0 else 2
        then = m.at("reference", "stages", "pre")
        evidence = [
            Ev("share", percent(share), "%", f"< {100 * self.t['share']:g} %"),
            Ev("pre", in_ms(pre), "ms", f"<= {1000 * self.t['least_s']:g} ms"),
            Ev("p50", in_ms(served), "ms"),
            Ev("rest", in_ms(rest), "ms"),
            Ev("base", in_ms(then), "ms"),
        ]
        facts = {
            "run": run.id, "share": of_percent(share), "pre": ms(pre), "p50": ms(served), "rest": ms(rest),
            "k": k, "after": ms(rest + pre / k), "gain": num(served / (rest + pre / k)),
            "best": num(served / rest if rest > 0 else None), "base": ms(then),
            "back": ms(None if then is None else rest + then),
        }  # fmt: skip
        grown = then is not None and pre > 2 * then
        return Details(evidence, facts, ["back", "vector"] if grown else ["vector", "device"])


class InferTail(InferRule):
    """p99 / p50 above 3 over the newest 1,000 requests that last at least a second; clear below 2. Fewer
    tell no p99, and in less a single time slice of a neighbour is one request in a hundred (measured: 4 ms
    in requests of 0.2 ms). What the slow ones coincided with: the thread without a core, the collector of
    garbage, the queue."""

    id = "infer-tail"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "ratio": 3.0, "clear": 2.0, "requests": 1000.0, "span_s": 1.0, "waiting": 0.8, "hold_s": 0.0,
    }  # fmt: skip
    source = "Dean and Barroso, The Tail at Scale; verified beside busy neighbours"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        n = int(self.t["requests"])
        seen = m.requests(n)
        if len(seen) < n or sum(r.whole - r.queue for r in seen) < self.t["span_s"]:
            return Needs("requests", f"{n:,} ({self.t['span_s']:g} s)")
        times = [r.whole for r in seen]
        p50, p99 = median(times), quantile(times, 0.99)
        if not p50 or p99 is None:
            return Needs("requests", f"{n:,}")
        ratio = p99 / p50
        level = WARNING if ratio > self.t["ratio"] else 0
        return self.reading(
            run, level, ratio < self.t["clear"], lambda: self._details(run, m, seen, p50, p99)
        )

    def _details(
        self, run: RunWindow, m: Measured, seen: Sequence[Request], p50: float, p99: float
    ) -> Details:
        late = [r for r in seen if r.whole > self.t["ratio"] * p50]
        waited = [r for r in late if r.cpu_share is not None and r.cpu_share < self.t["waiting"]]
        queued = [r for r in late if r.queue > r.whole / 2]
        data = m.figures() or {}
        collected = number_at(data, "slow", "collected")
        w = run.node
        evidence = [
            Ev("ratio", round(p99 / p50, 2), "", f"<= {self.t['ratio']:g}"),
            Ev("p50", in_ms(p50), "ms"),
            Ev("p99", in_ms(p99), "ms"),
            Ev("slow", len(late), "requests"),
            Ev("waited", len(waited), "requests"),
            Ev("queued", len(queued), "requests"),
            Ev("collected", collected, "requests"),
            Ev("psi", w.num("pressure.cpu.some_avg10_pct"), "%", None, "pressure.cpu.some_avg10_pct"),
        ]
        causes = {"core": waited, "queue": queued}
        worst = max(causes, key=lambda c: len(causes[c]))
        facts: dict[str, object] = {
            "run": run.id, "ratio": num(p99 / p50), "p50": ms(p50), "p99": ms(p99), "slow": len(late),
            "waited": len(waited), "queued": len(queued), "collected": num(collected, 9),
            "after": ms(_p99_without(seen, causes[worst])),
        }  # fmt: skip
        if len(causes[worst]) >= 0.4 * max(1, len(late)):
            remedies: Remedies = [worst]
        elif collected and collected >= 0.4 * (number_at(data, "slow", "requests") or 1):
            remedies = ["collector"]
        else:
            remedies = ["look"]
        return Details(evidence, facts, remedies, ("warmup",))


class InferQueueing(InferRule):
    """Utilisation rho = rate x service time above 0.8 (of a server that never came to rest: the time from one
    answer to the next), or the queue takes more than 20 % of the median
    request, over the last minute (bursts are shorter) and at least 200 requests; clear below 0.7 and 10 %.
    Only where requests come by themselves (`--rate`). Replicas = ceil(rate x t / 0.7); the wait that is left:
    M/D/1, rho t / (2 (1 - rho))."""

    id = "infer-queueing"
    kind = "state"
    severities = "w"
    thresholds: ClassVar[Mapping[str, float]] = {
        "rho": 0.8, "always": 0.95, "clear_rho": 0.7, "share": 0.2, "clear_share": 0.1, "target": 0.7,
        "span_s": 60.0, "requests": 200.0, "hold_s": 0.0,
    }  # fmt: skip
    source = "queueing theory: M/D/1 (Pollaczek-Khinchine)"

    def look(self, run: RunWindow, m: Measured) -> Outcome:
        rate = number_at(m.fact("flags"), "rate")
        if not rate:
            return NOT_APPLICABLE
        seen = m.requests(2000, self.t["span_s"])
        if len(seen) < self.t["requests"]:
            return Needs("requests", f"{self.t['requests']:g}")
        service = sum(r.whole - r.queue for r in seen) / len(seen)
        pace = m.pace(len(seen))
        if pace and sum(r.queue > 0 for r in seen) > self.t["always"] * len(seen):
            # It never came to rest: what was answered is all that it can, whatever lies between requests.
            service = max(service, 1 / pace)
        rho = rate * service
        p50, queue = median([r.whole for r in seen]) or 0.0, median([r.queue for r in seen]) or 0.0
        share = queue / p50 if p50 else 0.0
        level = WARNING if rho > self.t["rho"] or share > self.t["share"] else 0
        clear = rho < self.t["clear_rho"] and share < self.t["clear_share"]
        return self.reading(
            run, level, clear, lambda: self._details(run, m, rate, service, (rho, share, p50, queue))
        )

    def _details(
        self, run: RunWindow, m: Measured, rate: float, service: float,
        found: tuple[float, float, float, float],
    ) -> Details:  # fmt: skip
        rho, share, p50, queue = found
        replicas = least_replicas(rate, service, self.t["target"])
        left = mean_wait(rate / replicas, service)
        size = int(number_at(m.fact("flags"), "batch_size") or 1)
        better = max(m.points(), key=lambda p: p[2], default=None)
        evidence = [
            Ev("rho", round(rho, 3), "", f"<= {self.t['rho']:g}"),
            Ev("share", percent(share), "%", f"<= {100 * self.t['share']:g} %"),
            Ev("rate", rate, "requests/s"),
            Ev("most", 1 / service if service else None, "requests/s"),
            Ev("service", in_ms(service), "ms"),
            Ev("queue", in_ms(queue), "ms"),
            Ev("p50", in_ms(p50), "ms"),
        ]
        facts: dict[str, object] = {
            "run": run.id, "rho": num(100 * rho), "rate": num(rate),
            "most": num(1 / service if service else None), "service": ms(service), "queue": ms(queue),
            "share": of_percent(share), "replicas": replicas, "after": num(100 * rho / replicas),
            "left": ms(left), "target": f"{self.t['target']:g}",
        }  # fmt: skip
        remedies: Remedies = ["replicas"] if replicas > 1 else ["faster"]
        own = next((p[2] for p in m.points() if p[0] == size), None)
        if better is not None and own and better[0] > size and better[2] > 1.2 * own:
            batched = {
                "batch": better[0],
                "gain": num(better[2] / own),
                "rho": num(100 * rho * own / better[2]),
            }
            remedies.append(("batch", batched))
        return Details(evidence, facts, remedies, variant=None if rho > self.t["rho"] else "share")


def _limit(base: float | None, times: float) -> str | None:
    return None if base is None else f"<= {1000 * base * times:.3g} ms"


def _middle(windows: Sequence[RunEvent], *path: str) -> float | None:
    """Median over windows."""
    return median([v for w in windows if (v := number_at(w.data, *path)) is not None])


def _p99_without(seen: Sequence[Request], gone: Sequence[Request]) -> float | None:
    """p99 if these requests had been like the others."""
    skip = {id(r) for r in gone}
    return quantile([r.whole for r in seen if id(r) not in skip], 0.99)


RULES: tuple[type[Rule], ...] = (
    InferLatencyRegression, InferSlo, InferPreprocHeavy, InferTail, InferQueueing,
)  # fmt: skip
