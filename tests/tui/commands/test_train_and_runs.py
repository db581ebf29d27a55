"""`dctop train` and `dctop runs` as typed in a shell."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dctop.engine import paths
from dctop.engine.training.runstate import RunEvent
from dctop.tui.commands.train import Headless, clock, progress_bar
from tests.fakes import screen
from tests.fakes.runs import event, make_run, step, write_idx

DCTOP = [sys.executable, "-c", "import sys; from dctop.tui.cli import main; sys.exit(main())"]


def dctop(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*DCTOP, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def old_run(name: str = "20200101-000000-mnist-cnn", accuracy: float = 0.5) -> Path:
    return make_run(
        paths.runs_dir(), name,
        event("start", "s", 0, total_steps=3, device={"chosen": "cpu"}),
        *(step(i) for i in (1, 2)), step(3, loss="nan"),
        event("eval", "test", 3, loss=0.7, accuracy=accuracy, recall=[0.5, None]),
        event("end", "reached its last step, 3", 3, status="finished", exit_code=0),
    )  # fmt: skip


def test_train_without_a_terminal_tells_lines_and_the_accuracy(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    done = dctop("train", "mnist-cnn", "--headless", "--data", data, "--epochs", "1", "--threads", "1")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("run 20") and lines[1].startswith(f"IDX images ({data}) on cpu: 16 steps")
    # On a slow machine there is time for lines of progress in between.
    told = [line for line in lines if not line.startswith("step ")]
    assert told[2].startswith("epoch 1: loss ") and told[-1].startswith("Test accuracy: 0.")
    assert told[-2].startswith("Energy: ") and "kWh" in told[-2] and " J a sample" in told[-2]
    assert "\r" not in done.stdout and "\x1b" not in done.stdout and done.stderr == ""

    listed = json.loads(dctop("runs", "--json").stdout)
    assert [(r["status"], r["step"], r["total_steps"]) for r in listed] == [("finished", 16, 16)]
    assert listed[0]["config"]["data"] == data


def test_train_on_a_terminal_shows_a_bar_and_ctrl_c_stops_the_run(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    words = ("train", "mnist-cnn", "--headless", "--data", data, "--epochs", "100000", "--batch-size", "8",
             "--threads", "1", "--eval-every", "1000000", "--checkpoint-every", "1000000")  # fmt: skip
    main, side = pty.openpty()
    shown = b""
    child = subprocess.Popen([*DCTOP, *words], stdin=side, stdout=side, stderr=side)
    try:
        os.close(side)
        while b"] step " not in shown:
            shown += os.read(main, 4096)
        child.send_signal(signal.SIGINT)
        try:
            while piece := os.read(main, 4096):
                shown += piece
        except OSError:
            pass  # Linux: the last writer has closed its side
        assert child.wait() == 130
    finally:
        child.kill()
        child.wait()
    os.close(main)
    assert b"\r\x1b[K[" in shown and b"stopped by SIGTERM after step" in shown
    run = json.loads(dctop("runs", "show", "last", "--json").stdout)
    assert run["status"] == "stopped" and run["events"][-1]["kind"] == "end"


def test_train_detached_prints_the_id_and_runs_stop_ends_it(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    done = dctop("train", "mnist-cnn", "--detach", "--data", data, "--epochs", "100000", "--threads", "1")
    run_id = done.stdout.strip()
    assert done.returncode == 0 and (paths.runs_dir() / run_id).is_dir()
    busy = dctop("runs", "rm", "last")
    assert busy.returncode == 1 and "stop it first" in busy.stderr
    stopped = dctop("runs", "stop", run_id)
    assert stopped.returncode == 0 and stopped.stdout.startswith(f"{run_id}: stopped by SIGTERM after step ")
    again = dctop("runs", "stop", run_id)
    assert again.returncode == 1 and again.stderr == f"dctop: {run_id} has ended (stopped)\n"
    assert dctop("runs", "rm", "last").stdout == f"{run_id}: removed\n"
    assert not (paths.runs_dir() / run_id).exists()


def test_a_failed_run_is_a_failed_command(tmp_path: Path) -> None:
    data = write_idx(tmp_path / "idx")
    (data / "t10k-labels-idx1-ubyte").write_bytes(b"")
    done = dctop("train", "mnist-cnn", "--headless", "--data", str(data))
    assert done.returncode == 1
    assert done.stderr.startswith("dctop: run 20") and "expected an IDX header of 8 bytes" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("train", "mnist-cnn", "--lr", "0"), "--lr 0: must be greater than 0"),
        (
            ("train", "mnist-cnn", "--python", "/nowhere"),
            "/nowhere: no such Python; name another with --python",
        ),
        (("runs", "show"), "show which run? `dctop runs` lists them; `last` is the newest"),
        (("runs", "list", "x"), "list takes no run: dctop runs show x"),
    ],
)
def test_bad_usage_is_one_line_and_2(words: tuple[str, ...], why: str) -> None:
    done = dctop(*words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"dctop: {why}\n")


def test_a_run_is_recorded_beside_it(tmp_path: Path) -> None:
    from dctop.engine.recording.reader import open_recording

    data, file = str(write_idx(tmp_path / "idx")), tmp_path / "run.dctop"
    done = dctop(
        "train", "mnist-cnn", "--headless", "--data", data, "--epochs", "1", "--threads", "1",
        "--record", str(file),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"recorded: dctop replay {file}" in done.stderr
    with open_recording(file) as recording:
        assert recording.info.closed and recording.seq_range is not None
        (run,) = recording.runs_at_seq(recording.seq_range[1])
        assert run.status == "finished" and len(run.columns["step"]) > 0


def test_what_cannot_be_recorded_is_told_before_the_run_starts(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    for words, why in (
        (("--record", str(tmp_path / "a")), "exists"),
        (("--record", str(tmp_path / "no" / "b")), "does not exist"),
        (("--record", str(tmp_path / "b"), "--detach"), "--detach"),
    ):
        done = dctop("train", "mnist-cnn", "--headless", *words)
        assert done.returncode == 2 and why in done.stderr and done.stderr.count("\n") == 1
    assert not paths.runs_dir().exists()


def test_no_runs_say_how_to_begin() -> None:
    done = dctop("runs")
    assert (done.returncode, done.stdout) == (0, "") and "dctop train mnist-cnn" in done.stderr
    assert json.loads(dctop("runs", "--json").stdout) == []
    assert dctop("runs", "show", "last").returncode == 1


def test_runs_are_listed_and_shown() -> None:
    old_run()
    old_run("20200102-000000-mnist-cnn", 0.25)
    head, newest, older = dctop("runs").stdout.splitlines()
    assert head.split()[:3] == ["RUN", "STATUS", "STEP"]
    assert newest.split()[:2] == ["20200102-000000-mnist-cnn", "finished"] and "0.2500" in newest
    assert older.endswith("reached its last step, 3")
    shown = dctop("runs", "show", "20200101").stdout
    assert "finished: reached its last step, 3" in shown and "eval" in shown
    ambiguous = dctop("runs", "show", "2020")
    assert ambiguous.returncode == 1 and "2 runs begin so" in ambiguous.stderr


def test_json_has_no_nan() -> None:
    old_run()
    text = dctop("runs", "show", "last", "--json").stdout
    run = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert run["last"]["loss"] is None and run["eval"]["recall"] == [0.5, None]


def test_the_bar_fits_the_terminal() -> None:
    from dctop.engine.training.watcher import load_run

    run = load_run(old_run())
    assert run is not None
    for width in (1, 20, 60, 200):
        assert len(progress_bar(run, width)) < width
    assert progress_bar(run, 200).startswith("[####################] step 3/3  epoch 1/1")
    assert progress_bar(run, 50) == "[###########] step 3/3  loss nan  3,200 samples/s"
    assert (clock(5), clock(75.4), clock(3700)) == ("0:05", "1:15", "1:01:40")


def test_a_run_is_resumed_from_a_named_checkpoint(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    words = ("--headless", "--data", data, "--threads", "1", "--checkpoint-every", "8")
    assert dctop("train", "mnist-cnn", *words, "--epochs", "1", "--max-steps", "12").returncode == 0
    first = json.loads(dctop("runs", "show", "last", "--json").stdout)
    assert [c["step"] for c in first["checkpoints"]] == [8, 12]
    wrong = dctop("runs", "resume", "last", "--checkpoint", "9")
    assert (
        wrong.returncode == 2
        and "no checkpoint '9'; there are last, best and those of steps 8, 12" in wrong.stderr
    )
    done = dctop("runs", "resume", first["id"], "--checkpoint", "8", "--headless")
    assert done.returncode == 0, done.stderr
    second = json.loads(dctop("runs", "show", "last", "--json").stdout)
    assert second["step"] == 16 and second["status"] == "finished"
    resumed = next(e for e in second["events"] if e["kind"] == "note" and "resumed" in e["text"])
    assert "resumed after step 8" in resumed["text"]
    assert json.loads(dctop("runs", "rm", first["id"], "--json").stdout) == {
        "id": first["id"],
        "done": "removed",
    }


def test_drills_are_listed_with_their_size() -> None:
    done = dctop("train", "mnist-cnn", "--list-faults")
    assert done.returncode == 0
    assert any(line.startswith("  nan ") for line in done.stdout.splitlines())
    assert any(line.startswith("  lr:100 x ") for line in done.stdout.splitlines())


def test_infer_prints_a_table_and_one_document_and_1_for_findings(tmp_path: Path) -> None:
    data = str(write_idx(tmp_path / "idx"))
    trained = dctop("train", "mnist-cnn", "--headless", "--data", data, "--threads", "1", "--epochs", "2")
    assert trained.returncode == 0, trained.stderr
    quick = ("--requests", "120", "--max-batch", "2", "--threads", "1")
    done = dctop("infer", "last", *quick)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "whole request",
        "samples/s",
        "mostly taken for",
        "Test accuracy: ",
        "is the baseline from now on",
    ):
        assert part in done.stdout, part
    drill = dctop("infer", "last", *quick, "--json", "--fault", "raw-inputs")
    assert drill.returncode == 1 and drill.stderr == ""
    document = json.loads(drill.stdout, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert document["inputs"]["mismatch"] is True and round(document["inputs"]["factor"]) == 255
    assert document["findings"][0].startswith(
        "the inputs are not what the model was trained on: divide by 255"
    )
    assert {a["rule"] for a in document["alerts"] if a["severity"] == "critical"} == {"preprocess-mismatch"}
    told = dctop("infer", "last", *quick, "--fault", "train-mode")
    assert told.returncode == 1 and "WARNING  infer-train-mode" in told.stdout
    assert "1. Call model.eval() after loading" in told.stdout
    unknown = dctop("infer", "nothing")
    assert (unknown.returncode, unknown.stderr.count("\n")) == (1, 1)


def test_trouble_is_told_once_and_its_end_only_where_the_run_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = "checkpoint failed: no space left on device"
    told = RunEvent(1, 3, "checkpoint", failed, {"ok": False})
    headless = Headless("x")
    state = screen.make_run(5, events=[told], trouble=failed)
    headless._tell(state)
    state.trouble = "stopped by a signal"
    headless._tell(state)
    state.trouble = None
    headless._tell(state)
    state.trouble = "stopped by a signal"
    headless._tell(state)
    state.trouble, state.ended_wall_ns = None, 2
    headless._tell(state)
    assert capsys.readouterr().out.splitlines() == [
        failed, "stopped by a signal", "it goes on", "stopped by a signal"
    ]  # fmt: skip


def test_a_run_s_energy_is_shown_and_an_estimate_called_one() -> None:
    directory = make_run(
        paths.runs_dir(), "20200101-000000-mnist-cnn",
        event("start", "s", 0, device={"chosen": "cpu"}), *(step(i) for i in (1, 2)),
        event("end", "reached its last step, 2", 2, status="finished", exit_code=0),
        created_wall_ns=10**18 - 10**10,
    )  # fmt: skip
    shown = dctop("runs", "show", directory.name).stdout
    (line,) = [x for x in shown.splitlines() if x.startswith("energy")]
    assert "(estimate: no power counters; 1 thread at 12 W)" in line and " J = ~" in line
    document = json.loads(dctop("runs", "show", directory.name, "--json").stdout)["energy"]
    assert document["estimate"] is True and document["cpu_joules"] is None and document["cost"] is None
    counted = make_run(
        paths.runs_dir(), "20200102-000000-mnist-cnn", event("start", "s", 0, device={"chosen": "cpu"}),
        *(step(i) for i in (1, 2)),
        event("end", "reached its last step, 2", 2, status="finished", exit_code=0, cpu_j=3600.0, gpu_j=None),
        created_wall_ns=10**18 - 10**10,
    )  # fmt: skip
    document = json.loads(dctop("runs", "show", counted.name, "--json").stdout)["energy"]
    assert document["joules"] == 3600 and document["estimate"] is False
    assert document["joules_per_sample"] == pytest.approx(3600 / document_samples(counted))


def document_samples(directory: Path) -> float:
    lines = map(json.loads, (directory / "steps.jsonl").read_text().splitlines())
    return float(sum(line["samples"] for line in lines if line["kind"] == "step"))
