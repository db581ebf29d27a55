"""Rules about single layers: each fires on its cause, with its numbers, and is silent in its traps."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.rules.scene import Scene, noisy, values
from tests.fakes.source import FakeRun

FACTS = {
    "names": ["Conv2d 0.weight", "Conv2d 0.bias", "Linear 7.weight", "Linear 9.weight"],
    "first": 0, "last": 3, "weights": 4, "relus": ["ReLU 1", "ReLU 8"],
}  # fmt: skip


def begin(s: Scene, facts: dict[str, Any] | None = FACTS, **config: Any) -> FakeRun:
    run = s.run(**config)
    if facts is not None:
        run.publish(config={**run.now.config, "layers": facts})
    return run


# -- gradients that vanish ----------------------------------------------------------------------------------

VANISHED = {"grad_first": noisy(1e-9), "grad_last": noisy(0.5), "loss": noisy(2.3, 0.01)}


def test_a_gradient_that_does_not_reach_the_first_layer_is_told_with_the_depth_that_would_do() -> None:
    s = Scene()
    run = begin(s, activation="sigmoid")
    s.train(run, 60, **VANISHED)
    a = s.alert("grad-vanishing")
    assert a.severity == "warning" and values(a)["First weights"] == "Conv2d 0.weight"
    assert values(a)["First / last gradient"] == pytest.approx(2e-9, rel=0.1)
    # (2e-9) ^ (1/3) = 1.26e-3 a layer: 1 + ln 0.01 / ln 1.26e-3.
    assert [r.key for r in a.remedies] == ["relu", "skip", "norm"]
    assert (
        a.remedies[0].quantity == "activation sigmoid -> relu"
        and a.remedies[1].quantity == "one every 1 layers"
    )
    s.train(run, 200, grad_first=0.05, grad_last=0.5)
    s.go(40)
    assert s.found("grad-vanishing")[0].state != "firing"


@pytest.mark.parametrize(
    "fields",
    [
        {"grad_first": noisy(0.02), "grad_last": noisy(0.5)},  # two sigmoid layers: 0.04
        {"grad_first": noisy(2e-4), "grad_last": noisy(0.5)},  # low, but not next to nothing
        {"grad_first": noisy(1e-9), "grad_last": noisy(1e-9), "loss": noisy(2.3, 0.01)},  # small alike
        {"grad_first": noisy(1e-9), "grad_last": noisy(0.5), "loss": 0.2},  # converged
        {"grad_first": 0.0, "grad_last": 0.0, "loss": noisy(2.3, 0.01)},  # nothing comes even to the last
        {"grad_first": 1e-12, "grad_last": 1e-6, "loss": noisy(2.3, 0.01)},  # next to nothing
    ],
)
def test_shallow_converged_and_dead_networks_do_not_vanish(fields: dict[str, Any]) -> None:
    s = Scene()
    s.train(begin(s), 300, **fields)
    s.quiet("grad-vanishing")


def test_where_the_last_gradient_has_faded_as_well_depth_is_not_why() -> None:
    s = Scene()
    run = s.run(warm=False)
    s.train(run, 20, loss=2.3, grad_first=0.03, grad_last=0.1)
    s.train(run, 200, loss=2.303, grad_first=1e-12, grad_last=1e-3)
    s.quiet("grad-vanishing")


def test_a_resumed_run_is_not_compared_with_its_first_gradients() -> None:
    s = Scene()
    run = s.run(warm=False)
    run.event("note", "resumed from step 100")
    s.train(run, 20, loss=2.3, grad_first=0.03, grad_last=0.1)
    s.train(run, 200, loss=2.303, grad_first=1e-12, grad_last=1e-3)
    assert s.alert("grad-vanishing")


def test_without_norms_of_layers_vanishing_is_not_known() -> None:
    s = Scene()
    s.train(begin(s), 100)
    assert "grad_first" in s.unknown("grad-vanishing")


def test_norms_measured_now_and_then_are_enough() -> None:
    s = Scene()
    nan = float("nan")
    sparse = {k: (lambda step, v=v: v(step) if step % 20 == 0 else nan)  # type: ignore[misc]
              for k, v in VANISHED.items() if k != "loss"}  # fmt: skip
    s.train(begin(s), 150, loss=2.3, **sparse)
    assert s.alert("grad-vanishing")


def test_where_classes_are_not_known_the_first_loss_is_that_of_an_ignorant_model() -> None:
    s = Scene()
    run = s.run(warm=False, loss="mse")
    s.train(run, 80, **{**VANISHED, "loss": 5.0})
    assert s.alert("grad-vanishing")
    s = Scene()
    run = s.run(warm=False, loss="mse")
    s.train(run, 300, **{**VANISHED, "loss": lambda step: 5.0 if step < 30 else 0.5})
    s.go(40)
    assert all(a.state != "firing" for a in s.found("grad-vanishing"))


# -- dead ReLUs ---------------------------------------------------------------------------------------------


def looks(share: float, layer: int = 1, every: int = 50) -> dict[str, Any]:
    nan = float("nan")
    return {
        "dead_share": lambda step: share if step % every == 0 else nan,
        "dead_layer": lambda step: layer if step % every == 0 else nan,
    }


def test_a_dead_layer_is_told_by_name_and_explains_that_nothing_is_learned() -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 260, **looks(0.97), loss=2.303, accuracy=0.1, update_ratio=1e-5, lr=0.1)
    a = s.alert("dead-relu")
    assert a.severity == "critical" and values(a)["Layer"] == "ReLU 8" and values(a)["Dead units"] == 97.0
    assert "97 % of the units of ReLU 8" in a.title and a.remedies[0].quantity == "lr 0.1 -> 0.01"
    assert s.alert("chance-level").suppressed_by == "dead-relu"
    s.quiet("lr-too-low")


@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_half_of_a_layer_dead_is_normal(share: float) -> None:
    s = Scene()
    s.train(begin(s), 300, **looks(share), loss=2.303)
    s.quiet("dead-relu")


def test_a_network_that_learns_with_what_is_left_is_not_called_dead() -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 100, **looks(0.95), loss=2.303)
    assert s.alert("dead-relu").state == "firing"
    s.train(run, 300, **looks(0.95), loss=0.7)
    s.go(40)
    assert s.alert("dead-relu").state != "firing"
    s = Scene()
    s.train(begin(s), 300, **looks(0.95), loss=0.7)
    s.quiet("dead-relu")


def test_a_layer_that_came_back_clears_and_one_in_between_does_not() -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 100, **looks(0.95), loss=2.303)
    s.train(run, 200, **looks(0.8), loss=2.303)
    s.go(40)
    assert s.alert("dead-relu").state == "firing"
    s.train(run, 200, **looks(0.6), loss=2.303)
    s.go(40)
    assert s.alert("dead-relu").state != "firing"


def test_without_looks_dead_units_are_not_known_and_without_relus_there_are_none() -> None:
    s = Scene()
    s.train(begin(s, None), 100)
    assert "dead_share" in s.unknown("dead-relu")
    s = Scene()
    s.train(begin(s, {**FACTS, "relus": []}), 100)
    s.quiet("dead-relu")


# -- parameters that stand still ----------------------------------------------------------------------------


def frozen(run: FakeRun, why: dict[str, int], lr: float = 0.1, step: int = 151) -> None:
    names = FACTS["names"][: sum(why.values())]  # type: ignore[index]
    run.event("frozen", "frozen", step, parameters=names, count=len(names), of=4, why=why, steps=100, lr=lr)


@pytest.mark.parametrize(
    ("why", "severity", "keys"),
    [
        ({"no-gradient": 2}, "critical", ["no-gradient"]),
        ({"optimizer": 1, "gradient": 2}, "critical", ["gradient", "optimizer"]),
        ({"requires_grad": 2}, "warning", ["requires_grad"]),
        ({"requires_grad": 1, "optimizer": 2}, "critical", ["optimizer", "requires_grad"]),
    ],
)
def test_standstill_is_told_with_names_and_a_remedy_for_each_reason(
    why: dict[str, int], severity: str, keys: list[str]
) -> None:
    s = Scene()
    run = begin(s, lr=0.1)
    s.train(run, 160)
    frozen(run, why)
    s.go(2)
    a = s.alert("param-not-updating")
    assert (a.severity, a.kind, [r.key for r in a.remedies]) == (severity, "event", keys)
    assert str(values(a)["Parameters"]).startswith("Conv2d 0.weight, Conv2d 0.bias")
    assert a.remedies[0].quantity == f"{max(why.values())} of 4 parameters"


def test_layers_frozen_on_purpose_are_left_alone_in_a_run_that_goes_on_from_another() -> None:
    s = Scene()
    run = begin(s, lr=0.1)
    run.event("note", "resumed from step 100")
    frozen(run, {"requires_grad": 2})
    s.go(2)
    s.quiet("param-not-updating")
    frozen(run, {"no-gradient": 2}, step=152)
    s.go(2)
    assert s.alert("param-not-updating")


def test_the_end_of_a_schedule_moves_nothing_and_is_no_fault() -> None:
    s = Scene()
    run = begin(s, lr=0.1)
    frozen(run, {"gradient": 4}, lr=0.0005)
    s.go(2)
    s.quiet("param-not-updating")


def test_a_log_that_says_nothing_of_layers_leaves_standstill_unknown() -> None:
    s = Scene()
    s.train(begin(s, None), 100)
    assert "layers" in s.unknown("param-not-updating")


# -- mixed precision ----------------------------------------------------------------------------------------


def scale(every: int, first: float = 65_536.0) -> Any:
    """Falls by half at each `every`-th step and grows back before it, as a scaler's would not: its level does
    not matter here, only that it fell."""
    return lambda step: first / 2 if step % every == 0 else first


def test_steps_skipped_too_often_are_a_collapse() -> None:
    s = Scene()
    run = begin(s, precision="fp16")
    s.train(run, 300, amp_scale=scale(10), lr=0.01)
    a = s.alert("amp-scale-collapse")
    assert a.severity == "warning" and values(a)["Skipped"] == 10.0 and values(a)["Skipped steps"] == 20
    assert [r.quantity for r in a.remedies][:2] == ["precision fp16 -> bf16", "lr 0.01 -> 0.001"]
    assert a.cost is not None and "10 %" in a.cost
    s.train(run, 300, amp_scale=65_536.0)
    s.go(40)
    assert s.alert("amp-scale-collapse").state != "firing"


def test_a_scale_below_one_is_a_collapse() -> None:
    s = Scene()
    s.train(begin(s, precision="fp16"), 100, amp_scale=0.5)
    a = s.alert("amp-scale-collapse")
    assert a.cost is None and values(a)["Gradient scale"] == 0.5


def test_finding_the_scale_and_a_step_skipped_now_and_then_are_normal() -> None:
    s = Scene()
    run = s.run(warm=False, precision="fp16")
    s.train(run, 20, amp_scale=lambda step: 2.0 ** (40 - step))
    s.train(run, 300, amp_scale=scale(100))
    s.quiet("amp-scale-collapse")


def test_other_precisions_have_no_scale_to_collapse_and_fp16_without_one_is_unknown() -> None:
    for precision, known in (("bf16", True), ("fp32", True), ("fp16", False)):
        s = Scene()
        s.train(begin(s, precision=precision), 100)
        if known:
            s.quiet("amp-scale-collapse")
        else:
            assert "amp_scale" in s.unknown("amp-scale-collapse")


# -- what the layers add to others --------------------------------------------------------------------------


def test_an_exploding_gradient_names_the_layer_it_is_largest_in() -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 150, grad_norm=noisy(3.5), grad_top=2)
    s.train(run, 50, grad_norm=lambda step: 90.0 if step % 25 == 20 else 3.5, grad_top=2)
    assert values(s.alert("grad-exploding"))["Largest in"] == "Linear 7.weight"


@pytest.mark.parametrize(
    ("data", "key", "said"),
    [
        ({"origin": "input"}, "input", "the inputs were not finite"),
        ({"origin": "parameter", "layer": "3.weight", "layers": 8}, "parameter", "8 weight tensors"),
        ({"origin": "activation", "layer": "Linear 7"}, "activation", "what Linear 7 gives"),
        ({"origin": "loss"}, "bisect", "is NaN or infinite since"),
        ({}, "bisect", "is NaN or infinite since"),
    ],
)
def test_a_loss_that_is_not_finite_is_told_with_its_origin(data: dict[str, Any], key: str, said: str) -> None:
    s = Scene()
    run = begin(s)
    s.train(run, 60)
    run.event("nonfinite", "loss is NaN", 80, loss="nan", lr=0.01, last_finite_loss=0.5, last_finite_step=79,
              amp_scale=1024.0, **data)  # fmt: skip
    s.go(2)
    a = s.alert("loss-nonfinite")
    assert a.remedies[-1].key == key and said in a.why and values(a)["Gradient scale"] == 1024.0
    assert values(a).get("First not finite") == data.get("layer")


def test_where_one_class_is_most_of_the_data_chance_is_its_share() -> None:
    s = Scene()
    run = begin(s)
    run.publish(config={**run.now.config, "data": {"classes": list("0123456789"), "majority": 0.4}})
    s.train(run, 260, loss=2.29, accuracy=0.4)
    a = s.alert("chance-level")
    assert values(a)["Chance"] == 40.0
    s = Scene()
    s.train(begin(s), 260, loss=2.29, accuracy=0.4)
    s.quiet("chance-level")
