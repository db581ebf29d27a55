"""The configuration file: what can be set, how it is read, checked and written back.

`$XDG_CONFIG_HOME/dctop/dctop.toml`. One table of settings (`SETTINGS`) drives reading, checking, the
template of `dctop doctor --config-template` and the documentation. A file with mistakes never stops the
dashboard: each mistake is one line with its line number, and the default holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from dctop.engine import paths

Setting = str | bool | int | float | tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Recording:
    dir: str | None = None
    max_size_mb: float = 2048.0
    max_age_days: float = 7.0
    durability: str = "full"


@dataclass(frozen=True, slots=True)
class Training:
    python: str | None = None
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Energy:
    price_per_kwh: float | None = None
    co2_g_per_kwh: float | None = None
    pue: float = 1.0
    currency: str = "EUR"
    run_budget_kwh: float | None = None
    run_budget_co2_kg: float | None = None


@dataclass(frozen=True, slots=True)
class Outside:
    """Where alerts are told (outside.py); neither: nowhere."""

    command: tuple[str, ...] | None = None
    webhook: str | None = None
    min_severity: str = "warning"
    per_minute: float = 6.0
    timeout_s: float = 10.0


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """One mistake in the file. `str()` is the line to show: what and what to do."""

    path: Path
    line: int | None
    message: str

    def __str__(self) -> str:
        where = str(self.path) if self.line is None else f"{self.path}:{self.line}"
        return f"{where}: {self.message}"


@dataclass(frozen=True, slots=True)
class Config:
    """What the user set, defaults filled in. None: not set, the program chooses."""

    interval: float = 1.0
    theme: str | None = None
    graph: str | None = None
    paint: str = "auto"
    panes: tuple[str, ...] | None = None
    readonly: bool = False
    lang: str | None = None
    mouse: bool = True
    recording: Recording = Recording()
    training: Training = Training()
    energy: Energy = Energy()
    alerts: Outside = Outside()
    rules: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Rule id -> threshold name -> value: the file's `[rules.ID]` tables."""
    own_rules: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    """Name -> table of each rule of the user's: the `[rules.NAME]` tables with `when`. All can be built."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Action id -> Textual key name."""
    path: Path | None = None
    """The file this was read from; None where there is none."""
    problems: tuple[ConfigProblem, ...] = ()
    """What was wrong in it; the screen shows it as a notice."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A declared setting. `wanted` says in words what is allowed; `accept` tells whether a value is."""

    key: str
    kind: str
    """number | word | flag | words | path"""
    wanted: str
    help: str
    example: str
    """A TOML value, for the template."""
    accept: Callable[[Setting], bool] = lambda value: True


def _between(low: float, high: float) -> Callable[[Setting], bool]:
    return lambda v: isinstance(v, (int, float)) and low <= v <= high


def _one_of(*words: str) -> Callable[[Setting], bool]:
    return lambda v: v in words


def _some_of(*words: str) -> Callable[[Setting], bool]:
    return lambda v: isinstance(v, tuple) and set(v) <= set(words)


def _url(value: Setting) -> bool:
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(value) if isinstance(value, str) else None
        return parts is not None and parts.scheme in ("http", "https") and bool(parts.hostname) and (
            parts.port is None or parts.port > 0
        )  # fmt: skip
    except ValueError:
        return False


def _command(value: Setting) -> bool:
    return isinstance(value, tuple) and bool(value) and bool(value[0].strip())


def _filled(value: Setting) -> bool:
    return isinstance(value, str) and bool(value.strip())


PANES = ("cpu", "gpu", "memory", "disk", "network", "processes", "training", "alerts")

SETTINGS: tuple[Spec, ...] = (
    Spec("interval", "number", "seconds from 0.1 to 60", "Seconds between two readings", "1.0",
         _between(0.1, 60)),
    Spec("theme", "word", "the name of a theme", "Colour theme (F2 lists them)", '"dctop-dark"', _filled),
    Spec("graph", "word", '"braille", "block" or "ascii"', "How graphs are drawn; unset: by terminal",
         '"braille"', _one_of("braille", "block", "ascii")),
    Spec("paint", "word", '"auto" or "safe"', "safe: draw only through Textual's public interface", '"auto"',
         _one_of("auto", "safe")),
    Spec("panes", "words", f"a list of {', '.join(PANES)}", "Panes shown at the start; unset: all",
         '["cpu", "memory", "processes", "training", "alerts"]', _some_of(*PANES)),
    Spec("readonly", "flag", "true or false", "Refuse every action on other processes", "false"),
    Spec("lang", "word", '"en" or "zh"', "Language of alert texts; unset: from the locale", '"en"',
         _one_of("en", "zh")),
    Spec("mouse", "flag", "true or false", "Use the mouse", "true"),
    Spec("recording.dir", "path", "a directory", "Where recordings go", '"/var/tmp/dctop"', _filled),
    Spec("recording.max_size_mb", "number", "megabytes, at least 1",
         "Size of one recording; at the cap its oldest part goes", "2048", _between(1, 1e9)),
    Spec("recording.max_age_days", "number", "days, more than 0",
         "Age a recording keeps; its older part goes", "7", _between(0.01, 36500)),
    Spec("recording.durability", "word", '"full" or "relaxed"',
         "full survives a power cut; relaxed may lose the last half minute then", '"full"',
         _one_of("full", "relaxed")),
    Spec("training.python", "path", "a Python interpreter with torch", "Interpreter training runs in",
         '"/opt/venv/bin/python"', _filled),
    Spec("training.data", "path", "a directory", "Where data sets are looked for first", '"/data"', _filled),
    Spec("energy.price_per_kwh", "number", "a price, at least 0", "Price of a kWh", "0.30", _between(0, 1e6)),
    Spec("energy.co2_g_per_kwh", "number", "grams, at least 0", "Carbon intensity of a kWh", "380",
         _between(0, 1e6)),
    Spec("energy.pue", "number", "from 1 to 10", "Power usage effectiveness of the site", "1.2",
         _between(1, 10)),
    Spec("energy.currency", "word", "a short text", "Currency of the price", '"EUR"', _filled),
    Spec("energy.run_budget_kwh", "number", "kilowatt hours, more than 0",
         "Energy one training run may use, PUE included", "5", _between(1e-6, 1e9)),
    Spec("energy.run_budget_co2_kg", "number", "kilograms, more than 0",
         "CO2 one training run may cause; needs energy.co2_g_per_kwh", "2", _between(1e-6, 1e9)),
    Spec("alerts.command", "words", "a program and its arguments as a list",
         "Program that gets each alert as JSON on standard input", '["/usr/local/bin/page", "--node"]',
         _command),
    Spec("alerts.webhook", "word", "an http:// or https:// address",
         "Address each alert is sent to (JSON by POST)", '"https://hooks.example.org/dctop"', _url),
    Spec("alerts.min_severity", "word", '"info", "warning" or "critical"', "Told from this severity on",
         '"warning"', _one_of("info", "warning", "critical")),
    Spec("alerts.per_minute", "number", "messages, from 0.1 to 60", "At most so many messages a minute each",
         "6", _between(0.1, 60)),
    Spec("alerts.timeout_s", "number", "seconds from 1 to 120", "How long a receiver may take", "10",
         _between(1, 120)),
)  # fmt: skip
BY_KEY: Mapping[str, Spec] = {s.key: s for s in SETTINGS}
FREE_TABLES = ("rules", "keys")
"""Tables whose keys the rules and the actions define."""
TABLES = ("recording", "training", "energy", "alerts", *FREE_TABLES)


def load(path: Path | None = None) -> tuple[Config, list[ConfigProblem]]:
    """Read the configuration. A missing default file is no problem, a missing named one is.

    Never raises: what cannot be used is reported and left at its default.
    """
    named = path is not None
    path = paths.config_file() if path is None else path
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return _defaults(path, None, "no such file: name an existing one") if named else (Config(), [])
    except OSError as e:
        return _defaults(path, None, f"cannot be read ({e.strerror}): the defaults are used")
    try:
        text = data.decode()
    except UnicodeDecodeError as e:
        line = data.count(b"\n", 0, e.start) + 1
        return _defaults(path, line, "not UTF-8: the defaults are used, save the file as UTF-8")
    return parse(text, path)


def _defaults(path: Path, line: int | None, message: str) -> tuple[Config, list[ConfigProblem]]:
    problem = ConfigProblem(path, line, message)
    return Config(path=path, problems=(problem,)), [problem]


def parse(text: str, path: Path) -> tuple[Config, list[ConfigProblem]]:
    """The configuration in `text`; `path` is for messages only."""
    import tomllib  # only where there is a file to read: start-up time
    from re import search

    from dctop.engine.configedit import key_lines

    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        # The wording of the position is all that Python before 3.14 offers.
        at = search(r"\(at line (\d+), column \d+\)|\(at end of document\)", str(e))
        line = text.count("\n") + 1 if at is None or at[1] is None else int(at[1])
        what = str(e)[: at.start()].strip() if at else str(e)
        what = what[:1].lower() + what[1:]
        return _defaults(path, line, f"not valid TOML ({what}): the defaults are used")
    return _Reader(path, key_lines(text)).read(tree)


class _Reader:
    """Sorts a parsed file into a Config and problems."""

    def __init__(self, path: Path, lines: Mapping[str, int]) -> None:
        self.path = path
        self.lines = lines
        self.problems: list[ConfigProblem] = []
        self.values: dict[str, Setting] = {}
        self.rules: dict[str, dict[str, float]] = {}
        self.own: dict[str, Mapping[str, object]] = {}
        self.keys: dict[str, str] = {}

    def read(self, tree: Mapping[str, object]) -> tuple[Config, list[ConfigProblem]]:
        for key, value in tree.items():
            if key == "rules" and isinstance(value, dict):
                self._rules(value)
            elif key == "keys" and isinstance(value, dict):
                self._keys(value)
            elif key in TABLES:
                if isinstance(value, dict):
                    for inner, v in value.items():
                        self._setting(f"{key}.{inner}", v)
                else:
                    self._bad(key, f"{key} is a table: write [{key}] and its settings below")
            else:
                self._setting(key, value)
        self.problems.sort(key=lambda p: p.line or 0)
        return self._config(), self.problems

    def _bad(self, key: str, message: str) -> None:
        self.problems.append(ConfigProblem(self.path, line_of(self.lines, key), message))

    def _setting(self, key: str, value: object) -> None:
        spec = BY_KEY.get(key)
        if spec is None:
            self._bad(key, f'unknown key "{key}"{suggest(key, (*BY_KEY, *TABLES))}')
            return
        clean = _of_kind(spec.kind, value)
        if clean is None or not spec.accept(clean):
            self._bad(key, f"{key} = {_shown(value)} is not {spec.wanted}: the default is used")
            return
        self.values[key] = clean

    def _rules(self, tree: Mapping[str, object]) -> None:
        """Thresholds of shipped rules, and rules of the user's."""
        from dctop.engine.rules.own import is_own
        from dctop.engine.rules.registry import rule_classes

        known = {rule.id: rule.thresholds for rule in rule_classes()}
        for name, table in tree.items():
            if is_own(table) and isinstance(table, dict):
                self._own(name, table, known)
        for key, value in _leaves({k: v for k, v in tree.items() if not is_own(v)}):
            rule, _, threshold = key.rpartition(".")
            if not rule:
                self._bad(f"rules.{key}", f'rules.{key} names no threshold: write [rules."{key}"]')
            elif rule not in known:
                near = _near(rule, known) or ": `dctop rules` lists them; a rule of your own needs when = ..."
                self._bad(f"rules.{key}", f"no rule {rule}{near}")
            elif threshold not in known[rule]:
                have = ", ".join(known[rule]) or "none"
                near = _near(threshold, known[rule]) or f": it has {have}"
                self._bad(f"rules.{key}", f"{rule} has no threshold {threshold}{near}")
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or value - value != 0:
                self._bad(f"rules.{key}", f"rules.{key} = {_shown(value)} is not a number")
            else:
                self.rules.setdefault(rule, {})[threshold] = float(value)

    def _own(self, name: str, table: Mapping[str, object], known: Mapping[str, object]) -> None:
        from dctop.engine.rules.own import OwnError, build

        at = f"rules.{name}"
        if name in known:
            self._bad(f"{at}.when", f"{name} is a rule of dctop's: give yours another name")
            return
        try:
            build(name, table)
        except OwnError as e:
            self._bad(f"{at}.{e.key}" if e.key else at, f"rule {name}: {e}: the rule is left out")
        else:
            self.own[name] = dict(table)

    def _keys(self, tree: Mapping[str, object]) -> None:
        for action, value in _leaves(tree):
            if isinstance(value, str) and value.strip():
                self.keys[action] = value.strip()
            else:
                self._bad(
                    f"keys.{action}", f'keys.{action} = {_shown(value)} is not the name of a key ("f9")'
                )

    def _config(self) -> Config:
        def table(name: str) -> dict[str, Setting]:
            prefix = name + "." if name else ""
            return {
                k.removeprefix(prefix): v
                for k, v in self.values.items()
                if (k.startswith(prefix) if prefix else "." not in k)
            }

        return Config(
            recording=Recording(**table("recording")),  # type: ignore[arg-type]  # _of_kind checked them
            training=Training(**table("training")),  # type: ignore[arg-type]
            energy=Energy(**table("energy")),  # type: ignore[arg-type]
            alerts=Outside(**table("alerts")),  # type: ignore[arg-type]
            rules=self.rules,
            own_rules=self.own,
            keys=self.keys,
            path=self.path,
            problems=tuple(self.problems),
            **table(""),  # type: ignore[arg-type]
        )


def _leaves(tree: Mapping[str, object], prefix: str = "") -> list[tuple[str, object]]:
    """`{"a": {"b": 1}}` -> [("a.b", 1)]: rule and action ids have dots, which TOML reads as tables."""
    out: list[tuple[str, object]] = []
    for key, value in tree.items():
        if isinstance(value, dict):
            out += _leaves(value, f"{prefix}{key}.")
        else:
            out.append((prefix + key, value))
    return out


def _of_kind(kind: str, value: object) -> Setting:
    """`value` as `kind` stores it; None where it is of another type."""
    if kind == "number":
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if kind == "flag":
        return value if isinstance(value, bool) else None
    if kind == "words":
        ok = isinstance(value, list) and all(isinstance(v, str) for v in value)
        return tuple(value) if ok and isinstance(value, list) else None
    return value if isinstance(value, str) else None


def _shown(value: object) -> str:
    text = (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else repr(value)
    )
    text = " ".join(text.split())
    return text if len(text) <= 40 else text[:37] + "..."


def _near(word: str, known: Mapping[str, object]) -> str:
    import difflib

    found = difflib.get_close_matches(word, list(known), 1, 0.6)
    return f': did you mean "{found[0]}"?' if found else ""


def suggest(word: str, known: tuple[str, ...] | list[str]) -> str:
    """`: did you mean "theme"?`, or what to do where nothing is near."""
    import difflib

    # Without their table too: `price_per_kwh` at the top is energy.price_per_kwh.
    by_tail = {k.rpartition(".")[2]: k for k in known} | {k: k for k in known}
    near = difflib.get_close_matches(word, list(by_tail), 1, 0.6)
    return (
        f': did you mean "{by_tail[near[0]]}"?'
        if near
        else ": remove it or see `dctop doctor --config-template`"
    )


def line_of(lines: Mapping[str, int], key: str) -> int | None:
    """The line of `key`, or of the nearest table or inline table it stands in."""
    while key:
        if key in lines:
            return lines[key]
        key = key.rpartition(".")[0]
    return None


def template() -> str:
    """A commented file with every setting, for `dctop doctor --config-template`."""
    out = ["# dctop.toml: every setting, commented out, with an example value.", ""]
    table = ""
    for spec in SETTINGS:
        name, _, key = spec.key.rpartition(".")
        if name != table:
            table = name
            out += ["", f"[{table}]"]
        out += [f"# {spec.help} ({spec.wanted}).", f"# {key} = {spec.example}"]
    out += [
        "", "# Thresholds of rules: a table a rule, `dctop rules` lists them.", "# [rules.disk-fill]",
        "# warn_pct = 15", "",
        "# Rules of your own over the metrics of docs/METRICS.md: docs/OWN_RULES.md.",
        "# [rules.gpu-idle-in-training]",
        "# when = 'gpu.util_pct < 30 for 60s while train.mode == \"train\"'",
        '# severity = "warning"', '# message = "GPU {gpu} does only {value} while training"', "",
        "# Keys: an action's id (help shows it), a key's name.", "[keys]", '# "process.kill" = "f9"', "",
    ]  # fmt: skip
    return "\n".join(out)


def save_user(changes: Mapping[str, object], path: Path | None = None) -> str | None:
    """Write settings into the user's file, keeping its comments and everything else.

    `changes`: full key (`theme`, `recording.dir`) -> value, None removes it. Returns None, or one line
    that says why nothing was written.
    """
    from dctop.engine.configedit import save

    for key in changes:
        if key not in BY_KEY and key.partition(".")[0] not in FREE_TABLES:
            return f'not saved: "{key}" is no setting{suggest(key, list(BY_KEY)).partition(": remove")[0]}'
    return save(changes, paths.config_file() if path is None else path)
