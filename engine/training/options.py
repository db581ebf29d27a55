"""The options of a training run: one table feeds the command line, the launch dialog and the checks."""

from __future__ import annotations

import math
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from dctop.engine.training import wfaults

Kind = Literal["choice", "int", "float", "bool", "text"]
Value = int | float | str | bool | list[str] | None

WORKLOADS = {"mnist-cnn": "small convolutional network on 28x28 images (the handbook's)"}


@dataclass(frozen=True, slots=True)
class LaunchOption:
    """One option. In the dialog `default` is what it starts with: the value used last, if there is one."""

    name: str
    """As in the configuration (`batch_size`); on the command line `--batch-size`."""
    kind: Kind
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    """Must be greater than this (`minimum`: at least)."""
    enabled: bool = True
    why_disabled: str | None = None
    repeat: bool = False
    """May be given more than once; its value is a list."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


class BadOption(ValueError):
    """One line: which option, what is wrong with it, what is possible."""


def _number(
    name: str, default: float, text: str, minimum: float | None = 0, above: float | None = None
) -> LaunchOption:
    kind: Kind = "int" if isinstance(default, int) else "float"
    return LaunchOption(name, kind, default, text, minimum=minimum, above=above)


def _choice(name: str, text: str, *choices: str) -> LaunchOption:
    return LaunchOption(name, "choice", choices[0], text, choices=choices)


def _text(name: str, text: str, repeat: bool = False) -> LaunchOption:
    return LaunchOption(name, "text", [] if repeat else None, text, repeat=repeat)


_FAULTS = ", ".join(name + (f":{kind.unit}" if kind.unit else "") for name, kind in wfaults.KINDS.items())

OPTIONS: tuple[LaunchOption, ...] = (
    _number("epochs", 10, "passes over the training set", 1),
    _number("batch_size", 32, "samples a step (batch-gd: a piece of the whole set)", 1),
    _number("lr", 1e-3, "learning rate", None, 0.0),
    _choice("optimizer", "batch-gd: descent on the whole set", "adam", "adamw", "sgd", "batch-gd"),
    _choice("loss", "loss function; mse is between probabilities and one-hot labels", "cross-entropy", "mse"),
    _choice("activation", "activation function", "relu", "sigmoid", "tanh"),
    _choice("precision", "arithmetic; tf32 and fp16 need CUDA", "fp32", "tf32", "bf16", "fp16"),
    _choice("device", "where to compute", "auto", "cpu", "cuda"),
    _number("seed", 0, "seed of weights and order"),
    _number("max_steps", 0, "stop after so many steps (0: all epochs)"),
    _number("eval_every", 0, "steps between evaluations on the test set (0: once an epoch)"),
    _number("checkpoint_every", 0, "steps between checkpoints (0: once an epoch)"),
    _text("checkpoint_dir", "folder for checkpoints (default: in the run's own)"),
    _text("data", "folder with IDX files (default: look for MNIST or Fashion-MNIST, else generate digits)"),
    _number("train_samples", 0, "use only so many training images (0: all)"),
    _number("test_samples", 0, "use only so many test images (0: all)"),
    _number("workers", 0, "loader processes (0: load in the training process)"),
    _number("threads", 0, "CPU threads of an operation (0: PyTorch's choice)"),
    _number("weight_decay", 0.0, "L2 regularisation (adamw: decoupled decay)"),
    _number("l1", 0.0, "L1 regularisation of the weights"),
    _choice("on_nan", "loss not finite for 20 steps: end the run, or go on", "stop", "continue"),
    _text("fault", f"drill: plant NAME[:SIZE][@STEP[-STEP]]; {_FAULTS}", repeat=True),
)  # fmt: skip
WORKLOAD = LaunchOption("workload", "choice", "mnist-cnn", "what to train", choices=tuple(WORKLOADS))
PYTHON = _text("python", "Python with torch (default: the active environment's, else dctop's own)")
BY_NAME = {option.name: option for option in OPTIONS}


def add_arguments(parser: ArgumentParser) -> None:
    """Every option as a flag. Values stay text here: `resolve` reads and judges them."""
    for option in OPTIONS:
        shown = option.default if option.default not in (None, []) else None
        text = option.help.replace("%", "%%") + (
            f" (default: {shown})" if shown not in (None, 0, 0.0) else ""
        )
        if option.kind == "choice":
            parser.add_argument(option.flag, choices=option.choices, default=None, help=text)
        elif option.repeat:
            parser.add_argument(option.flag, action="append", default=None, metavar="SPEC", help=text)
        else:
            metavar = {"int": "N", "float": "X"}.get(option.kind, "DIR")
            parser.add_argument(option.flag, default=None, metavar=metavar, help=text)


def from_arguments(args: Namespace) -> dict[str, Value]:
    """What was given on the command line, nothing else."""
    given = {option.name: getattr(args, option.name, None) for option in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def resolve(given: Mapping[str, object]) -> dict[str, Value]:
    """The complete configuration: what was given, checked and typed, and defaults. Raises BadOption."""
    unknown = sorted(set(given) - set(BY_NAME))
    if unknown:
        raise BadOption(f"no option '{unknown[0]}'; there are {', '.join(BY_NAME)}")
    config = {option.name: _value(option, given.get(option.name)) for option in OPTIONS}
    # The worker runs in its own folder: paths must not depend on where it was started.
    for name in ("data", "checkpoint_dir"):
        path = config[name]
        if isinstance(path, str):
            config[name] = str(Path(path).expanduser().absolute())
    return config


def _value(option: LaunchOption, given: object) -> Value:
    if given is None or given == "":
        return list(option.default) if isinstance(option.default, list) else option.default
    if option.repeat:
        return _faults(given)
    if option.kind == "choice":
        if given not in option.choices:
            raise BadOption(f"{option.flag} {given}: choose one of {', '.join(option.choices)}")
        return str(given)
    if option.kind in ("int", "float"):
        return _checked_number(option, given)
    return str(given)


def _checked_number(option: LaunchOption, given: object) -> int | float:
    what = "a whole number" if option.kind == "int" else "a number"
    try:
        number = int(str(given)) if option.kind == "int" else float(str(given))
    except ValueError:
        raise BadOption(f"{option.flag} {given}: {what} is needed") from None
    if not math.isfinite(number):
        raise BadOption(f"{option.flag} {given}: a finite number is needed")
    if option.minimum is not None and number < option.minimum:
        raise BadOption(f"{option.flag} {given}: must be at least {option.minimum:g}")
    if option.above is not None and number <= option.above:
        raise BadOption(f"{option.flag} {given}: must be greater than {option.above:g}")
    return number


def _faults(given: object) -> list[str]:
    """A list, or one text with spaces or commas between (as the dialog's field gives it)."""
    specs = given.replace(",", " ").split() if isinstance(given, str) else given
    if not isinstance(specs, list):
        raise BadOption(f"--fault {given}: NAME[:SIZE][@STEP[-STEP]] is needed")
    for spec in specs:
        try:
            wfaults.parse(str(spec))
        except ValueError as error:
            raise BadOption(str(error)) from None
    return [str(spec) for spec in specs]


def with_state(
    option: LaunchOption, last: Mapping[str, object], cuda: bool | None, why_no_cuda: str
) -> LaunchOption:
    """The option as the dialog shows it: the last value, and what is impossible here taken away."""
    try:
        value = _value(option, last.get(option.name))
    except BadOption:
        value = option.default  # remembered by another version
    if isinstance(value, list):
        value = " ".join(value)
    if cuda is not False:
        return replace(option, default=value)
    impossible = {"device": ("cuda",), "precision": ("tf32", "fp16")}.get(option.name, ())
    if not impossible:
        return replace(option, default=value)
    choices = tuple(c for c in option.choices if c not in impossible)
    return replace(
        option,
        choices=choices,
        default=value if value in choices else option.default,
        why_disabled=f"{', '.join(impossible)}: {why_no_cuda}",
    )
