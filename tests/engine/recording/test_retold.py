"""A recording tells its alerts in the language asked for, whichever it was recorded in: in replay, in reports
and judged again."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.rewrite import rewrite
from dctop.engine.report import markdown
from dctop.engine.report.sections import report
from dctop.tui.cli import main
from tests.fakes.judged import record

BOTH = [("en", "zh"), ("zh", "en")]
Days = dict[str, Path]


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Days:
    """The same bad day, recorded in each language."""
    folder = tmp_path_factory.mktemp("rec")
    for lang in ("en", "zh"):
        record(folder / f"{lang}.dctop", True, lang)
    return {lang: folder / f"{lang}.dctop" for lang in ("en", "zh")}


@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_a_replay_tells_alerts_and_events_in_the_language_asked_for(
    days: Days, recorded: str, asked: str
) -> None:
    told, true = ReplaySource(days[recorded], lang=asked), ReplaySource(days[asked])
    seen = 0
    more = True
    while more:
        assert told.seq == true.seq and list(told.alerts()) == list(true.alerts())
        seen = max(seen, len(told.alerts()))
        more = told.step(1) and true.step(1)
    assert seen > 3
    events = told.events()
    assert [e.title for e in events] == [e.title for e in true.events()]
    assert events == told.events() and any(e.kind == "alert" for e in events)
    for source in (told, true):
        source.close()


def test_a_replay_that_is_not_asked_tells_what_was_recorded(days: Days) -> None:
    with open_recording(days["zh"]) as recording:
        source = ReplaySource(recording)
        source.seek(source.t1_ns)
        assert list(source.alerts()) == recording.alerts_at_seq(source.seq or 0)
        assert source.events() == recording.events()


@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_a_report_tells_them_in_its_own_language(days: Days, recorded: str, asked: str) -> None:
    with open_recording(days[recorded]) as there, open_recording(days[asked]) as here:
        texts = [markdown.render(report(r, lang=asked, shown_as=Path("x.dctop"))) for r in (there, here)]
        titles = {a.title for a in here.every_alert()}
        assert titles.isdisjoint(a.title for a in there.every_alert())
    told, true = (re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UUID", text) for text in texts)
    assert sum(title in told for title in titles) > 3
    alike = [a == b for a, b in zip(told.splitlines(), true.splitlines(), strict=True)]
    # How large the file is and when it was made are the only things that differ.
    assert alike.count(False) <= 2


@pytest.mark.parametrize(("recorded", "asked"), BOTH)
def test_a_part_judged_again_tells_what_was_open_before_it_in_the_language_asked_for(
    days: Days, recorded: str, asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_recording(days[recorded]) as whole:
        begin = whole.time_range[0] + 85 * 10**9  # type: ignore[index]
        rewrite(whole, tmp_path / "part.dctop", what="cut", t0_ns=begin)
        there = {a.title for a in whole.every_alert()}
    with open_recording(days[asked]) as other:
        here = {a.title for a in other.every_alert() if a.opened_wall_ns < begin and a.closed_wall_ns is None}
    assert main(["check", str(tmp_path / "part.dctop"), "--lang", asked, "--json"]) == 1
    told = {finding["title"] for finding in json.loads(capsys.readouterr().out)["findings"]}
    assert here and here <= told and told.isdisjoint(there)
