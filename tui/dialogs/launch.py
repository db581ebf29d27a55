"""Start a training run: the launcher's options as a form, drills among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from dctop.engine.training import options as table
from dctop.engine.training.options import LaunchOption
from dctop.tui.dialogs.forms import Field, Value
from dctop.tui.dialogs.options import OptionsDialog

if TYPE_CHECKING:
    from dctop.engine.training.launcher import LaunchCheck

NO_DRILL = "none"
DRILL = ("drill", "drill_size", "drill_steps", "drill_more")


def field_of(option: LaunchOption) -> Field:
    """A form line for an option; a repeatable one is a text with commas."""
    value = ", ".join(option.default) if isinstance(option.default, list) else option.default
    return Field(
        name=option.name,
        label=option.name.replace("_", " "),
        kind=option.kind,
        value=value,
        choices=option.choices,
        help=option.help,
        enabled=option.enabled,
        why_disabled=option.why_disabled or "",
        check=lambda v: _in_range(option, v),
        group=option.group,
    )


def _in_range(option: LaunchOption, value: Value) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if option.minimum is not None and value < option.minimum:
        return f"at least {option.minimum:g}"
    if option.above is not None and value <= option.above:
        return f"greater than {option.above:g}"
    return None


def drill_fields(workload: str) -> list[Field]:
    """Which fault to plant, how large, at which steps; instead of the command line's one text. Further
    ones as the command line writes them."""
    kinds = table.drills(workload)
    return [
        Field("drill", "drill", "choice", NO_DRILL, (NO_DRILL, *kinds), group="drill",
              help="plant a real fault, to see how it looks and whether it is found"),
        Field("drill_size", "size", "float", None, help="its magnitude (empty: its default)", group="drill"),
        Field("drill_steps", "steps", "text", None, help="from step, or from-to (empty: from 100 on)",
              group="drill"),
        Field("drill_more", "more drills", "text", None, group="drill",
              help="planted as well: NAME[:SIZE][@STEP[-STEP]], with commas between them"),
    ]  # fmt: skip


def drill_help(workload: str, name: str) -> str:
    kind = table.drills(workload).get(name)
    if kind is None:
        return "plant a real fault, to see how it looks and whether it is found"
    size = f"; size in {kind.unit}, {kind.magnitude:g} if empty" if kind.magnitude is not None else ""
    needs = "".join(
        f"; needs {option.replace('_', ' ')} {least:g} or more" for option, least in kind.needs.items()
    )
    expects = f"; should raise {', '.join(kind.expects)}" if kind.expects else ""
    return f"{kind.help}{size}{needs}{expects}"


def faults_of(values: Mapping[str, Value]) -> str | None:
    """`NAME[:SIZE][@STEPS]` of the first three fields, then the fourth, with commas; None: no drill."""
    more = str(values.get("drill_more") or "").replace(" ", "")
    specs = [spec for spec in more.split(",") if spec]
    name = values.get("drill")
    if name not in (None, NO_DRILL):
        size, steps = values.get("drill_size"), values.get("drill_steps")
        spec = str(name)
        if isinstance(size, (int, float)):
            spec += f":{size:g}"
        specs.insert(0, f"{spec}@{str(steps).replace(' ', '')}" if steps else spec)
    return ",".join(specs) or None


class LaunchDialog(OptionsDialog):
    """The form at once; what the (slow) check finds is added when it comes. Another workload brings its
    own options with the values they had last."""

    def __init__(
        self,
        options_of: Callable[[str, LaunchCheck | None], Sequence[LaunchOption]],
        workload: str,
        start: Callable[[dict[str, Value]], str | None],
    ) -> None:
        self._options_of = options_of
        self._known: LaunchCheck | None = None
        self.workload = workload
        self._start = start
        super().__init__(
            "start training", [], self._submit, "", note="checking Python, torch and the data ...",
            problem=self._stands_against,
        )  # fmt: skip
        self._fill({})

    def _fill(self, typed: Mapping[str, Value]) -> None:
        """The fields of the present workload; what the user typed stays."""
        options = self._options_of(self.workload, self._known)
        fields = [field_of(o) for o in options if o.name != "fault"]
        fields += drill_fields(self.workload)
        for f in fields:
            if f.name == "workload":
                f.value = self.workload
                f.label = "workload"
            elif f.name in typed and (f.kind != "choice" or typed[f.name] in f.choices):
                f.value = typed[f.name]
        at = self.fields[self.at].name if self.fields else "workload"
        order = {name: i for i, name in enumerate(table.GROUPS)}
        fields.sort(key=lambda f: -1 if f.name == "workload" else order.get(f.group, 0))
        self.fields = fields
        self._make_edits()
        self.at = next((i for i, f in enumerate(fields) if f.name == at and f.enabled), 0)
        own = {o.name: o.default for o in table.for_workload(self.workload)}
        defaults = {f.name: own.get(f.name, f.value) for f in fields if f.name != "python"}
        self.defaults = {k: v for k, v in defaults.items() if not isinstance(v, list)}
        self.command = f"dctop train {self.workload}"
        self._explain()

    def _explain(self) -> None:
        for f in self.fields:
            if f.name == "drill":
                f.help = drill_help(self.workload, str(f.value))
            elif f.name == "workload":
                f.help = table.WORKLOADS[self.workload]

    def _tell(self, f: Field) -> None:
        super()._tell(f)
        if f.name == "workload" and f.value != self.workload:
            self.workload = str(f.value)
            self._fill({})
        elif f.name == "drill":
            self._explain()

    def arguments(self) -> dict[str, Value]:
        values = {k: v for k, v in self.values().items() if k not in (*DRILL, "workload")}
        fault = faults_of(self.values())
        return {**values, "fault": fault} if fault else values

    def _resolved(self, values: Mapping[str, Value]) -> dict[str, table.Value]:
        """Raises BadOption."""
        asked = {k: v for k, v in values.items() if k not in (*DRILL, "workload", "python")}
        fault = faults_of(values)
        return table.resolve({**asked, "fault": fault} if fault else asked, self.workload)

    def _stands_against(self, values: dict[str, Value]) -> str | None:
        """What makes these values impossible, as far as it is known."""
        try:
            config = self._resolved(values)
        except table.BadOption as error:
            return str(error)
        known = self._known
        if known is None or known.reason is not None:
            return None
        return table.impossible(self.workload, config, known.cuda, known.why_no_cuda, len(known.gpus))

    def _problem(self) -> str | None:
        # What the interpreter found on this node said is shown, but does not stop: another Python or data
        # folder may have been typed since, and the launcher asks anew.
        return super()._problem() or (self._known.reason if self._known is not None else None)

    def _submit(self, values: dict[str, Value]) -> str | None:
        wrong = self._stands_against(values)
        if wrong:
            return wrong
        asked = {k: v for k, v in values.items() if k not in DRILL}
        fault = faults_of(values)
        return self._start({**asked, "workload": self.workload, **({"fault": fault} if fault else {})})

    def checked(self, known: LaunchCheck) -> None:
        """The check is done: what is possible now, and what stands in the way. What the user typed stays."""
        self._known = known
        self._fill(self.values())
        where = "" if known.reason else f"torch {known.torch_version} in {known.python}"
        gpus = ", ".join(known.gpus) or known.why_no_cuda
        data = "" if self.workload != "mnist-cnn" else f"; data: {known.data_source}"
        self.note = f"{where}{data}; {gpus}" if where else ""
