"""The options of a training run: one table feeds the command line, the launch dialog and the checks."""

from __future__ import annotations

import math
import shutil
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from dctop.engine.training import wfaults, wgpt

Kind = Literal["choice", "int", "float", "bool", "text"]
Value = int | float | str | bool | list[str] | None

WORKLOADS = {
    "mnist-cnn": "small convolutional network on 28x28 images (the handbook's)",
    "gpt": "decoder-only transformer on the bytes of a text",
    "linear": "the handbook's three samples: diverges at its own learning rate, converges at 0.01",
}
GROUPS = ("run", "model", "optimisation", "data", "speed", "checkpoints", "drill")
"""Of options, in the order a form shows them."""
GPT_SIZES = tuple(wgpt.SIZES)
_IMAGES, _TEXT, _LINE = ("mnist-cnn",), ("gpt",), ("linear",)
_NETS = ("mnist-cnn", "gpt")


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
    group: str = "run"
    workloads: tuple[str, ...] = ()
    """Which it is for; () = all."""
    defaults: Mapping[str, Value] = field(default_factory=dict)
    """By workload, where it is not `default`."""
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Choices by workload, where they are not all."""

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")

    def fits(self, workload: str) -> bool:
        return not self.workloads or workload in self.workloads

    def of(self, workload: str) -> LaunchOption:
        """The same with this workload's default and choices."""
        default = self.defaults.get(workload, self.default)
        return replace(self, default=default, choices=self.only.get(workload, self.choices))


class BadOption(ValueError):
    """One line: which option, what is wrong with it, what is possible."""


def _number(
    name: str, default: float, text: str, minimum: float | None = 0, above: float | None = None,
    group: str = "run", workloads: tuple[str, ...] = (), **defaults: Value,
) -> LaunchOption:  # fmt: skip
    kind: Kind = "int" if isinstance(default, int) else "float"
    return LaunchOption(
        name, kind, default, text, minimum=minimum, above=above, group=group, workloads=workloads,
        defaults={key.replace("_", "-"): value for key, value in defaults.items()},
    )  # fmt: skip


def _choice(
    name: str, text: str, choices: tuple[str, ...], group: str, workloads: tuple[str, ...] = (),
    only: Mapping[str, tuple[str, ...]] | None = None, default: str | None = None, **defaults: Value,
) -> LaunchOption:  # fmt: skip
    return LaunchOption(
        name, "choice", default or choices[0], text, choices=choices, group=group, workloads=workloads,
        defaults={key.replace("_", "-"): value for key, value in defaults.items()}, only=only or {},
    )  # fmt: skip


def _text(name: str, text: str, group: str, repeat: bool = False, **more: tuple[str, ...]) -> LaunchOption:
    default: Value = [] if repeat else None
    return LaunchOption(name, "text", default, text, repeat=repeat, group=group, **more)  # type: ignore[arg-type]


def _flag(name: str, text: str, group: str, workloads: tuple[str, ...] = ()) -> LaunchOption:
    return LaunchOption(name, "bool", False, text, group=group, workloads=workloads)


OPTIONS: tuple[LaunchOption, ...] = (
    _number("epochs", 10, "passes over the training set", 1, gpt=1, linear=100),
    _number("max_steps", 0, "stop after so many steps (0: all epochs)"),
    _number(
        "target", 0.0, "stop when an evaluation reaches it: test accuracy (gpt, linear: test loss); 0: never"
    ),
    _choice("device", "where to compute", ("auto", "cpu", "cuda"), "run"),
    _number("nproc", 1, "processes that train together (DDP through torchrun)", 1, workloads=_NETS),
    _number("seed", 0, "seed of weights and order"),
    _choice("on_nan", "loss not finite for 20 steps: end the run, or go on", ("stop", "continue"), "run"),
    _choice("size", "transformer: " + wgpt.SIZES_TEXT, GPT_SIZES, "model", _TEXT),
    _number(
        "context",
        0,
        "bytes the transformer looks back on (0: the size's own)",
        group="model",
        workloads=_TEXT,
    ),
    _number(
        "dropout", 0.0, "share of activations dropped in training, below 1", group="model", workloads=_TEXT
    ),
    _choice("activation", "activation function", ("relu", "sigmoid", "tanh"), "model", _NETS),
    _number(
        "batch_size",
        32,
        "samples a step and process (batch-gd: a piece of the whole set)",
        1,
        group="optimisation",
        gpt=16,
        linear=3,
    ),
    _number("accumulate", 1, "batches whose gradients make one step", 1, group="optimisation"),
    _number("lr", 1e-3, "learning rate", None, 0.0, group="optimisation", linear=0.1),
    _choice(
        "schedule",
        "learning rate: constant, cosine to a tenth, or a tenth after each third of the run",
        ("constant", "cosine", "step"),
        "optimisation",
        gpt="cosine",
    ),
    _number(
        "warmup_steps", 0, "steps over which the learning rate rises from 0", group="optimisation", gpt=50
    ),
    _choice(
        "optimizer",
        "batch-gd: descent on the whole set",
        ("adam", "adamw", "sgd", "batch-gd"),
        "optimisation",
        gpt="adamw",
        linear="batch-gd",
        only={"gpt": ("adam", "adamw", "sgd")},
    ),
    _choice(
        "loss",
        "mse is between probabilities and one-hot labels (linear: half the sum of squares)",
        ("cross-entropy", "mse"),
        "optimisation",
        linear="mse",
        only={"linear": ("mse",), "gpt": ("cross-entropy",)},
    ),
    _number(
        "clip", 0.0, "largest gradient norm, scaled down to it (0: as it is)", group="optimisation", gpt=1.0
    ),
    _number("weight_decay", 0.0, "L2 regularisation (adamw: decoupled decay)", group="optimisation"),
    _number("l1", 0.0, "L1 regularisation of the weights", group="optimisation"),
    _text(
        "data",
        "images: folder of IDX files (default: MNIST or Fashion-MNIST where found, else generated "
        "digits); gpt: a text file (default: the sources of Python's library)",
        "data",
        workloads=_NETS,
    ),
    _choice(
        "download",
        "fetch a data set where no --data is given and it is not here",
        ("no", "fashion-mnist", "mnist"),
        "data",
        _IMAGES,
    ),
    _flag("synthetic", "generated digits, whatever data sets are here", "data", _IMAGES),
    _number(
        "train_samples",
        0,
        "use only so many training images (gpt: bytes; 0: all)",
        group="data",
        workloads=_NETS,
    ),
    _number(
        "test_samples", 0, "use only so many test images (gpt: bytes; 0: all)", group="data", workloads=_NETS
    ),
    _number(
        "workers", 0, "loader processes (0: load in the training process)", group="data", workloads=_NETS
    ),
    _choice(
        "precision", "arithmetic; tf32 and fp16 need CUDA", ("fp32", "tf32", "bf16", "fp16"), "speed", _NETS
    ),
    _flag("compile", "torch.compile the model", "speed", _NETS),
    _number("threads", 0, "CPU threads of an operation (0: PyTorch's choice)", group="speed"),
    _flag(
        "verify_timing", "check the timing first: 20 steps with synchronisation against 20 without", "speed"
    ),
    _number(
        "eval_every",
        0,
        "steps between evaluations on the test set (0: once an epoch)",
        group="checkpoints",
        gpt=500,
        linear=10,
    ),
    _number(
        "checkpoint_every",
        0,
        "steps between checkpoints (0: once an epoch)",
        group="checkpoints",
        gpt=500,
        linear=50,
    ),
    _text("checkpoint_dir", "folder for checkpoints (default: in the run's own)", "checkpoints"),
    _text("fault", "drill: plant NAME[:SIZE][@STEP[-STEP]]; --list-faults tells all", "drill", repeat=True),
)
WORKLOAD = LaunchOption("workload", "choice", "mnist-cnn", "what to train", choices=tuple(WORKLOADS))
PYTHON = _text("python", "Python with torch (default: the active environment's, else dctop's own)", "run")
BY_NAME = {option.name: option for option in OPTIONS}


def for_workload(workload: str) -> tuple[LaunchOption, ...]:
    """Its options with its defaults and choices. Raises BadOption: there is no such workload."""
    if workload not in WORKLOADS:
        raise BadOption(f"no workload '{workload}'; there are {', '.join(WORKLOADS)}")
    return tuple(option.of(workload) for option in OPTIONS if option.fits(workload))


def drills(workload: str = "mnist-cnn") -> dict[str, wfaults.Kind]:
    """The faults that can be planted in a workload, by name: what `--list-faults` and the dialog offer."""
    return {name: kind for name, kind in wfaults.KINDS.items() if wfaults.fits(kind, workload)}


def add_arguments(parser: ArgumentParser) -> None:
    """Every option as a flag. Values stay text here: `resolve` reads and judges them."""
    add_table(parser, OPTIONS)


def add_table(parser: ArgumentParser, table: tuple[LaunchOption, ...]) -> None:
    for option in table:
        shown = _shown_default(option)
        text = option.help.replace("%", "%%") + (f" (default: {shown})" if shown else "")
        if option.workloads and len(option.workloads) == 1:
            text = f"{option.workloads[0]}: {text}"
        if option.kind == "choice":
            parser.add_argument(option.flag, choices=option.choices, default=None, help=text)
        elif option.kind == "bool":
            parser.add_argument(option.flag, action="store_true", default=None, help=text)
        elif option.repeat:
            parser.add_argument(option.flag, action="append", default=None, metavar="SPEC", help=text)
        else:
            metavar = {"int": "N", "float": "X"}.get(option.kind, "PATH")
            parser.add_argument(option.flag, default=None, metavar=metavar, help=text)


def _shown_default(option: LaunchOption) -> str:
    said = [] if option.default in (None, [], 0, 0.0, False) else [f"{option.default}"]
    said += [f"{workload}: {value}" for workload, value in option.defaults.items()]
    return ", ".join(said)


def from_arguments(args: Namespace) -> dict[str, Value]:
    """What was given on the command line, nothing else."""
    given = {option.name: getattr(args, option.name, None) for option in OPTIONS}
    return {name: value for name, value in given.items() if value is not None}


def resolve(given: Mapping[str, object], workload: str = "mnist-cnn") -> dict[str, Value]:
    """The complete configuration of a workload: what was given, checked and typed, and defaults. Raises
    BadOption."""
    known = {option.name: option for option in for_workload(workload)}
    for name in sorted(set(given) - set(known)):
        if name not in BY_NAME:
            raise BadOption(f"no option '{name}'; there are {', '.join(known)}")
        # What another workload's form left empty is no mistake.
        if given[name] not in (None, "", False, []):
            owners = " and ".join(BY_NAME[name].workloads)
            raise BadOption(f"{BY_NAME[name].flag} is for {owners}, not for {workload}")
    config = {name: _value(option, given.get(name)) for name, option in known.items()}
    # The worker runs in its own folder: paths must not depend on where it was started.
    for name in ("data", "checkpoint_dir"):
        path = config.get(name)
        if isinstance(path, str):
            config[name] = str(Path(path).expanduser().absolute())
    return config


def impossible(
    workload: str, config: Mapping[str, Value], cuda: bool | None = None, why_no_cuda: str = "",
    gpus: int | None = None,
) -> str | None:  # fmt: skip
    """Why this (resolved) configuration cannot run, in one line; None: nothing stands against it. `cuda`,
    `gpus`: what the interpreter sees, None where that is not known yet."""
    on_cuda = config["device"] == "cuda" or (config["device"] == "auto" and cuda is not False)
    if config["device"] == "cuda" and cuda is False:
        return f"--device cuda: {why_no_cuda}; use --device cpu or another --python"
    if config.get("precision") in ("tf32", "fp16") and not on_cuda:
        return f"--precision {config['precision']} needs a CUDA device; on the CPU use fp32 or bf16"
    nproc = int(str(config.get("nproc", 1)))
    if nproc > 1 and on_cuda and gpus is not None and nproc > gpus:
        return f"--nproc {nproc}: one GPU a process, and there {'is' if gpus == 1 else 'are'} {gpus}"
    if config["optimizer"] == "batch-gd" and config["accumulate"] != 1:
        return "--accumulate: batch-gd takes the whole set in one step anyway"
    if config["optimizer"] == "batch-gd" and nproc > 1:
        return "--nproc: batch-gd on several processes is not offered; use sgd"
    if config.get("synthetic") and config.get("data"):
        return "--synthetic and --data exclude each other"
    if config.get("compile") and not on_cuda and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        return "--compile on the CPU needs a C++ compiler (c++, g++ or clang++), and none is in PATH"
    return _impossible_fault(workload, config)


def _impossible_fault(workload: str, config: Mapping[str, Value]) -> str | None:
    specs = config["fault"]
    for spec in specs if isinstance(specs, list) else []:
        fault = wfaults.parse(spec)
        kind = wfaults.KINDS[fault.name]
        if not wfaults.fits(kind, workload):
            return f"--fault {spec}: it is for {' and '.join(kind.workloads)}, not for {workload}"
        for name, least in kind.needs.items():
            if float(str(config.get(name, 0))) < least:
                return f"--fault {spec}: needs --{name} {least:g} or more"
    return None


def _value(option: LaunchOption, given: object) -> Value:
    if given is None or given == "":
        return list(option.default) if isinstance(option.default, list) else option.default
    if option.repeat:
        return _faults(given)
    if option.kind == "bool":
        return _truth(option, given)
    if option.kind == "choice":
        if given not in option.choices:
            raise BadOption(f"{option.flag} {given}: choose one of {', '.join(option.choices)}")
        return str(given)
    if option.kind in ("int", "float"):
        number = _checked_number(option, given)
        if option.name == "dropout" and number >= 1:
            raise BadOption(f"{option.flag} {given}: must be below 1")
        return number
    return str(given)


def _truth(option: LaunchOption, given: object) -> bool:
    if isinstance(given, bool):
        return given
    words = {
        "yes": True,
        "true": True,
        "on": True,
        "1": True,
        "no": False,
        "false": False,
        "off": False,
        "0": False,
    }
    if str(given).lower() not in words:
        raise BadOption(f"{option.flag} {given}: yes or no is needed")
    return words[str(given).lower()]


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
    parts = [given] if isinstance(given, str) else given
    specs = (
        [word for p in parts for word in str(p).replace(",", " ").split()]
        if isinstance(parts, list)
        else None
    )
    if specs is None:
        raise BadOption(f"--fault {given}: NAME[:SIZE][@STEP[-STEP]] is needed")
    for spec in specs:
        try:
            wfaults.parse(spec)
        except ValueError as error:
            raise BadOption(str(error)) from None
    return specs


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


def number(
    name: str, default: float, text: str, minimum: float | None = 0, above: float | None = None
) -> LaunchOption:
    """A numeric option of another table than this file's: whole if its default is."""
    return _number(name, default, text, minimum, above)


def resolve_table(
    options: tuple[LaunchOption, ...], given: Mapping[str, object], paths: tuple[str, ...] = ()
) -> dict[str, Value]:
    """`resolve` for another table of options; `paths` are made absolute. A repeated option is a list of
    texts that nobody has checked. Raises BadOption."""
    names = [option.name for option in options]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise BadOption(f"no option '{unknown[0]}'; there are {', '.join(names)}")
    config: dict[str, Value] = {}
    for option in options:
        value = given.get(option.name)
        if option.repeat:
            words = value.replace(",", " ").split() if isinstance(value, str) else value
            config[option.name] = [str(word) for word in words] if isinstance(words, list) else []
        else:
            config[option.name] = _value(option, value)
    for name in paths:
        path = config[name]
        if isinstance(path, str):
            config[name] = str(Path(path).expanduser().absolute())
    return config
