from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dctop.probes.base import Process
from dctop.tui.panes.process_filter import Filter, Rates, parse
from tests.fakes.screen import GI, MI, make_process

TABLE = [
    make_process(1, name="init", user="root", cmdline="/sbin/init", rss_bytes=10 * MI),
    make_process(20, name="python3", user="mara", cmdline="python3 train.py --lr 0.1", rss_bytes=4 * GI),
    make_process(
        21, name="python3", user="mara", cmdline="python3 -m http.server", state="D", rss_bytes=90 * MI
    ),
    make_process(300, name="kworker/0", user="root", cmdline=None, rss_bytes=None, threads=200),
    make_process(4000, name="worker", user=None, uid=1234, cmdline="/opt/w", job="slurm:77", rss_bytes=MI),
]
TABLE[4] = TABLE[4]._replace(container="deadbeef00")
RATES = Rates({20: 180.0, 21: 3.0}, {21: 20.0 * MI}, {}, 8.0 * GI)


def pids(text: str, table: list[Process] = TABLE) -> list[int]:
    return [p.pid for p in Filter().select(table, parse(text), RATES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [1, 20, 21, 300, 4000]),
        ("python", [20, 21]),
        ("PYTHON train", [20]),
        ("300", [300]),
        ("mara", [20, 21]),
        ("cpu>50", [20]),
        ("cpu<=3", [1, 21, 300, 4000]),
        ("mem>1g", [20]),
        ("mem>=50%", [20]),
        ("mem<100m", [1, 21, 4000]),
        ("io>10m", [21]),
        ("threads>100", [300]),
        ("pid=20", [20]),
        ("user=root", [1, 300]),
        ("user!=root", [20, 21, 4000]),
        ("user=1234", [4000]),
        ("state=D", [21]),
        ("cmd~train|http", [20, 21]),
        ("cmd!~python", [1, 300, 4000]),
        ("job=slurm", [4000]),
        ("container=dead", [4000]),
        ("container!=", [4000]),
        ("user=mara cpu>50 mem>1g", [20]),
        ("!^python3 -m", [21]),
        ("!train.*lr 0", [20]),
        ("--lr", [20]),
        ("a=b", []),
    ],
)
def test_queries(text: str, expected: list[int]) -> None:
    assert pids(text) == expected
    assert parse(text).error is None


@pytest.mark.parametrize("text", ["cpu>", "mem>abc", "cmd~(", "!(", "user>3", "cpu~3"])
def test_what_is_not_finished_is_named_and_left_out(text: str) -> None:
    query = parse(text)
    assert query.error is not None
    assert pids(text) == [p.pid for p in TABLE]


def test_answers_are_kept_for_rows_that_did_not_change_and_renewed_for_those_that_did() -> None:
    f, query = Filter(), parse("train")
    assert [p.pid for p in f.select(TABLE, query, RATES)] == [20]
    # The same command with new figures, then exec of another program.
    later = [p._replace(cpu_ticks=9) if p.pid == 20 else p for p in TABLE]
    assert [p.pid for p in f.select(later, query, RATES)] == [20]
    other = [p._replace(cmdline="sleep 9") if p.pid == 20 else p for p in later]
    assert f.select(other, query, RATES) == []


def test_a_state_term_is_asked_again_when_the_state_changes() -> None:
    f, query = Filter(), parse("state=D")
    assert [p.pid for p in f.select(TABLE, query, RATES)] == [21]
    later = [p._replace(state="R") if p.pid == 21 else p for p in TABLE]
    assert f.select(later, query, RATES) == []


@given(st.text(max_size=40))
def test_any_text_parses_and_filters(text: str) -> None:
    assert len(pids(text)) <= len(TABLE)
