"""Real v1 control groups for tests that run as root, made and removed again."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def mount_of(controller: str) -> Path:
    """Where a v1 hierarchy is mounted; skips with the reason where it is not or may not be written."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")
        if kind == "cgroup" and controller in options.split(","):
            point = Path(before.split(" ")[4])
            if not os.access(point, os.W_OK):
                pytest.skip(f"needs root: {point} cannot be written")
            return point
    pytest.skip(f"needs cgroup v1 with the {controller} controller; v2 is tested on file trees")


@contextmanager
def group(controller: str, **files: str) -> Iterator[Path]:
    """A new cgroup with `files` written (dots as double underscores); removed at the end."""
    path = mount_of(controller) / f"dctop-test-{uuid.uuid4().hex[:12]}"
    path.mkdir()
    try:
        for name, text in files.items():
            (path / name.replace("__", ".")).write_text(text)
        yield path
    finally:
        for child in sorted(path.rglob("*"), reverse=True):
            if child.is_dir():
                child.rmdir()
        path.rmdir()


def run_inside(groups: list[Path], code: str, check: bool = True) -> str:
    """Run Python code in a child that has moved itself into `groups`; its standard output.

    The child reads "." from standard input before `code` runs, and is over when this returns.
    """
    moves = "".join(f"open({os.fspath(g / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n" for g in groups)
    source = "import os\n" + moves + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    if check:
        assert done.returncode == 0, done.stderr
    return done.stdout
