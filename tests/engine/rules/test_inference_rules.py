"""Problem 3: requests that are slower than they were, than they may be, than they need be."""

from __future__ import annotations

import pytest

from dctop.engine.rules.board import Standing
from tests.engine.rules.measure import STAGES, Measurement, trained
from tests.engine.rules.scene import Scene, values


def standing(scene: Scene) -> Standing:
    return next(s for s in scene.engine.board() if s.problem == "inference")


def test_three_slow_windows_are_a_regression_and_name_the_stage_that_grew() -> None:
    scene = Scene()
    m = Measurement(scene).reference().serving()
    m.windows(2, p50=0.008, p99=0.009, forward=0.007)
    assert not scene.found("infer-latency-regression")
    m.windows(1, p50=0.008, p99=0.009, forward=0.007)
    alert = scene.alert("infer-latency-regression")
    assert values(alert)["p50"] == pytest.approx(8.0) and values(alert)["Forward"] == "4 -> 7"
    stage = alert.remedies[0]
    assert stage.key == "stage" and stage.effect == "p50 8 -> 5 ms, x 1.6"


def test_a_regression_clears_and_stands_where_it_does_not() -> None:
    scene = Scene()
    m = Measurement(scene).reference().serving().windows(3, p50=0.008, p99=0.009)
    m.windows(40, seconds=1.0)
    assert scene.alert("infer-latency-regression").state == "closed"
    m.windows(3, p50=0.008, p99=0.009)
    m.done(0.008, 0.009).end()
    scene.go(300)
    alert = scene.alert("infer-latency-regression")
    assert alert.open, "a measurement does not get well by ending"
    assert scene.engine.ack(alert.id) and not scene.alert("infer-latency-regression").open
    scene.go(60)
    assert not scene.alert("infer-latency-regression").open


def test_the_next_measurement_of_the_same_run_supersedes_what_stood() -> None:
    scene = Scene()
    Measurement(scene).reference().serving().windows(3, p50=0.008, p99=0.009).done(0.008, 0.009).end()
    scene.go(5)
    Measurement(scene, "m-other", of="run-9").serving()
    scene.go(2)
    assert scene.alert("infer-latency-regression").open, "another run's measurement says nothing about it"
    Measurement(scene, "m-2").reference().serving().windows(3)
    assert not scene.alert("infer-latency-regression").open
    assert standing(scene).status == "well"


def test_between_its_limits_a_request_time_neither_fires_nor_clears() -> None:
    scene = Scene()
    m = Measurement(scene).reference().serving().windows(4, p50=0.0058, p99=0.0065)
    scene.quiet("infer-latency-regression")
    m.windows(3, p50=0.008, p99=0.009)
    m.windows(60, p50=0.0058, p99=0.0065)
    assert scene.alert("infer-latency-regression").state == "firing"


def test_without_a_baseline_or_enough_windows_nothing_is_said() -> None:
    scene = Scene()
    m = Measurement(scene).serving().windows(5, p50=0.05, p99=0.06)
    assert "baseline" in scene.unknown("infer-latency-regression")
    m.reference()
    scene.go()
    assert scene.alert("infer-latency-regression")


def test_slow_requests_in_the_time_of_one_slice_are_no_regression() -> None:
    scene = Scene()
    Measurement(scene).reference().serving().windows(5, p99=0.05, seconds=0.05)
    scene.quiet("infer-latency-regression")


def test_slow_requests_over_seconds_are_a_tail_of_the_baseline() -> None:
    scene = Scene()
    slow = {"requests": 4, "waited": 4}
    Measurement(scene).reference().serving().windows(4, p99=0.05, seconds=0.5, slow=slow)
    alert = scene.alert("infer-latency-regression")
    assert "one request in a hundred" in alert.title
    assert alert.remedies[0].key == "neighbours" and alert.remedies[0].effect == "p99 50 -> 6 ms"


def test_a_busy_node_is_the_cause_of_slow_requests() -> None:
    scene = Scene()
    m = Measurement(scene).reference().serving()
    scene.set({"pressure.cpu.some_avg10_pct": 60.0})
    m.windows(45, p50=0.010, p99=0.012, cpu=0.5, forward=0.009)
    assert scene.alert("cpu-contended").entity == m.run.id
    assert scene.alert("infer-latency-regression").suppressed_by == "cpu-contended"
    assert scene.alert("infer-latency-regression").remedies[0].effect == "p50 10 -> 5 ms at best"
    m.done(0.010, 0.012).end()
    scene.set({"pressure.cpu.some_avg10_pct": 0.0})
    scene.go(200)
    assert scene.alert("infer-latency-regression").suppressed_by == "cpu-contended", "it was measured so"


def test_a_limit_that_is_missed_says_which_rate_keeps_it() -> None:
    scene = Scene()
    m = Measurement(scene, slo_s=0.02, rate=180.0).serving()
    m.done(0.012, 0.06, slo={"limit_s": 0.02, "missed": 100, "share": 0.1},
           load={"rate": 180.0, "service_s": 0.005, "utilisation": 0.95})  # fmt: skip
    scene.go()
    alert = scene.alert("infer-slo")
    assert alert.severity == "critical" and values(alert)["p99"] == pytest.approx(60.0)
    assert alert.remedies[0].key == "rate" and "2 for 180" in str(alert.remedies[0].quantity)


def test_a_service_longer_than_the_limit_is_told_apart_from_a_rate() -> None:
    scene = Scene()
    Measurement(scene, slo_s=0.004).serving().done(0.005, 0.006)
    scene.go()
    alert = scene.alert("infer-slo")
    assert "serving alone" in alert.title and alert.remedies[0].key == "stage"


def test_a_limit_is_judged_over_a_minute_while_it_goes_on() -> None:
    scene = Scene()
    m = Measurement(scene, slo_s=0.02).serving()
    m.windows(30, p99=0.05)
    assert "requests" in scene.unknown("infer-slo")
    m.windows(40, p99=0.05)
    assert scene.alert("infer-slo")


def test_a_limit_that_is_kept_or_was_not_asked_for_is_quiet() -> None:
    scene = Scene()
    Measurement(scene, slo_s=0.02).serving().done()
    scene.go()
    scene.quiet("infer-slo")
    other = Scene()
    Measurement(other).serving().done(0.5, 0.9)
    other.go()
    other.quiet("infer-slo")


def test_heavy_preprocessing_is_told_with_what_is_left_without_it() -> None:
    scene = Scene()
    m = Measurement(scene).serving().windows(1, p50=0.010, pre=0.005)
    alert = scene.alert("infer-preproc-heavy")
    assert values(alert)["Share of the request"] == 50.0 and alert.remedies[0].key == "vector"
    assert alert.remedies[0].quantity == "x 4 faster" and "p50 10 -> 6.25 ms" in str(alert.remedies[0].effect)
    m.windows(40, p50=0.010, pre=0.001)
    assert scene.alert("infer-preproc-heavy").state == "closed"


def test_preprocessing_explains_the_regression_it_makes() -> None:
    scene = Scene()
    Measurement(scene).reference().serving().windows(3, p50=0.025, p99=0.026, pre=0.0205)
    assert scene.alert("infer-preproc-heavy").remedies[0].effect == "p50 25 -> 5 ms"
    assert scene.alert("infer-latency-regression").suppressed_by == "infer-preproc-heavy"


def test_a_toy_that_prepares_in_microseconds_is_not_heavy() -> None:
    scene = Scene()
    Measurement(scene).serving().windows(2, p50=0.0004, p99=0.0005, pre=0.0002, forward=0.0001)
    scene.quiet("infer-preproc-heavy")


def test_the_queue_is_no_part_of_what_preprocessing_is_measured_by() -> None:
    scene = Scene()
    Measurement(scene, rate=50.0).serving().windows(2, p50=0.040, p99=0.05, pre=0.002, queue=0.035)
    assert scene.alert("infer-preproc-heavy"), "40 % of the 5 ms that are served"


def test_a_long_tail_names_what_the_slow_requests_waited_for() -> None:
    scene = Scene()
    m = Measurement(scene).serving().windows(4, p99=0.05)
    assert "1,000" in scene.unknown("infer-tail")
    m.windows(1, p99=0.05, cpu=0.2)
    alert = scene.alert("infer-tail")
    assert values(alert)["p99 / p50"] == 10.0 and values(alert)["Slow requests"] == 20
    assert values(alert)["Without a core"] == 4 and alert.remedies[0].key == "look"
    m.windows(5, p99=0.05, cpu=0.2)
    scene.go(6)
    assert scene.alert("infer-tail").remedies[0].key == "core"


def test_a_tail_within_less_than_a_second_is_not_judged() -> None:
    scene = Scene()
    Measurement(scene).serving().windows(6, p50=0.0002, p99=0.004, pre=0.0, seconds=0.05)
    assert "1 s" in scene.unknown("infer-tail")


def test_a_queue_says_how_many_replicas() -> None:
    scene = Scene()
    Measurement(scene, rate=180.0).serving().windows(3, p50=0.015, p99=0.06, queue=0.010).curve(
        (1, 0.005), (8, 0.010)
    )
    scene.go(6)
    alert = scene.alert("infer-queueing")
    assert values(alert)["Utilisation"] == pytest.approx(0.9 + 0.0081 * 20, abs=0.2)
    assert "2 = ceil" in str(alert.remedies[0].quantity) and alert.remedies[1].key == "batch"


def test_a_server_that_never_comes_to_rest_is_measured_by_its_answers() -> None:
    scene = Scene()
    # 200 answers a second, 1 ms each: the rest of the time goes elsewhere, and the queue grows.
    m = Measurement(scene, rate=300.0).serving()
    m.windows(3, p50=2.0, p99=2.1, queue=1.999, pre=0.0001, forward=0.0008)
    scene.go(6)
    alert = scene.alert("infer-queueing")
    assert values(alert)["Most it can serve"] == pytest.approx(200, rel=0.05)
    assert values(alert)["Utilisation"] == pytest.approx(1.5, rel=0.05)
    assert "3 = ceil" in str(alert.remedies[0].quantity)


def test_requests_one_after_the_other_have_no_queue() -> None:
    scene = Scene()
    Measurement(scene).serving().windows(5)
    scene.quiet("infer-queueing")


def test_a_server_that_is_half_idle_is_quiet() -> None:
    scene = Scene()
    Measurement(scene, rate=80.0).serving().windows(5, queue=0.0)
    scene.quiet("infer-queueing")


def test_a_cold_start_is_a_note_with_its_dummy_requests() -> None:
    scene = Scene()
    m = Measurement(scene)
    m.tell("coldstart", first_s=0.1, steady_s=0.005, ratio=20.0, calls=3)
    scene.go()
    alert = scene.alert("infer-cold-start")
    assert alert.severity == "info" and alert.remedies[0].quantity == "3 requests"
    assert standing(scene).status == "suspect"


def test_a_first_request_that_is_hardly_slower_is_quiet() -> None:
    scene = Scene()
    Measurement(scene).tell("coldstart", first_s=0.02, steady_s=0.005, ratio=4.0, calls=2)
    scene.go()
    scene.quiet("infer-cold-start")


def test_eight_for_the_time_of_one_asks_for_micro_batches_within_the_limit() -> None:
    scene = Scene()
    Measurement(scene, slo_s=0.0066).curve((1, 0.005), (2, 0.0052), (4, 0.0056), (8, 0.0064), (16, 0.008))
    scene.go()
    alert = scene.alert("infer-batch1-bound")
    assert alert.severity == "info" and alert.remedies[0].quantity == "up to 8"
    assert str(alert.remedies[0].effect).startswith("x 6.25 samples/s")


def test_the_wait_for_a_batch_to_fill_counts_against_the_limit() -> None:
    scene = Scene()
    Measurement(scene, slo_s=0.020, rate=200.0).curve((1, 0.005), (2, 0.0052), (4, 0.0056), (8, 0.0064))
    scene.go()
    assert scene.alert("infer-batch1-bound").remedies[0].quantity == "up to 2"  # 4 would wait 15 + 5.6 ms


@pytest.mark.parametrize(("batch", "eight"), [(1, 0.030), (16, 0.0055)])
def test_a_full_device_or_served_batches_are_no_finding(batch: int, eight: float) -> None:
    scene = Scene()
    Measurement(scene, batch_size=batch).curve((1, 0.005), (8, eight))
    scene.go()
    scene.quiet("infer-batch1-bound")


def test_a_model_trained_on_a_gpu_that_serves_on_the_cpu_is_told() -> None:
    scene = Scene()
    m = Measurement(scene, measures={"device": "cuda:0"})
    scene.go()
    alert = scene.alert("infer-cpu-fallback")
    assert "torch sees no CUDA device" in alert.why
    m.done()
    scene.go()
    assert scene.alert("infer-cpu-fallback").remedies[0].effect == "p50 5 -> 1 ms at best"


def test_a_node_with_gpus_is_proof_as_well() -> None:
    scene = Scene()
    scene.set({"gpu.util_pct{gpu=0}": 0.0})
    Measurement(scene)
    scene.go()
    assert scene.alert("infer-cpu-fallback")


@pytest.mark.parametrize("device", [{"asked": "cpu"}, {"chosen": "cuda:0", "asked": "cuda"}])
def test_a_device_that_was_asked_for_is_no_fallback(device: dict[str, str]) -> None:
    scene = Scene()
    Measurement(scene, measures={"device": "cuda:0"}, device=device)
    scene.go()
    scene.quiet("infer-cpu-fallback")


def test_a_cpu_without_any_gpu_is_no_fallback() -> None:
    scene = Scene()
    Measurement(scene)
    scene.go()
    scene.quiet("infer-cpu-fallback")


def test_gradients_are_told_with_what_they_cost() -> None:
    scene = Scene()
    m = Measurement(scene, grad=True)
    scene.go()
    assert scene.alert("infer-grad-on").severity == "warning"
    m.tell("autograd", with_s=0.005, without_s=0.004, cost_s=0.001)
    m.done()
    scene.go()
    alert = scene.alert("infer-grad-on")
    assert values(alert)["Cost"] == 20.0 and "p50 5 -> 4 ms" in str(alert.remedies[0].effect)
    assert alert.count == 1


def test_a_model_in_training_mode_is_told_and_dropout_on_purpose_is_not() -> None:
    from dctop.engine.rules.engine import RuleEngine

    scene = Scene()
    meant = RuleEngine(thresholds={"infer-train-mode": {"on_purpose": 1.0}})
    Measurement(scene, training=True, noisy_layers=2).tell("determinism", max_diff=0.4, ok=False)
    scene.go()
    meant.tick(scene.source)
    assert "2 layers draw lots" in scene.alert("infer-train-mode").why
    assert scene.alert("eval-nondeterministic").suppressed_by == "infer-train-mode"
    assert not [a for a in meant.alerts() if a.rule == "infer-train-mode"]


def test_training_mode_without_such_layers_is_told_to_be_harmless_here() -> None:
    scene = Scene()
    Measurement(scene, training=True).tell("determinism", max_diff=0.0, ok=True)
    scene.go()
    assert "no layer that minds" in scene.alert("infer-train-mode").why
    scene.quiet("eval-nondeterministic")


def test_a_heavy_model_is_reported_with_its_multiply_adds() -> None:
    scene = Scene()
    Measurement(scene).quality().curve((1, 0.05), (8, 0.08)).done(0.055, 0.06, stages={"forward": 0.05})
    scene.go()
    alert = scene.alert("infer-model-heavy")
    assert alert.severity == "info" and [r.key for r in alert.remedies] == ["batch", "halve", "lower"]
    assert values(alert)["Multiply-adds"] == pytest.approx(2.528)
    assert str(alert.remedies[1].effect).startswith("p50 55 -> 17.5 ms")
    assert alert.remedies[2].command == "dctop infer run-0 --precision bf16"


def test_a_model_that_answers_in_time_is_not_heavy() -> None:
    scene = Scene()
    Measurement(scene, slo_s=0.02).done()
    scene.go()
    scene.quiet("infer-model-heavy")
    late = Scene()
    Measurement(late, slo_s=0.0055).done()
    late.go()
    assert late.alert("infer-model-heavy")


def test_the_board_tells_unknown_well_and_firing_of_problem_three() -> None:
    scene = Scene()
    scene.go()
    assert standing(scene).status == "unknown" and "measurement" in scene.unknown("infer-tail")
    run = scene.run()
    scene.train(run, 60)
    assert standing(scene).status == "unknown", "a training says nothing about inference"
    run.end()
    m = Measurement(scene).reference().serving().windows(5, seconds=1.0)
    assert standing(scene).status == "well"
    m.windows(3, p50=0.01, p99=0.012)
    board = standing(scene)
    assert board.status == "firing" and board.open == ("infer-latency-regression",)


def test_rules_about_both_are_known_after_a_measurement() -> None:
    scene = Scene()
    recall = [0.9] * 10
    m = Measurement(scene).inputs().quality(0.9, trained(0.1, 0.0, recall=recall)).done().end()
    scene.go(3)
    assert m.run.now.status == "finished"
    for rule in ("preprocess-mismatch", "confidence-shift", "class-recall-collapse"):
        scene.quiet(rule)


def test_rules_of_training_do_not_judge_a_measurement() -> None:
    scene = Scene()
    Measurement(scene).serving().windows(5).quality(accuracy=0.05).done()
    scene.go()
    assert scene.unknown("plateau") == "a training run" and scene.unknown("input-bound") == "a training run"
    assert not [a for a in scene.engine.alerts() if a.problem in ("convergence", "utilisation")]


def test_a_measurement_of_long_ago_is_history() -> None:
    from dataclasses import replace

    scene = Scene()
    m = Measurement(scene, training=True).reference().done(0.05, 0.06).end()
    hours = 5 * 3600 * 10**9
    old = m.run.now
    events = [replace(e, wall_ns=e.wall_ns - hours) for e in old.events]
    past = replace(old, started_wall_ns=old.started_wall_ns - hours, events=events,
                   ended_wall_ns=(old.ended_wall_ns or 0) - hours)  # fmt: skip
    fresh = Scene()
    fresh.source.known_runs.append(past)
    fresh.go(3)
    assert not [a for a in fresh.engine.alerts() if a.open]
    assert fresh.unknown("infer-tail") == "a measurement (dctop infer)"


def test_only_the_newest_of_measurements_nobody_saw_is_told() -> None:
    scene = Scene()
    first = Measurement(scene, "m-1", training=True).done(0.05, 0.06).end()
    scene.source.tick(5.0)
    second = Measurement(scene, "m-2", grad=True).done().end()
    later = Scene()
    later.source.wall_ns = scene.source.wall_ns + 60 * 10**9
    later.source.known_runs += [first.run.now, second.run.now]
    later.go(3)
    found = [(a.rule, a.entity) for a in later.engine.alerts()]
    assert found == [("infer-grad-on", "m-2")]


def test_thresholds_are_the_users() -> None:
    from dctop.engine.rules.engine import RuleEngine

    scene = Scene()
    strict = RuleEngine(thresholds={"infer-preproc-heavy": {"share": 0.05, "least_s": 0.0}})
    m = Measurement(scene).serving().windows(1)
    strict.tick(scene.source)
    assert STAGES["pre"] / 0.005 == 0.1 and not scene.found("infer-preproc-heavy")
    assert [a.entity for a in strict.alerts() if a.rule == "infer-preproc-heavy"] == [m.run.id]
