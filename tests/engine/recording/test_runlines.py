"""What a run printed last is in its recording: at every moment, masked, bounded."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.recording import runlines
from dctop.engine.recording.reader import Recording, open_recording
from dctop.engine.recording.recorder import Recorder
from dctop.engine.recording.redaction import redactor_of
from dctop.engine.recording.retention import Caps, evict
from dctop.engine.recording.rewrite import rewrite
from dctop.engine.recording.runtake import Taker
from dctop.engine.report import html, markdown
from dctop.engine.report.sections import report
from dctop.engine.training.runstate import RunState
from tests.fakes.frames import START_WALL, S, Stream, a_run, add_steps
from tests.fakes.recordings import damage, everything, session


def lines_at(recording: Recording, seq: int) -> tuple[str, ...]:
    (run,) = recording.runs_at_seq(seq)
    return run.log_tail


def record(path: Path, n: int, run: RunState, printed: dict[int, tuple[str, ...]], **options: object) -> Path:
    """`printed`: the tail from that frame on."""
    recorder = Recorder(path, interval_s=1.0, meta={}, min_free_bytes=0, **options)  # type: ignore[arg-type]
    recorder.start()
    assert recorder.wait_opened(20)
    builder, stream = SnapshotBuilder(), Stream(seed=1)
    for frame in stream.take(n):
        if frame.seq in printed:
            run.log_tail, run.seq = printed[frame.seq], run.seq + 1
        add_steps(run, 1, frame.wall_ns, stream.r)
        recorder.put(frame, [], [run], builder.push(frame).values)
    recorder.stop("done")
    return path


def test_at_every_moment_it_is_what_had_been_printed_by_then(tmp_path: Path) -> None:
    printed = {1: ("one",), 20: ("one", "two"), 50: tuple(f"line {n}" for n in range(40))}
    with open_recording(record(tmp_path / "a.dctop", 80, a_run("r"), printed)) as r:
        assert lines_at(r, 10) == ("one",)
        assert lines_at(r, 30) == ("one", "two")
        assert lines_at(r, 80) == tuple(f"line {n}" for n in range(20, 40))
        assert lines_at(r, 5) == ("one",)


def test_a_run_that_prints_without_end_is_taken_every_ten_seconds_and_its_end_at_once() -> None:
    run, taker, taken = a_run("r"), Taker(), []
    for n in range(61):
        run.log_tail, run.seq = (f"step {n}",), run.seq + 1
        if n == 57:
            run.status = "failed"
        taken += [(n, tail) for _, tail in taker.take([], [run], START_WALL + n * S).logs]
    assert [n for n, _ in taken[:7]] == [0, 10, 20, 30, 40, 50, 57] and taken[6][1] == ("step 57",)


def test_what_changed_too_soon_is_taken_later_without_further_news() -> None:
    run, taker = a_run("r"), Taker()
    run.log_tail = ("a",)
    assert taker.take([], [run], START_WALL).logs
    run.log_tail, run.seq = ("a", "b"), run.seq + 1
    assert not taker.take([], [run], START_WALL + S).logs
    assert taker.take([], [run], START_WALL + 10 * S).logs == [("r", ("a", "b"))]
    assert not taker.take([], [run], START_WALL + 30 * S).logs


def test_secrets_are_masked_also_where_a_line_is_cut(tmp_path: Path) -> None:
    secret = "S3" + "cret" + "Xyz9"
    long = "x" * (runlines.WIDTH - 12) + f" password={secret}"
    path = record(tmp_path / "a.dctop", 3, a_run("r"), {1: (f"using password={secret}", long)})
    text = everything(path)
    assert "using password=" in text and secret not in text and secret[:4] not in text
    with open_recording(path) as r:
        assert all(len(line) <= runlines.WIDTH for line in lines_at(r, 3))


def test_a_ring_keeps_only_what_its_frames_show(tmp_path: Path) -> None:
    printed = {n: (f"line {n}",) for n in range(1, 600, 15)}
    path = tmp_path / "a.dctop"
    recorder = Recorder(path, interval_s=1.0, meta={}, min_free_bytes=0)
    recorder.start()
    assert recorder.wait_opened(20)
    run, stream = a_run("r"), Stream(seed=1)
    for frame in stream.take(600):
        if frame.seq in printed:
            run.log_tail, run.seq = printed[frame.seq], run.seq + 1
        recorder.put(frame, [], [run])
        while recorder.saved_seq < frame.seq - 60 and recorder.status.state == "recording":
            time.sleep(0.005)
    recorder.stop("done")
    import sqlite3

    db = sqlite3.connect(path, isolation_level=None)
    before = db.execute("SELECT count(*) FROM output").fetchone()[0]
    evict(db, Caps(None, 120.0), False)
    after = db.execute("SELECT count(*) FROM output").fetchone()[0]
    db.close()
    assert before == 40 and 8 <= after <= 13
    with open_recording(path) as r:
        span = r.seq_range
        assert span is not None and span[0] > 400
        assert lines_at(r, span[0]) == (f"line {(span[0] - 1) // 15 * 15 + 1}",)


def test_copies_have_it_cut_or_without_names(tmp_path: Path) -> None:
    whole = session(tmp_path / "a.dctop")
    with open_recording(whole) as a:
        assert lines_at(a, 150) == ("step 400 done", "FileNotFoundError: /home/annlee/llm/x.bin")
        assert lines_at(a, 99) == ()
        t0, _ = a.time_range or (0, 0)
        rewrite(a, tmp_path / "cut.dctop", what="cut", t0_ns=t0 + 140 * S)
        rewrite(a, tmp_path / "early.dctop", what="cut", t1_ns=t0 + 90 * S)
        rewrite(a, tmp_path / "red.dctop", what="redacted", changer=redactor_of(a))
    with open_recording(tmp_path / "cut.dctop") as b:
        assert lines_at(b, 150)[0] == "step 400 done"
    assert "step 400 done" not in everything(tmp_path / "early.dctop")
    with open_recording(tmp_path / "red.dctop") as b:
        assert lines_at(b, 150)[1].startswith("FileNotFoundError: /home/user-2/dir-")


def test_a_damaged_row_is_missing_and_said(tmp_path: Path) -> None:
    path = record(tmp_path / "a.dctop", 5, a_run("r"), {1: ("one",)})
    import sqlite3

    db = sqlite3.connect(path)
    db.execute("UPDATE output SET wall_ns=wall_ns+1")
    db.commit()
    db.close()
    with open_recording(path) as r:
        assert lines_at(r, 5) == () and "output: a damaged row" in r.info.problems


def test_a_report_shows_what_a_failed_run_printed_last(tmp_path: Path) -> None:
    path = session(tmp_path / "a.dctop")
    with open_recording(path) as r:
        document = report(r)
    text = markdown.render(document)
    assert "### What run-7 printed last" in text
    assert "```text\nstep 400 done\nFileNotFoundError: /home/annlee/llm/x.bin\n```" in text
    assert "<pre>step 400 done\n" in html.render(document)


def test_printed_lines_make_no_markup(tmp_path: Path) -> None:
    run = a_run("r", status="failed", ended_wall_ns=START_WALL + 3 * S)
    path = record(tmp_path / "a.dctop", 5, run, {1: ("```", "<script>x</script>", "a\x07b\u202ec")})
    with open_recording(path) as r:
        document = report(r)
    assert markdown.render(document).count("```") % 2 == 0
    assert "\n'''\n<script>x</script>\na b c\n```" in markdown.render(document)
    page = html.render(document)
    assert "<script>" not in page and "\x07" not in page and "\u202e" not in page


def test_a_file_of_the_format_before_it_has_none(tmp_path: Path) -> None:
    golden = Path(__file__).parent / "golden" / "format-1.0.dctop.gz"
    path = tmp_path / "old.dctop"
    path.write_bytes(gzip.decompress(golden.read_bytes()))
    with open_recording(path) as r:
        assert lines_at(r, 130) == () and r.info.problems == ()
    damage(path, "chunk", "num", 0)
    with open_recording(path) as r:
        assert lines_at(r, 130) == ()
