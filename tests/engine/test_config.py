"""The configuration file: what is read, what is refused and how it is written back."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.config import SETTINGS, Config, load, parse, save_user, template
from dctop.engine.configedit import edit, key_lines, toml_value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "dctop.toml"


def messages(text: str) -> list[str]:
    return [str(p).partition(":")[2] for p in parse(text, Path("f"))[1]]


def test_no_file_is_all_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert load() == (Config(), [])


def test_a_named_file_that_is_missing_is_a_problem(file: Path) -> None:
    config, problems = load(file)
    assert config.theme is None
    assert str(problems[0]) == f"{file}: no such file: name an existing one"


def test_every_setting_is_read(file: Path) -> None:
    text = "\n".join(f"{s.key} = {s.example}" for s in SETTINGS)
    file.write_text(
        text + '\n[rules.disk-fill]\nwarn_pct = 30\n[keys]\n"process.kill" = "k"\napp.pause = "p"\n'
    )
    config, problems = load(file)
    assert problems == []
    assert config.interval == 1.0
    assert config.theme == "dctop-dark"
    assert config.panes == ("cpu", "memory", "processes", "training", "alerts")
    assert config.recording.dir == "/var/tmp/dctop"
    assert config.training.data == "/data"
    assert config.energy.price_per_kwh == 0.30
    assert config.alerts.command == ("/usr/local/bin/page", "--node")
    assert config.rules == {"disk-fill": {"warn_pct": 30.0}}
    assert config.keys == {"process.kill": "k", "app.pause": "p"}
    assert config.path == file


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n\nthme = 'x'", '3: unknown key "thme": did you mean "theme"?'),
        ("[recording]\n\nmax_size = 3",
         '3: unknown key "recording.max_size": did you mean "recording.max_size_mb"?'),
        ("price_per_kwh = 1", '1: unknown key "price_per_kwh": did you mean "energy.price_per_kwh"?'),
        ("interval = 'fast'", '1: interval = "fast" is not seconds from 0.1 to 60: the default is used'),
        ("interval = 0", "1: interval = 0 is not seconds from 0.1 to 60: the default is used"),
        ("interval = true", "1: interval = true is not seconds from 0.1 to 60: the default is used"),
        ("readonly = 1", "1: readonly = 1 is not true or false: the default is used"),
        ("recording = 3", "1: recording is a table: write [recording] and its settings below"),
        ("[rules]\nx = 3", '2: rules.x names no threshold: write [rules."x"]'),
        ("[rules.disk-fill]\nwarn_pct = '3'", '2: rules.disk-fill.warn_pct = "3" is not a number'),
        ("[rules.disk-fill]\n\nwarn_pc = 3",
         '3: disk-fill has no threshold warn_pc: did you mean "warn_pct"?'),
        ("[rules.disk-fil]\nwarn_pct = 3", '2: no rule disk-fil: did you mean "disk-fill"?'),
        ("[rules.mine]\nseverity = 'info'",
         "2: no rule mine: `dctop rules` lists them; a rule of your own needs when = ..."),
        ("[rules.mine]\nseverity = 'info'\nwhen = 'gpu.utl_pct < 3'",
         "3: rule mine: column 1: no metric gpu.utl_pct: did you mean gpu.util_pct?: the rule is left out"),
        ("[rules.mine]\nwhen = 'cpu.util_pct > 3'\nseverty = 'info'",
         '3: rule mine: unknown key "severty" of a rule: did you mean severity?: the rule is left out'),
        ("[rules.disk-fill]\nwhen = 'cpu.util_pct > 3'",
         "2: disk-fill is a rule of dctop's: give yours another name"),
        ("[alerts]\nwebhook = 'hooks.example.org'",
         '2: alerts.webhook = "hooks.example.org" is not an http:// or https:// address: '
         "the default is used"),
        ("[alerts]\ncommand = 'page'",
         '2: alerts.command = "page" is not a program and its arguments as a list: the default is used'),
        ("[alerts]\nweb_hook = 'x'", '2: unknown key "alerts.web_hook": did you mean "alerts.webhook"?'),
        ("[keys]\nquit = 3", '2: keys.quit = 3 is not the name of a key ("f9")'),
        ("rules = { iowait = { warn_pct = 'c' } }", '1: rules.iowait.warn_pct = "c" is not a number'),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(text: str, message: str) -> None:
    assert messages(text) == [message]


def test_one_mistake_spoils_nothing_else() -> None:
    config, problems = parse(
        "thme = 1\ninterval = 2\n[recording]\ndurability = 'never'\nmax_size_mb = 5\n", Path("f")
    )
    assert config.interval == 2.0
    assert config.recording.max_size_mb == 5.0
    assert config.recording.durability == "full"
    assert [p.line for p in problems] == [1, 4]
    assert config.problems == tuple(problems)


@pytest.mark.parametrize("text", ["a = \n", "[x\n", "a = 1\na = 2\n", 'theme = "'])
def test_broken_toml_is_one_line_with_its_number(text: str) -> None:
    (only,) = messages(text)
    assert only.split(":")[0].isdigit()
    assert "not valid TOML" in only
    assert "\n" not in only


def test_unreadable_and_undecodable_files_are_told(file: Path) -> None:
    file.mkdir()
    assert "cannot be read" in str(load(file)[1][0])
    file.rmdir()
    file.write_bytes(b"theme = 'a'\n# \xff\n")
    assert str(load(file)[1][0]).startswith(f"{file}:2: not UTF-8")


def test_lines_of_keys_are_found_past_long_values() -> None:
    text = 'a = """\nb = 1\n"""\nc = [\n  1,\n  2,\n]\n[t.u]\nd.e = 1\n"f g" = 2 # h = 3\n'
    assert key_lines(text) == {"a": 1, "c": 4, "t.u": 8, "t.u.d.e": 9, "t.u.f g": 10}


def test_saving_keeps_comments_and_everything_else(file: Path) -> None:
    file.write_text('# mine\ntheme = "a" # the best\n\n[recording]\n# why\ndir = "/x"\n\n[keys]\n')
    changes = {
        "theme": 'b#"c',
        "interval": 2.0,
        "recording.max_size_mb": 9,
        "keys.app.pause": "p",
        "energy.pue": 1.5,
    }
    assert save_user(changes, file) is None
    assert file.read_text() == (
        '# mine\ntheme = "b#\\"c" # the best\ninterval = 2.0\n\n[recording]\n'
        '# why\ndir = "/x"\nmax_size_mb = 9\n\n[keys]\n"app.pause" = "p"\n\n[energy]\npue = 1.5\n'
    )
    config, problems = load(file)
    assert problems == []
    assert (config.theme, config.interval, config.keys) == ('b#"c', 2.0, {"app.pause": "p"})


def test_saving_replaces_values_of_many_lines_and_removes(file: Path) -> None:
    file.write_text('panes = [ # these\n  "cpu",\n]\ntheme = "a"\n')
    assert save_user({"panes": ("gpu", "cpu"), "theme": None, "lang": None}, file) is None
    assert file.read_text() == 'panes = ["gpu", "cpu"]\n'


def test_saving_makes_the_file_and_its_folder(tmp_path: Path) -> None:
    file = tmp_path / "a/b/dctop.toml"
    assert save_user({"theme": "x"}, file) is None
    assert load(file)[0].theme == "x"
    assert file.stat().st_mode & 0o077 == 0


def test_saving_follows_a_link_and_keeps_the_mode(tmp_path: Path) -> None:
    real, link = tmp_path / "dotfiles", tmp_path / "dctop.toml"
    real.write_text("interval = 1\n")
    real.chmod(0o644)
    link.symlink_to(real)
    assert save_user({"interval": 3}, link) is None
    assert link.is_symlink()
    assert real.read_text() == "interval = 3\n"
    assert real.stat().st_mode & 0o777 == 0o644


def test_only_settings_are_saved(file: Path) -> None:
    assert (
        save_user({"interval_s": 2.0}, file)
        == 'not saved: "interval_s" is no setting: did you mean "interval"?'
    )
    assert not file.exists()


def test_a_broken_file_is_never_overwritten(file: Path) -> None:
    file.write_text("theme = \n")
    assert "mend it first" in (save_user({"theme": "x"}, file) or "")
    assert file.read_text() == "theme = \n"


def test_saving_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    error = save_user({"theme": "x"}, tmp_path / "file" / "dctop.toml")
    assert error is not None and "not saved" in error
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_the_template_is_valid_as_it_is_and_with_everything_turned_on() -> None:
    text = template()
    assert parse(text, Path("f"))[1] == []
    on = "\n".join(
        line.removeprefix("# ") if " = " in line and not line.endswith(").") else line
        for line in text.splitlines()
    ).replace("# [rules.", "[rules.")
    config, problems = parse(on, Path("f"))
    assert problems == []
    assert config.rules == {"disk-fill": {"warn_pct": 15.0}}
    assert list(config.own_rules) == ["gpu-idle-in-training"]


plain = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
values = st.one_of(
    st.booleans(), st.integers(-(2**60), 2**60), st.floats(allow_nan=False), plain, st.lists(plain)
)
keys = st.from_regex(r"\A[a-z_]{1,6}(\.[a-z_]{1,6})?\Z")


@given(values)
def test_written_values_read_back(value: object) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}")["x"] == value


@given(st.text(max_size=60), st.text(max_size=20))
def test_strange_files_never_raise(text: str, more: str) -> None:
    parse(text, Path("f"))
    parse(f"theme = {more}\n[recording]\n{text}", Path("f"))
    key_lines(text)


@given(
    st.dictionaries(st.from_regex(r"\A[a-z]{1,4}\Z"), values, max_size=4),
    st.from_regex(r"\A[a-z]{1,4}\Z"),
    values,
)
def test_an_edit_changes_its_key_only(tree: dict[str, object], key: str, value: object) -> None:
    text = "".join(f"{k} = {toml_value(v)}\n" for k, v in tree.items())
    assert tomllib.loads(edit(text, key, value)) == {**tree, key: value}
