"""How an exception of the training becomes the last word of the run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from dctop.engine.training import worker

ENDING = """
import os, signal, sys
sys.path.insert(0, {here!r})
import worker

def raises(*_):
    raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")

def build(*_):
    signal.signal(signal.SIGCHLD, raises)
    raise ConnectionResetError(104, "Connection reset by peer")

def one_line(error, told=worker.one_line):
    os.kill(os.getpid(), signal.SIGCHLD)
    return told(error)

worker.import_torch = lambda: None
worker.build, worker.one_line = build, one_line
print(worker.train(sys.argv[1]).reason)
"""


def test_a_loader_that_dies_while_its_end_is_written_does_not_silence_it(tmp_path: Path) -> None:
    """PyTorch's handler of SIGCHLD raises wherever the main thread is."""
    script = ENDING.format(here=str(Path(worker.__file__).parent))
    told = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert told.stdout.strip() == "ConnectionResetError: [Errno 104] Connection reset by peer"
    events = [json.loads(line) for line in (tmp_path / "steps.jsonl").read_text().splitlines()]
    assert [e["kind"] for e in events][-1] == "exception"
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL  # nothing of it here
