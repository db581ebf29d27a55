"""A report speaks one language: all it says of its own is in the catalogue, in both."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dctop.engine.recording.reader import open_recording
from dctop.engine.report import html, markdown
from dctop.engine.report.blocks import Heading
from dctop.engine.report.say import Say
from dctop.engine.report.sections import report
from dctop.engine.rules.texts import catalogue
from dctop.tui.cli import main
from tests.fakes.recordings import Session, damage, session

SOURCE = Path(__file__).resolve().parents[3] / "engine" / "report"
FIELD = re.compile(r"\{\w+\}|\||`[^`]*`")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """One with a story, one with damage, one that was not closed, one in which nothing happened."""
    folder = tmp_path_factory.mktemp("rec")
    broken = session(folder / "broken.dctop")
    damage(broken, "chunk", "num", 1)
    live = Session(folder / "live.dctop").write(75)
    return [session(folder / "a.dctop"), broken, live.path, session(folder / "short.dctop", 3)]


def pieces(text: str) -> list[str]:
    """What of a text is always said, without its fields; single words may be of a metric's name."""
    return [
        p for part in FIELD.split(text) if len(p := part.strip(" .,;:()")) >= 6 and re.search("[A-Z ]", p)
    ]


def test_a_chinese_report_holds_no_english_sentence_of_its_own(paths: list[Path]) -> None:
    english = {p for text in catalogue("en").report.values() for p in pieces(text)}
    for path in paths:
        with open_recording(path) as r:
            document = report(r, lang="zh")
            in_english = markdown.render(report(r))
        text = markdown.render(document)
        found = {p for p in english if re.search(rf"(?<!\w){re.escape(p)}(?!\w)", text)}
        # Words of what was recorded are not the report's.
        recorded = {p for p in found if p in " ".join(recorded_texts(path))}
        assert found - recorded == set()
        assert sum(p in in_english for p in english) > 20
        page = html.render(document)
        assert '<html lang="zh-CN">' in page
        heads = [b.text for b in document.blocks if isinstance(b, Heading) and b.level == 2]
        assert len(set(heads)) == 10 and all(f'<a href="#{h}">{h}</a>' in page for h in heads)


def recorded_texts(path: Path) -> list[str]:
    with open_recording(path) as r:
        r.check()
        told = [g.reason for g in r.gaps] + list(r.info.problems) + [r.info.recovered or ""]
        told += [e.title for e in r.events()] + [r.meta.get("redaction", "")]
        for a in r.every_alert():
            told += [a.title, a.why, *(m.text for m in a.remedies), *(e.label for e in a.evidence)]
        for run in r.every_run():
            told += [run.status, run.reason or "", *run.config]
        return told


def test_every_text_is_said_somewhere_and_every_word_said_has_a_text() -> None:
    source = "\n".join(p.read_text() for p in SOURCE.glob("*.py"))
    texts = catalogue("en").report
    said = set(re.findall(r'(?:say|many|columns)\(\s*"([\w.]+)"', source))
    said |= {key for a, b in re.findall(r'"([\w.]+)" if \w+ else "([\w.]+)"', source) for key in (a, b)}
    stems = set(re.findall(r'say\(f"([\w.]+\.)\{', source))
    spoken = {"summary", "impact", "detection", "timeline", "factors", "resolution", "evidence", "lessons",
              "actions", "quality", "critical", "warning", "info", "detect", "mitigate", "process",
              "note"}  # fmt: skip
    lacking = {key for key in said if "." in key or key in texts} - set(texts)
    assert lacking == set()
    silent = {
        key for key in texts
        if key.removesuffix(".one") not in said | spoken and not key.startswith(tuple(stems))
    }  # fmt: skip
    assert silent == set()
    assert all(key.removesuffix(".one") in texts for key in texts)


def test_one_of_them_is_said_as_one() -> None:
    say = Say("en")
    assert say.many("missing.gaps", 1, span="3 s", share="2").startswith("1 gap, ")
    assert say.many("missing.gaps", 2, span="3 s", share="2").startswith("2 gaps, ")


def test_the_language_is_asked_for_or_the_locale_s(
    paths: list[Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for argv, locale, head in (
        (["--lang", "zh"], "C", "## 数据质量"),
        (["--lang", "en"], "zh_CN.UTF-8", "## Data quality"),
        ([], "zh_CN.UTF-8", "## 数据质量"),
        ([], "C.UTF-8", "## Data quality"),
    ):
        monkeypatch.setenv("LC_ALL", locale)
        assert main(["report", str(paths[0]), *argv]) == 0
        assert head in capsys.readouterr().out


def test_sentences_end_as_the_language_does(paths: list[Path]) -> None:
    with open_recording(paths[0]) as r:
        told = {lang: markdown.render(report(r, lang=lang)) for lang in ("en", "zh")}
    assert "is 91 % full. annlee fills 10.20.30.40. " in told["en"]
    assert "is 91 % full。annlee fills 10.20.30.40。" in told["zh"]
