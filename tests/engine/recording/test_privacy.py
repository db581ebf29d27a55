"""Nothing secret is written whatever way it came, nobody else may read it, and nothing listens."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from dctop.engine.metrics.builder import SnapshotBuilder
from dctop.engine.metrics.model import Frame, ProbeStatus
from dctop.engine.recording.reader import open_recording
from dctop.engine.recording.recorder import Recorder
from dctop.engine.rules.alert import Evidence, Remedy
from dctop.engine.training.runstate import RunEvent
from dctop.probes.base import KernelEvent, Sample
from tests.fakes.frames import START_WALL, S, a_run, an_alert, process
from tests.fakes.recordings import everything

WORD = "S3" + "cret" + "Xyz9"
SAYS = f"connecting with password={WORD}"


def secret_frame(seq: int) -> Frame:
    mono, wall = 50 * S + seq * S, START_WALL + seq * S
    procs = (
        process(7, cmdline=f"psql postgres://bob:{WORD}@db/x"),
        process(8, cmdline=f"app --token {WORD}"),
    )
    event = KernelEvent(seq, wall, "other", f"audit: {SAYS}", {"cmd": f"app --password={WORD}"})
    sample = Sample("process", mono, wall, {"process.count": 2}, procs)
    kernel = Sample("kernel", mono, wall, {"kernel.records": seq}, None, (event,), (SAYS,))
    status = {"kernel": ProbeStatus("kernel", 0.0, False, SAYS, (SAYS,), None)}
    return Frame(seq, mono, wall, {"process": sample, "kernel": kernel}, (event,), status)


def test_a_secret_is_in_no_part_of_the_file(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "x.dctop", interval_s=1.0, meta={"argv": f"dctop record --token={WORD}"})
    recorder.start()
    assert recorder.wait_opened(10.0)
    run = a_run(
        config={"argv": ["t.py", "--hf-token", WORD], "env": {"WANDB_API_KEY": WORD}},
        reason=f"RuntimeError: {SAYS}",
    )
    run.events = [
        RunEvent(START_WALL, 3, "exception", SAYS, {"stderr": SAYS, "tail": [SAYS], "api_key": WORD})
    ]
    alert = an_alert(
        1, START_WALL, title=SAYS, why=SAYS, cost=SAYS, ruled_out=(SAYS,),
        evidence=(Evidence("Last line of its output", SAYS),),
        remedies=(Remedy(SAYS, command=f"mysql -u root --password={WORD}"),),
    )  # fmt: skip
    builder = SnapshotBuilder()
    for seq in range(1, 71):  # past a chunk: both forms of a frame are in the file
        frame = secret_frame(seq)
        if seq == 40:
            run.status, run.seq = "failed", run.seq + 1
        recorder.put(frame, [alert], [run], builder.push(frame).values)
    recorder.mark(f"note to self: {SAYS}", "note")
    recorder.stop("done")
    text = everything(tmp_path / "x.dctop")
    assert "note to self" in text and "audit: connecting" in text and "Last line of its output" in text
    assert WORD not in text
    with open_recording(tmp_path / "x.dctop") as r:
        (shown,) = r.alerts_at_seq(50)
        assert shown.title == "connecting with password=***"


def test_everything_written_is_the_owner_s_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        recorder = Recorder(tmp_path / "x.dctop", interval_s=1.0, meta={})
        recorder.start()
        assert recorder.wait_opened(10.0)
        frame = secret_frame(1)
        recorder.put(frame, [], [])
        recorder.stop("done")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}


def sockets_of(code: str) -> list[str]:
    """Families of the sockets a Python process opened while it ran `code`."""
    watch = (
        "import sys\nseen = []\n"
        "def hook(event, args):\n"
        "    if event in ('socket.__new__', 'socket.bind', 'socket.connect', 'socket.getaddrinfo'):\n"
        "        seen.append(f'{event}:{args[1] if event == \"socket.__new__\" else args}')\n"
        "sys.addaudithook(hook)\n"
    )
    argv = [sys.executable, "-c", f"{watch}{code}\nprint('SOCKETS', seen)"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    found = re.search(r"SOCKETS \[(.*)\]", done.stdout)
    assert found is not None, done.stdout
    return [s for s in found[1].split(", ") if s]


def test_recording_and_reporting_open_no_socket(tmp_path: Path) -> None:
    path, out = tmp_path / "x.dctop", tmp_path / "r.html"
    code = (
        "from dctop.tui.cli import main\n"
        f"assert main(['record', '-o', {str(path)!r}, '--duration', '2', '--quiet']) == 0\n"
        f"assert main(['report', {str(path)!r}, '-o', {str(out)!r}]) == 0\n"
        f"assert main(['export', {str(path)!r}, '--to', 'csv', '-o', {str(tmp_path / 'm.csv')!r}]) == 0\n"
        f"assert main(['rec', 'redact', {str(path)!r}]) == 0\n"
    )
    assert sockets_of(code) == []
    assert out.exists()
    assert sockets_of("import socket; socket.socket().close()"), "the watch works"
