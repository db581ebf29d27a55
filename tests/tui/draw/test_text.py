from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from dctop.tui.draw import rows
from dctop.tui.draw.rows import width
from dctop.tui.draw.text import clean, middle, wrap

ANY = st.text(st.characters(), max_size=60)


def test_control_characters_leave_a_mark_and_lines_become_one() -> None:
    assert clean("a\x1b[31mb\nc\td") == "a?[31mb c d"
    assert clean("rm\u202exe.txt") == "rmxe.txt"
    assert clean("bad\udcff") == "bad?"
    assert clean("进程 1") == "进程 1"
    assert clean("进程 1", unicode=False) == "?? 1"


def test_middle_keeps_both_ends() -> None:
    assert middle("/data/very/long/path/model.bin", 15) == "/data/v…del.bin"
    assert middle("short", 15) == "short"
    assert middle("abcdef", 1) == "a"
    assert width(middle("进程进程进程进程", 8)) <= 8


def test_wrap_breaks_at_spaces_and_long_words_at_the_edge() -> None:
    assert wrap("one two three", 7) == ("one two", "three")
    assert wrap("abcdefgh ij", 4) == ("abcd", "efgh", "ij")
    assert wrap("训练进程被杀", 4) == ("训练", "进程", "被杀")
    assert wrap("训", 1) == ("?",)
    assert wrap("", 5) == ()


@given(ANY, st.booleans())
def test_cleaned_text_is_printable_and_measurable(text: str, unicode: bool) -> None:
    out = clean(text, unicode)
    assert out.isprintable() or not out
    assert unicode or out.isascii()
    out.encode()
    assert width(out) == cell_len(out) == sum(cell_len(c) for c in out)


@given(ANY, st.integers(0, 40))
def test_cut_and_wrapped_text_keeps_its_bounds(text: str, cells: int) -> None:
    safe = clean(text)
    assert width(middle(safe, cells)) <= cells
    assert all(0 < width(line) <= cells for line in wrap(safe, cells))


def test_the_short_cut_for_narrow_characters_agrees_with_the_terminal_widths() -> None:
    narrow = [chr(i) for i in range(32, 0x3000) if rows._one_cell_each(chr(i))]
    assert len(narrow) > 700
    assert [c for c in narrow if cell_len(c) != 1] == []
