"""Options of a run: one table, checked before anything is started."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import options
from dctop.engine.training.options import BY_NAME, OPTIONS, BadOption, resolve, with_state


def test_defaults_are_the_handbooks() -> None:
    config = resolve({})
    assert {k: config[k] for k in ("epochs", "batch_size", "lr", "optimizer", "loss", "activation")} == {
        "epochs": 10, "batch_size": 32, "lr": 1e-3, "optimizer": "adam", "loss": "cross-entropy",
        "activation": "relu",
    }  # fmt: skip
    assert list(config) == list(BY_NAME)


def test_the_command_line_has_every_option() -> None:
    parser = ArgumentParser()
    options.add_arguments(parser)
    given_ = [
        (o.flag, {"choice": o.choices[-1] if o.choices else "", "text": "nan@3"}.get(o.kind, "2"))
        for o in OPTIONS
    ]
    args = parser.parse_args([word for pair in given_ for word in pair])
    config = resolve(options.from_arguments(args))
    assert config["batch_size"] == 2 and config["lr"] == 2.0 and config["fault"] == ["nan@3"]
    assert config["optimizer"] == "batch-gd" and config["precision"] == "fp16"
    assert options.from_arguments(parser.parse_args([])) == {}


def test_help_names_defaults_and_needs_no_torch() -> None:
    parser = ArgumentParser()
    options.add_arguments(parser)
    text = parser.format_help()
    assert "(default: 32)" in text and "slow-data:ms" in text


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("epochs", 0, "--epochs 0: must be at least 1"),
        ("epochs", "many", "--epochs many: a whole number is needed"),
        ("epochs", 1.5, "--epochs 1.5: a whole number is needed"),
        ("lr", 0, "--lr 0: must be greater than 0"),
        ("lr", "nan", "--lr nan: a finite number is needed"),
        ("weight_decay", -1, "--weight-decay -1: must be at least 0"),
        ("optimizer", "lion", "--optimizer lion: choose one of adam, adamw, sgd, batch-gd"),
        ("fault", ["fire"], "fault 'fire': expected NAME"),
        ("colour", "red", "no option 'colour'; there are epochs"),
    ],
)
def test_bad_values_are_refused_in_one_line(name: str, value: object, why: str) -> None:
    with pytest.raises(BadOption) as caught:
        resolve({name: value})
    assert str(caught.value).startswith(why) and "\n" not in str(caught.value)


@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.none() | st.text() | st.integers() | st.floats()))
def test_anything_is_resolved_or_refused(given_: dict[str, object]) -> None:
    try:
        config = resolve(given_)
    except BadOption as error:
        assert str(error)
    else:
        assert resolve(config) == config


def test_paths_do_not_depend_on_where_the_worker_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve({"data": "images"})["data"] == str(tmp_path / "images")


def test_a_field_of_faults_is_split() -> None:
    assert resolve({"fault": "nan@3, leak:4@5-9"})["fault"] == ["nan@3", "leak:4@5-9"]
    assert resolve({"fault": ""})["fault"] == []


def test_what_is_impossible_here_says_why() -> None:
    device = with_state(BY_NAME["device"], {"device": "cuda"}, False, "built without CUDA")
    assert device.choices == ("auto", "cpu") and device.default == "auto"
    assert device.why_disabled == "cuda: built without CUDA"
    precision = with_state(BY_NAME["precision"], {"precision": "bf16"}, False, "no")
    assert precision.choices == ("fp32", "bf16") and precision.default == "bf16"
    assert with_state(BY_NAME["device"], {}, True, "").choices == ("auto", "cpu", "cuda")


def test_values_used_last_come_back_unless_they_make_no_sense() -> None:
    assert with_state(BY_NAME["epochs"], {"epochs": 3}, None, "").default == 3
    assert with_state(BY_NAME["epochs"], {"epochs": "x"}, None, "").default == 10
    assert with_state(BY_NAME["fault"], {"fault": ["nan@3", "lr"]}, None, "").default == "nan@3 lr"
    assert with_state(BY_NAME["fault"], {}, None, "").default == ""
