"""Cut, redacted and repaired copies hold what they should, and nothing else."""

from __future__ import annotations

import json
import stat
from dataclasses import asdict
from pathlib import Path

import pytest

from dctop.engine.metrics.model import Frame
from dctop.engine.recording.reader import Recording, RecordingError, open_recording
from dctop.engine.recording.redaction import Redactor, redactor_of
from dctop.engine.recording.replay import ReplaySource
from dctop.engine.recording.rewrite import rewrite, step_blocks
from dctop.probes.base import GpuProcess, Sample, Value
from tests.fakes.frames import process
from tests.fakes.recordings import Session, damage, everything, session


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return session(tmp_path_factory.mktemp("rec") / "a.dctop")


def same(a: Frame, b: Frame) -> bool:
    return (a.seq, a.mono_ns, a.wall_ns, dict(a.status), list(a.events)) == (
        b.seq, b.mono_ns, b.wall_ns, dict(b.status), list(b.events)
    ) and {k: (v.values, v.processes, v.mono_ns) for k, v in a.samples.items()} == {
        k: (v.values, v.processes, v.mono_ns) for k, v in b.samples.items()
    }  # fmt: skip


def frames(recording: Recording) -> list[Frame]:
    return list(recording.frames(0, 1 << 62))


def test_a_copy_of_everything_shows_the_same_at_every_moment(whole: Path, tmp_path: Path) -> None:
    with open_recording(whole) as a:
        made = rewrite(a, tmp_path / "b.dctop", what="repaired")
        with open_recording(tmp_path / "b.dctop") as b:
            b.check()
            assert not b.info.problems and b.info.closed and made.left_out == []
            for x, y in zip(frames(a), frames(b), strict=True):
                assert same(x, y)
            for seq in (1, 45, 89, 95, 101, 119, 131, 200):
                assert a.alerts_at_seq(seq) == b.alerts_at_seq(seq)
                assert repr(a.runs_at_seq(seq)) == repr(b.runs_at_seq(seq))
            assert [asdict(e) for e in a.events()] == [asdict(e) for e in b.events()]
            assert a.overview("cpu.util_pct", 20) == b.overview("cpu.util_pct", 20)
            assert [g.reason for g in a.gaps] == [g.reason for g in b.gaps]
    assert stat.S_IMODE((tmp_path / "b.dctop").stat().st_mode) == 0o600


def test_a_cut_holds_its_range_and_is_judged_there_as_the_whole_is(whole: Path, tmp_path: Path) -> None:
    with open_recording(whole) as a:
        all_frames = frames(a)
        t0, t1 = all_frames[49].wall_ns, all_frames[79].wall_ns
        made = rewrite(a, tmp_path / "cut.dctop", what="cut", t0_ns=t0, t1_ns=t1)
        assert made.frames == 31 and (made.t0_ns, made.t1_ns) == (t0, t1)
        with open_recording(tmp_path / "cut.dctop") as b:
            assert [f.seq for f in frames(b)] == list(range(50, 81))
            assert b.time_range == (t0, t1)
            for x, y in zip(all_frames[49:80], frames(b), strict=True):
                assert same(x, y)
            assert a.alerts_at_seq(60) == b.alerts_at_seq(60) != []
            (alert,) = b.events("alert")
            assert alert.t1 is None, "it closed after the cut"
            assert {e.kind for e in b.events()} >= {"alert", "marker", "note"}
            walls = [w for block in step_blocks(b.database) for w in block.columns["wall_ns"]]
            assert walls and t0 <= min(walls) and max(walls) <= t1
            (run,) = b.runs_at_seq(80)
            assert run.status == "running" and list(run.columns["step"]) == list(range(197, 321))
    source = ReplaySource(tmp_path / "cut.dctop")
    assert source.seek(t0) and source.snapshot() is not None and source.step(5)
    source.close()


def test_a_cut_of_nothing_says_so_and_leaves_no_file(whole: Path, tmp_path: Path) -> None:
    with open_recording(whole) as a, pytest.raises(RecordingError, match="no frame in that range"):
        lost = frames(a)[118].wall_ns
        rewrite(a, tmp_path / "x.dctop", what="cut", t0_ns=lost + 2 * 10**9, t1_ns=lost + 4 * 10**9)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_never_overwritten(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "x.dctop").write_text("mine")
    with open_recording(whole) as a, pytest.raises(RecordingError, match="never overwritten"):
        rewrite(a, tmp_path / "x.dctop", what="repaired")
    assert (tmp_path / "x.dctop").read_text() == "mine"


def test_a_damaged_file_is_repaired_with_the_hole_shown(whole: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.dctop"
    broken.write_bytes(whole.read_bytes())
    damage(broken, "chunk", "num", 1)
    with open_recording(broken) as a:
        made = rewrite(a, tmp_path / "good.dctop", what="repaired")
    assert made.frames == 130 and any("checksum" in p for p in made.left_out)
    with open_recording(tmp_path / "good.dctop") as b:
        b.check()
        assert b.info.bad_chunks == 0 and not b.info.problems
        assert any(g.reason.startswith("damaged") for g in b.gaps)


def test_a_killed_file_is_repaired_with_its_newest_frames(tmp_path: Path) -> None:
    live = Session(tmp_path / "live.dctop").write(75)
    with open_recording(live.path) as a:
        made = rewrite(a, tmp_path / "whole.dctop", what="repaired")
    assert made.frames == 75 and made.steps == 300
    with open_recording(tmp_path / "whole.dctop") as b:
        assert b.info.closed and b.seq_range == (1, 75)
        (run,) = b.runs_at_seq(75)
        assert len(run.columns["step"]) == 300
    live.close()


SECRETS = ("annlee", "gpu-node-17", "moonshot", "10.20.30.40", "8f3b6c1d2e4a", "991234", "trainllm", "llm/",
           "0f0e0d0c-1111")  # fmt: skip


def test_a_redacted_copy_holds_no_name_anywhere(whole: Path, tmp_path: Path) -> None:
    text = everything(whole)
    assert all(s in text for s in SECRETS)
    with open_recording(whole) as a:
        rewrite(a, tmp_path / "r.dctop", what="redacted", changer=redactor_of(a))
    text = everything(tmp_path / "r.dctop")
    assert [s for s in SECRETS if s in text] == []


def test_a_redacted_copy_tells_the_same_story(whole: Path, tmp_path: Path) -> None:
    with open_recording(whole) as a:
        rewrite(a, tmp_path / "r.dctop", what="redacted", changer=redactor_of(a))
        with open_recording(tmp_path / "r.dctop") as b:
            assert a.overview("cpu.util_pct", 20) == b.overview("cpu.util_pct", 20)
            (alert,) = b.alerts_at_seq(60)
            user = next(p.user for p in frames(b)[5].processes if p.pid == 103)
            host = b.meta["host"]
            assert alert.title == f"/data of {host} is 91 % full" and alert.why.startswith(
                f"{user} fills ip-"
            )
            (marker,) = b.events("marker")
            assert marker.title == f"{user} restarted the loader"
            (run,) = b.runs_at_seq(150)
            assert run.host == host and run.config["argv"][1::2] == ["--project", "--epochs"]
            assert run.config["argv"][4] == "3" and run.config["lr"] == 0.001
            for x, y in zip(frames(a), frames(b), strict=True):
                assert [(p.pid, p.rss_bytes, p.cpu_ticks) for p in x.processes] == [
                    (p.pid, p.rss_bytes, p.cpu_ticks) for p in y.processes
                ]


@pytest.mark.parametrize(("text", "kept"), [
    ("Killed process 7 (python3) anon-rss:1024kB", True),
    ("/usr/lib/python3/dist-packages is 91 % full", True),
    ("NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus", True),
    ("14:02:31 loss is NaN at step 700", True),
    ("nvme0n1: I/O error, /dev/nvme0n1", True),
    ("mean::std of 1.5.3", True),
    ("ssh bob@host.example", False),
    ("connect to 192.168.3.4:8080 failed", False),
    ("fe80::1234:5678 unreachable", False),
    ("cp ~/secret-project/x .", False),
    ("GPU-2f5a8b1c-0000-1111-2222-333344445555 lost", False),
    ("https://wandb.example/team/run", False),
])  # fmt: skip
def test_ordinary_words_stay_and_names_go(text: str, kept: bool) -> None:
    assert (Redactor().text(text) == text) is kept


def test_pseudonyms_are_consistent() -> None:
    r = Redactor()
    p = process(7, user="annlee", name="trainllm", cmdline="/home/annlee/x/run.py")
    r.learn_process(p)
    a, b = r.path("/home/annlee/x/run.py"), r.path("/home/annlee/x/other.py")
    assert a.rpartition("/")[0] == b.rpartition("/")[0] and a != b and a.endswith(".py")
    made = r._process(p)
    assert made.user in a and made.name in r.text("trainllm was killed")
    assert json.loads(r.body("run_state", '{"host": "h", "config": {"batch": 32}}'))["config"] == {
        "batch": 32
    }


def test_processes_on_gpus_stay_in_a_redacted_copy_under_the_device_s_pseudonym(tmp_path: Path) -> None:
    uuid = "GPU-8f3b6c1d-0000-1111-2222-333344445555"
    live = Session(tmp_path / "a.dctop")
    for frame in live.stream.take(70):
        values: dict[str, Value] = {f"gpu.util_pct{{gpu={uuid}}}": 90}
        rows = [GpuProcess(103, uuid, "C", 5 << 30, 80)]
        frame.samples["gpu"] = Sample("gpu", frame.mono_ns, frame.wall_ns, values, None, (), (), rows)
        live._write(frame)
    with open_recording(live.close()) as a:
        rewrite(a, tmp_path / "r.dctop", what="redacted", changer=redactor_of(a))
    with open_recording(tmp_path / "r.dctop") as b:
        for frame in frames(b):
            gpu = frame.samples["gpu"]
            (row,) = gpu.gpu_processes or ()
            assert row == GpuProcess(103, row.gpu, "C", 5 << 30, 80)
            assert list(gpu.values) == [f"gpu.util_pct{{gpu={row.gpu}}}"] and uuid[4:] not in row.gpu
