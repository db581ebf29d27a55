"""The report: of every kind of recording, with commands that lead to the moments, and only text in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from dctop.engine.recording.reader import RecordingError, open_recording
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.store import Store
from dctop.engine.report import html, markdown
from dctop.engine.report.blocks import Chart, Document, Heading, Para, Table
from dctop.engine.report.facts import gather
from dctop.engine.report.impact import covered
from dctop.engine.report.sections import report
from dctop.tui.dialogs.times import moment_ns
from tests.fakes.frames import Stream, an_alert
from tests.fakes.recordings import Session, damage, session

SECTIONS = [
    "Summary", "Impact", "Detection", "Timeline", "Contributing factors", "Trigger and resolution",
    "Evidence", "Lessons", "Action items", "Data quality",
]  # fmt: skip
VOID = {"meta", "br", "hr", "img", "link"}


class Page(HTMLParser):
    """Checks that tags nest, collects text and links."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.seen: set[str] = set()
        self.text: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.stack and self.stack[-1] == tag, (tag, self.stack[-4:])
        self.stack.pop()

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(document: Document) -> Page:
    p = Page()
    p.feed(html.render(document))
    p.close()
    assert p.stack == []
    return p


def heads(document: Document) -> list[str]:
    return [b.text for b in document.blocks if isinstance(b, Heading) and b.level == 2]


def words(document: Document) -> str:
    return markdown.render(document)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(tmp_path_factory.mktemp("rec") / "a.dctop")


def test_all_sections_are_there_and_filled(path: Path) -> None:
    with open_recording(path) as r:
        d = report(r)
    assert heads(d) == SECTIONS and d.title == "Post-mortem: /data of gpu-node-17 is 91 % full"
    text = words(d)
    for said in ("It closed after 50 s", "run-7 failed at step 400", "annlee restarted the loader",
                 "not recorded", "> 90 %",
                 "remove old checkpoints (40 GiB)", "closed cleanly (done)"):  # fmt: skip
        assert said in text, said
    assert any(isinstance(b, Chart) for b in d.blocks)


def test_the_commands_lead_to_the_moments(path: Path) -> None:
    with open_recording(path) as r:
        d = report(r)
        source = ReplaySource(r)
        (alert,) = r.events("alert")
        assert source.seek(alert.t0 - 1) and not source.alerts()
        table = next(b for b in d.blocks if isinstance(b, Table) and "command" in b.head and "what" in b.head)
        shown = 0
        for row in table.rows:
            hit = re.fullmatch(r"`dctop replay (\S+) --at (\S+)`", row[-1])
            assert hit is not None and Path(hit[1]).name == "a.dctop"
            at = moment_ns(hit[2], source.t0_ns, source.t0_ns, source.t1_ns)
            assert at is not None and source.seek(at)
            if "alert `disk-fill`" in row[1]:
                shown += 1
                assert [a.id for a in source.alerts()] == [1]
                assert 0 <= source.position_ns - alert.t0 < 2e9
        assert shown == 1


def test_the_page_needs_nothing_and_runs_nothing(path: Path) -> None:
    with open_recording(path) as r:
        d = report(r)
    p = page(d)
    text = html.render(d)
    assert not {"script", "img", "link", "iframe", "object"} & p.seen and "svg" in p.seen
    assert not re.search(r"(?:https?:)?//[a-z]", text.replace("://www.w3.org", "")) and "@import" not in text
    assert not any(k.startswith("on") or (k in ("href", "src") and not (v or "").startswith("#"))
                   for k, v in p.attributes)  # fmt: skip
    assert "prefers-color-scheme:dark" in text and "@media print" in text
    assert {v for k, v in p.attributes if k == "id"} >= {"summary", "data-quality"}
    ids = [v for k, v in p.attributes if k == "id"]
    assert len(ids) == len(set(ids))


def test_markup_in_names_stays_text(tmp_path: Path) -> None:
    s = Session(tmp_path / "x.dctop")
    evil = "<script>alert(1)</script> | **b** `c` [x](javascript:y) & \x1b[31m"
    s.write(50)
    s.alert = an_alert(2, s.stream.wall, title=evil, why=evil, entity=evil, severity="critical")
    s.write(20).close()
    with open_recording(s.path) as r:
        d = report(r)
    p = page(d)
    assert "script" not in p.seen and "<script>alert(1)</script>" in "".join(p.text)
    md = markdown.render(d)
    assert "<script>" not in md and "](javascript" not in md.replace("\\[x](javascript", "")
    rows = [line for line in md.splitlines() if line.startswith("|")]
    for line in rows:
        assert line.endswith("|")


def test_of_one_frame(tmp_path: Path) -> None:
    with open_recording(Session(tmp_path / "x.dctop").write(1).close()) as r:
        d = report(r)
    assert heads(d) == SECTIONS and "only one frame" in words(d)
    page(d)


def test_of_nothing_says_so(tmp_path: Path) -> None:
    Store(tmp_path / "x.dctop", interval_s=1.0, meta={"host": "n"}).close("done")
    with open_recording(tmp_path / "x.dctop") as r, pytest.raises(RecordingError, match="no frame in it"):
        report(r)


def test_without_alerts_and_runs(tmp_path: Path) -> None:
    s = Session(tmp_path / "x.dctop").write(30)
    s.close()
    with open_recording(s.path) as r:
        d = report(r)
    assert d.title == "Report: gpu-node-17, no alerts"
    assert "No rule raised an alert" in words(d) and "what was not checked" in words(d)
    page(d)


def test_of_a_file_being_written(tmp_path: Path) -> None:
    live = Session(tmp_path / "x.dctop").write(75)
    with open_recording(live.path) as r:
        text = words(report(r))
    assert (
        "being written while this report was made" in text
        and "was still open when the recording ends" in text
    )
    live.close()


def test_of_a_damaged_file_tells_what_is_missing_on_its_first_page(path: Path, tmp_path: Path) -> None:
    broken = tmp_path / "b.dctop"
    broken.write_bytes(path.read_bytes())
    damage(broken, "chunk", "num", 1)
    with open_recording(broken) as r:
        d = report(r)
    text = words(d)
    assert "checksum" in text.partition("## Data quality")[2]
    summary = text.partition("## Impact")[0]
    assert "Not recorded from" in summary and "damaged" in summary
    assert any(band.kind == "gap" for b in d.blocks if isinstance(b, Chart) for band in b.bands)


def test_a_range_is_reported_alone(path: Path) -> None:
    with open_recording(path) as r:
        walls = [f.wall_ns for f in r.frames(0, 1 << 62)]
        d = report(r, walls[140], walls[180])
    assert d.title.endswith("no alerts") and "restarted the loader" not in words(d)


def test_runs_are_compared_with_the_one_before(tmp_path: Path) -> None:
    from tests.fakes.frames import a_run

    s = Session(tmp_path / "x.dctop").write(20)
    s.run = a_run("run-8", config={"lr": 0.01}, started_wall_ns=s.stream.wall)
    s.write(20).close()
    with open_recording(s.path) as r:
        text = words(report(r))
    assert "Configuration: run-7 against run-8" in text and "| `lr` | 0.001 | 0.01 |" in text


def test_a_clock_set_back_is_told(tmp_path: Path) -> None:
    s = Session(tmp_path / "x.dctop")
    s.stream = Stream(seed=1, clock_step_at=30)
    s.write(50).close()
    with open_recording(s.path) as r:
        d = report(r)
    assert "the clock was set by" in words(d)
    page(d)


def test_incidents_gather_alerts_of_an_entity_and_their_symptoms(tmp_path: Path) -> None:
    s = Session(tmp_path / "x.dctop").write(45)
    with open_recording(s.path) as r:
        facts = gather(r)
    assert [i.top.rule for i in facts.incidents] == ["disk-fill"]
    assert facts.incidents[0].t1_ns is None and len(facts.incidents[0].factors) <= 12
    s.close()


def test_what_happened_before_the_recording_is_told_as_that(tmp_path: Path) -> None:
    s = Session(tmp_path / "x.dctop")
    long_ago = s.stream.wall - 3600 * 10**9
    s.alert = an_alert(
        7, long_ago, kind="event", severity="critical", title="an old crash", closed_wall_ns=None
    )
    s.write(20).close()
    with open_recording(s.path) as r:
        d = report(r)
    assert d.title.endswith("no alerts")
    assert "Before the recording began" in words(d) and "an old crash" in words(d)


def test_time_under_alert_counts_overlaps_once() -> None:
    assert covered([(0, 10), (5, 20), (30, 40), (32, 35)]) == 30
    assert covered([]) == 0


def test_prompts_for_people_are_marked(path: Path) -> None:
    with open_recording(path) as r:
        d = report(r)
    asked = [b.text for b in d.blocks if isinstance(b, Para) and b.kind == "human"]
    assert len(asked) >= 6 and any("Trigger" in t for t in asked)
