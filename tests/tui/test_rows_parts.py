"""The pure parts of the screen: boxes, bars, themes, terminals, times, dialogs."""

from __future__ import annotations

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color

from dctop.tui import bars
from dctop.tui.dialogs.base import LineEdit, TextDialog, wrap
from dctop.tui.dialogs.forms import Field, FormDialog, InputDialog
from dctop.tui.dialogs.lists import Item, ListDialog, matches
from dctop.tui.dialogs.times import moment_ns, span_s
from dctop.tui.draw.look import Look
from dctop.tui.draw.rows import S, row_width
from dctop.tui.fast import encode
from dctop.tui.frame import framed, safe_row
from dctop.tui.skeleton import picture
from dctop.tui.terminal import is_utf8, look_of
from dctop.tui.theme import THEMES, colors_of, find, paint
from dctop.tui.views import replaybar
from tests.fakes.ui_source import START_NS, alert

LOOKS = [Look(), Look("block"), Look("ascii", False)]
TEXT = st.text(max_size=60)
S10 = 10**9


# -- boxes ------------------------------------------------------------------------------------------


@given(TEXT, TEXT, st.integers(0, 90), st.integers(0, 12), st.booleans(), st.sampled_from(LOOKS))
def test_a_box_is_exactly_as_large_as_asked(
    left: str, right: str, w: int, h: int, focused: bool, look: Look
) -> None:
    from dctop.tui.drawing import safe_spans

    rows = framed(safe_spans([(left, S.TITLE)]), safe_spans([(right, S.VALUE)]), (), w, h, look, focused)
    assert len(rows) == (h if w else 0)
    assert all(row_width(row) == w for row in rows)


@given(st.lists(st.tuples(st.text(max_size=20), st.sampled_from(S)), max_size=6), st.integers(0, 50))
def test_no_row_can_break_the_screen(spans: list[tuple[str, S]], w: int) -> None:
    row = safe_row(tuple(spans), w)
    assert row_width(row) == w
    assert all(text.isprintable() for text, _ in row)


@given(st.lists(st.sampled_from(["ab", "c d", "⣿⣿", "1.5"]), min_size=1, max_size=6), st.integers(0, 5))
def test_what_is_sent_turns_the_old_row_into_the_new(texts: list[str], change: int) -> None:
    import pyte

    old = tuple((t, S(i)) for i, t in enumerate(texts))
    new = tuple((t[::-1] if i == change else t, s) for i, (t, s) in enumerate(old))
    screen = pyte.Screen(40, 3)
    stream = pyte.Stream(screen)
    p = paint("dctop-dark", "truecolor")
    for row, before in ((old, None), (new, old)):
        out: list[str] = []
        encode(out, row, before, 2, 1, p)
        stream.feed("".join(out))
        assert screen.display[1].rstrip() == ("  " + "".join(t for t, _ in row)).rstrip()


# -- bars -------------------------------------------------------------------------------------------


@given(st.integers(0, 250), st.sampled_from(LOOKS))
def test_header_ribbon_footer_and_replay_bar_fit_any_width(w: int, look: Look) -> None:
    head = bars.Head(
        host="a-long-host-name.example", mode="LIVE", detail="1s", view="ALERTS", clock="12:00:00",
        counts={"critical": 3, "warning": 12}, rec="12.3 MB lost 4", self_pct=0.4, flags="read-only",
    )  # fmt: skip
    assert row_width(bars.header(head, w, look)) == w
    ribbon = bars.ribbon([alert(title="x" * 90), alert(2), alert(3)], w, look, "A")
    assert ribbon is not None
    assert row_width(safe_row(ribbon, w)) == w
    hints = [bars.Hint(k, "label", k) for k in "abcdefgh"]
    row, places = bars.footer(hints, w, ("g", "h"))
    assert row_width(row) == w
    assert all(0 <= a < b <= w for a, b, _ in places)
    rows = replaybar.rows(
        0, 1000 * S10, 500 * S10, [replaybar.Mark(10 * S10, "critical")], [(600 * S10, 700 * S10)], w, look
    )
    assert [row_width(r) for r in rows] == [w, w]
    if not look.unicode:
        drawn = (row, *rows, bars.header(head, w, look), ribbon)
        texts = [t for r in drawn for t, _ in safe_row(r, w, unicode=False)]
        assert all(t.isascii() for t in texts)


def test_a_narrow_header_keeps_mode_alerts_and_clock() -> None:
    head = bars.Head(host="node-07", mode="REPLAY", detail="x8", counts={}, clock="12:00:00", self_pct=1.0)
    text = "".join(t for t, _ in bars.header(head, 40, Look()))
    assert "REPLAY" in text
    assert "■ 0 ▲ 0" in text
    assert "12:00:00" in text
    assert "self" not in text


def test_the_footer_keeps_help_and_quit() -> None:
    hints = [bars.Hint(str(i), f"action{i}", f"a{i}") for i in range(20)] + [bars.Hint("q", "quit", "quit")]
    text = "".join(t for t, _ in bars.footer(hints, 60, ("quit",))[0])
    assert "q quit" in text
    assert "action0" in text


def test_alerts_that_are_muted_suppressed_or_over_do_not_count() -> None:
    listed = [
        alert(1), alert(2, muted_until_ns=START_NS + 9), alert(3, suppressed_by="root"),
        alert(4, state="closed"), alert(5, "critical"),
    ]  # fmt: skip
    assert [a.id for a in bars.open_alerts(listed, START_NS)] == [5, 1]
    assert bars.ribbon([alert(acked=True)], 80, Look(), "A") is None


# -- colours and terminals --------------------------------------------------------------------------


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("colors", ["truecolor", "256", "16", "none"])
def test_every_style_has_a_look_in_every_theme_and_depth(theme: str, colors: str) -> None:
    p = paint(theme, colors)  # type: ignore[arg-type]
    assert len(p.styles) == len(p.full) == len(p.short) == len(S)
    for full in p.full:
        codes = full.removeprefix("\x1b[").removesuffix("m").split(";")
        if colors == "none" or theme == "mono":
            assert not {"38", "48"} & set(codes)
            assert all(not 30 <= int(c) <= 107 for c in codes)
        elif colors == "256":
            assert "2" not in codes[codes.index("38") : codes.index("38") + 2] if "38" in codes else True
    # What must be told apart without colour is.
    assert p.full[S.SELECT] != p.full[S.TEXT]
    assert p.full[S.CRIT] != p.full[S.TEXT]


def luminance(hex_color: str) -> float:
    r, g, b = Color.parse(hex_color).get_truecolor()
    channel = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in (r, g, b)]
    return 0.2126 * channel[0] + 0.7152 * channel[1] + 0.0722 * channel[2]


def contrast(a: str, b: str) -> float:
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", [t for t in THEMES if t != "mono"])
def test_themes_are_readable(name: str) -> None:
    t = THEMES[name]
    least = 7.0 if name == "high-contrast" else 4.5
    for color in (t.fg, t.value, t.title):
        assert contrast(color, t.bg) >= least, color
    for color in (t.good, t.warn, t.crit, t.info, t.accent, t.dim):
        assert contrast(color, t.bg) >= 3.0, color
    assert contrast(t.value, t.select) >= 4.5
    assert (luminance(t.bg) < 0.2) == t.dark


def test_there_are_themes_for_light_terminals_and_colour_blind_readers() -> None:
    assert len(THEMES) >= 5
    assert not THEMES["dctop-light"].dark
    assert find("light") == "dctop-light"
    assert find("colorblind") == "colour-blind"
    assert find("no such") is None


@pytest.mark.parametrize(
    ("env", "colors"),
    [
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-256color"}, "256"), ({"TERM": "screen-256color"}, "256"),
        ({"TERM": "tmux-256color"}, "256"), ({"TERM": "xterm"}, "16"), ({"TERM": "linux"}, "16"), ({}, "16"),
        ({"TERM": "dumb"}, "none"), ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"), ({"TERM": "xterm-kitty"}, "truecolor"),
    ],
)  # fmt: skip
def test_colours_are_told_by_the_environment(env: dict[str, str], colors: str) -> None:
    assert colors_of(env) == colors


@pytest.mark.parametrize(
    ("env", "utf8"),
    [({}, True), ({"LANG": "C"}, False), ({"LANG": "de_DE.ISO-8859-1"}, False), ({"LANG": "C.UTF-8"}, True),
     ({"LC_ALL": "C", "LANG": "en_US.UTF-8"}, False), ({"LC_CTYPE": "C.utf8", "LANG": "C"}, True)],
)  # fmt: skip
def test_the_locale_decides_on_glyphs(env: dict[str, str], utf8: bool) -> None:
    assert is_utf8(env) == utf8
    assert look_of(None, env).unicode == utf8


def test_the_look_follows_option_and_terminal() -> None:
    utf8 = {"LANG": "C.UTF-8", "TERM": "xterm"}
    assert look_of("block", utf8) == Look("block", True)
    assert look_of("ascii", utf8) == Look("ascii", True)
    assert look_of("braille", {**utf8, "TERM": "dumb"}) == Look("ascii", False)
    assert look_of(None, {**utf8, "TERM": "linux"}) == Look("ascii", False)


@given(st.integers(0, 220), st.integers(0, 70))
def test_the_first_picture_can_be_drawn_at_any_size(w: int, h: int) -> None:
    import pyte

    text = picture(w, h, Look(), paint("dctop-dark", "256"), {"cpu": "CPU"})
    screen = pyte.Screen(max(1, w), max(1, h))
    pyte.Stream(screen).feed(text)
    if w >= 20 and h >= 5:
        assert "STARTING" in screen.display[0] or w < 30


# -- times ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("5m", 300), ("1h30m", 5400), ("1.5 h", 5400), ("2 days", 172800),
     ("", None), ("x", None), ("5 parsecs", None), ("-5", None)],
)  # fmt: skip
def test_spans(text: str, seconds: float | None) -> None:
    assert span_s(text) == seconds


def test_moments_as_people_type_them() -> None:
    end = int(datetime(2026, 3, 5, 15, 0, 0).timestamp()) * S10
    at = end - 600 * S10

    def clock(ns: int | None) -> str:
        assert ns is not None
        return datetime.fromtimestamp(ns / 1e9).strftime("%d %H:%M:%S")

    assert moment_ns("2026-11-05T13:02:10Z", at, 0, end) == 1793883730 * S10
    assert moment_ns("1970-01-01z", at, 0, end) == 0
    assert clock(moment_ns("2026-11-05", at, 0, end)) == "05 00:00:00"
    assert clock(moment_ns("14:02", at, 0, end)) == "05 14:02:00"
    assert clock(moment_ns("14:02:10", at, 0, end)) == "05 14:02:10"
    assert clock(moment_ns("23:00", at, 0, end)) == "04 23:00:00"  # yesterday's: the last one there was
    assert clock(moment_ns("2026-03-01 01:02", at, 0, end)) == "01 01:02:00"
    assert clock(moment_ns("3m ago", at, 0, end)) == "05 14:57:00"
    assert clock(moment_ns("-5m", at, 0, end)) == "05 14:45:00"
    assert clock(moment_ns("+90s", at, 0, end)) == "05 14:51:30"
    assert moment_ns("start", at, 7, end) == 7
    assert moment_ns("end", at, 0, end) == end
    for nonsense in ("", "25:99", "soon", "14", "-", "ago", "2026-13-40 10:00"):
        assert moment_ns(nonsense, at, 0, end) is None


@given(TEXT)
def test_no_text_makes_the_time_parser_fail(text: str) -> None:
    moment_ns(text, 10**18, 0, 10**18)
    span_s(text)


# -- dialogs ----------------------------------------------------------------------------------------


EDITS = [
    "a",
    "b",
    "é",
    "漢",
    "space",
    "left",
    "right",
    "home",
    "end",
    "backspace",
    "delete",
    "ctrl+w",
    "ctrl+u",
    "ctrl+k",
]


@given(st.lists(st.sampled_from(EDITS), max_size=30), st.integers(0, 12))
def test_the_line_editor_stays_within_its_cells(keys: list[str], w: int) -> None:
    edit = LineEdit("start")
    for key in keys:
        edit.key(key, key if len(key) == 1 else None)
        assert 0 <= edit.cursor <= len(edit.text)
        assert row_width(edit.spans(w)) == w


def test_line_editing() -> None:
    edit = LineEdit("cpu>50 user=root")
    edit.key("ctrl+w", None)
    assert edit.text == "cpu>50 "
    edit.key("home", None)
    edit.insert("x\ny\x1b")
    assert edit.text == "x y cpu>50 "
    edit.key("end", None)
    edit.key("backspace", None)
    edit.key("backspace", None)
    assert edit.text == "x y cpu>5"


def test_letters_scattered_over_a_line_are_found_only_where_no_line_has_the_words() -> None:
    lines = ("run finished", "foul ink: no item", "other")
    dialog = ListDialog("events", [Item(str(i), x) for i, x in enumerate(lines)], lambda _: None, search=True)
    for char in "fini":
        dialog.key(char, char)
    assert [item.label for item in dialog.found] == ["run finished"]
    dialog.key("t", "t")
    assert [item.label for item in dialog.found] == ["foul ink: no item"]


def test_typing_takes_the_place_of_what_was_offered() -> None:
    def asked(*keys: str) -> str:
        got: list[str] = []
        dialog = InputDialog("jump", "by", "1m", lambda text: got.append(text))  # type: ignore[func-returns-value]
        for key in keys:
            dialog.key(key, key if len(key) == 1 else None)
        assert row_width(dialog.body(20, 4, LOOKS[0])[0]) == 20
        assert dialog.key("enter", None)
        return got[0]

    assert asked() == "1m"
    assert asked("3", "0", "s") == "30s"
    assert asked("backspace", "9", "m") == "9m"
    assert asked("right", "3", "0", "s") == "1m30s"
    assert asked("home", "2") == "21m"
    assert asked("up", "x", "backspace", "5", "m") == "5m"
    edit = LineEdit("1m", offered=True)
    edit.insert("90s")
    assert edit.text == "90s"


@given(TEXT, st.integers(1, 40))
def test_paragraphs_are_wrapped_within_the_width(text: str, w: int) -> None:
    assert all(row_width(row) <= w for row in wrap(text, w) if w >= 2)


@given(st.integers(0, 100), st.integers(0, 30), st.sampled_from(LOOKS))
def test_dialogs_draw_at_any_size(w: int, h: int, look: Look) -> None:
    items = [Item(str(i), f"item {i}", "detail " * 9, "F1") for i in range(30)]
    fields = [
        Field("a", "a", "choice", "x", ("x", "y")),
        Field("b", "b", "int", 3, enabled=False),
        Field("c", "c", "text", "t"),
    ]
    for dialog in (
        ListDialog("list", items, lambda _: None, search=True, head=[(("head", S.TEXT),)]),
        FormDialog("form", fields, lambda _: None, note="a note " * 30),
        TextDialog("text", lambda w: wrap("words " * 200, max(1, w))),
    ):
        body = dialog.body(w, h, look)
        assert len(body) == h
        assert all(row_width(safe_row(row, w)) == w for row in body)


def test_a_list_is_searched_by_words_then_letters() -> None:
    assert matches("kill", "process: kill") is not None
    assert matches("pk", "process: kill") is not None
    assert matches("zz", "process: kill") is None
    chosen: list[str] = []
    dialog = ListDialog(
        "x", [Item("1", "alpha"), Item("2", "beta"), Item("3", "alphabet")], chosen.append, search=True
    )
    for c in "beta":
        dialog.key(c, c)
    assert dialog.found[0].id == "2"
    assert dialog.key("enter", None)
    assert chosen == ["2"]


def test_a_form_says_what_is_wrong_and_stays() -> None:
    got: list[object] = []

    def submit(values: dict[str, object]) -> str | None:
        got.append(values)
        return None

    form = FormDialog("f", [Field("n", "steps", "int", 5), Field("on", "on", "bool", False)], submit)
    form.key("x", "x")
    assert not form.key("enter", None)
    assert "not a number" in form.error
    form.key("backspace", None)
    form.key("down", None)
    form.key("space", " ")
    assert form.key("enter", None)
    assert got == [{"n": 5, "on": True}]


def test_the_header_shows_the_clock_it_is_given_at_any_width() -> None:
    """Also where there is room for a part of it only: the layout is shared by all times of one form."""
    for w in range(1, 100):
        rows = [
            bars.header(bars.Head(host="n", mode="LIVE", clock=clock, self_pct=0.5), w, Look())
            for clock in ("12:34:56", "12:34:57", "00:00:00")
        ]
        told = ["".join(text for text, _ in row) for row in rows]
        assert told[0].replace("12:34:56", "12:34:57") == told[1]
        assert "00:00" not in told[0] + told[1]
