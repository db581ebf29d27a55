"""Options of a run: one table, checked before anything is started."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import options
from dctop.engine.training.options import (
    BY_NAME,
    OPTIONS,
    WORKLOADS,
    BadOption,
    impossible,
    resolve,
    with_state,
)

VALUES = {
    option.name: option.choices[-1] if option.choices else "nan@3"
    for option in OPTIONS
    if option.choices or option.kind == "text"
}


def test_defaults_are_the_handbooks() -> None:
    config = resolve({})
    assert {k: config[k] for k in ("epochs", "batch_size", "lr", "optimizer", "loss", "activation")} == {
        "epochs": 10, "batch_size": 32, "lr": 1e-3, "optimizer": "adam", "loss": "cross-entropy",
        "activation": "relu",
    }  # fmt: skip
    assert list(config) == [o.name for o in options.for_workload("mnist-cnn")]


def test_the_command_line_has_every_option() -> None:
    parser = ArgumentParser()
    options.add_arguments(parser)
    words = [w for o in OPTIONS for w in (o.flag, *(() if o.kind == "bool" else (VALUES.get(o.name, "2"),)))]
    args = parser.parse_args(words)
    given_ = options.from_arguments(args)
    assert set(given_) == set(BY_NAME)
    config = resolve({k: v for k, v in given_.items() if BY_NAME[k].fits("mnist-cnn")})
    assert config["batch_size"] == 2 and config["lr"] == 2.0 and config["fault"] == ["nan@3"]
    assert config["optimizer"] == "batch-gd" and config["precision"] == "fp16" and config["compile"]
    assert options.from_arguments(parser.parse_args([])) == {}


def test_help_names_defaults_and_needs_no_torch() -> None:
    parser = ArgumentParser()
    options.add_arguments(parser)
    text = parser.format_help()
    assert "(default: 32, gpt: 16, linear: 3)" in " ".join(text.split()) and "--list-faults" in text


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


@given(
    st.dictionaries(
        st.sampled_from(sorted(BY_NAME)),
        st.none() | st.text(max_size=9) | st.integers() | st.floats(),
        max_size=6,
    ),
    st.sampled_from(sorted(WORKLOADS)),
)
def test_anything_is_resolved_or_refused(given_: dict[str, object], workload: str) -> None:
    try:
        config = resolve(given_, workload)
    except BadOption as error:
        assert str(error)
    else:
        assert resolve(config, workload) == config
        impossible(workload, config)


def test_each_workload_has_its_own_defaults_and_options() -> None:
    gpt, linear = resolve({}, "gpt"), resolve({}, "linear")
    assert (gpt["size"], gpt["optimizer"], gpt["schedule"], gpt["clip"]) == ("nano", "adamw", "cosine", 1.0)
    assert (linear["lr"], linear["optimizer"], linear["loss"]) == (0.1, "batch-gd", "mse")
    assert "size" not in resolve({}) and "data" not in linear
    with pytest.raises(BadOption, match="--size is for gpt, not for mnist-cnn"):
        resolve({"size": "micro"})
    with pytest.raises(BadOption, match=r"choose one of cross-entropy$"):
        resolve({"loss": "mse"}, "gpt")
    with pytest.raises(BadOption, match="there are mnist-cnn, gpt, linear"):
        resolve({}, "resnet")
    assert resolve({"size": "", "synthetic": False})["epochs"] == 10  # an empty field of another form


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({"device": "cuda"}, "--device cuda: no driver; use --device cpu or another --python"),
        ({"precision": "fp16"}, "--precision fp16 needs a CUDA device; on the CPU use fp32 or bf16"),
        (
            {"optimizer": "batch-gd", "nproc": 2},
            "--nproc: batch-gd on several processes is not offered; use sgd",
        ),
        ({"optimizer": "batch-gd", "accumulate": 2}, "--accumulate: batch-gd takes the whole set"),
        ({"synthetic": True, "data": "/x"}, "--synthetic and --data exclude each other"),
    ],
)
def test_what_cannot_run_together_is_one_line(given_: dict[str, object], why: str) -> None:
    config = resolve(given_)
    assert str(impossible("mnist-cnn", config, cuda=False, why_no_cuda="no driver")).startswith(why)
    assert impossible("mnist-cnn", resolve({}), cuda=False) is None


def test_compile_on_the_cpu_needs_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    said = impossible("mnist-cnn", resolve({"compile": True}), cuda=False)
    assert said is not None and "needs a C++ compiler" in said
    assert impossible("mnist-cnn", resolve({"compile": True}), cuda=True) is None


def test_more_processes_than_gpus_are_refused() -> None:
    config = resolve({"nproc": 4, "device": "cuda"})
    assert (
        impossible("mnist-cnn", config, cuda=True, gpus=2) == "--nproc 4: one GPU a process, and there are 2"
    )


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
    assert with_state(BY_NAME["compile"], {"compile": True}, None, "").default is True
