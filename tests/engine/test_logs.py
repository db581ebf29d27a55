"""The log file: private, bounded, and no reason to fail."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from dctop.engine import logs


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    logger = logging.getLogger("dctop")
    handlers, propagate = list(logger.handlers), logger.propagate
    yield
    logger.handlers[:] = handlers
    logger.propagate = propagate


def test_nothing_is_created_before_the_first_record(tmp_path: Path) -> None:
    logs.setup(tmp_path / "a/log")
    assert not (tmp_path / "a").exists()
    logging.getLogger("dctop.x").warning("hello %s", "there")
    assert "WARNING" in (tmp_path / "a/log").read_text()
    assert (tmp_path / "a/log").read_text().endswith("dctop.x: hello there\n")
    assert (tmp_path / "a/log").stat().st_mode & 0o777 == 0o600


def test_two_files_bound_the_size(tmp_path: Path) -> None:
    handler = logs.LogFile(tmp_path / "log", max_bytes=2000)
    logger = logging.Logger("x")
    logger.addHandler(handler)
    for i in range(200):
        logger.info("line %d %s", i, "x" * 50)
    sizes = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    assert set(sizes) <= {"log", "log.1"}
    assert max(sizes.values()) < 2200
    kept = "".join((tmp_path / n).read_text() for n in ("log.1", "log") if n in sizes)
    assert "line 199 " in kept


def test_two_programs_share_a_file_across_rotation(tmp_path: Path) -> None:
    a, b = (logs.LogFile(tmp_path / "log", max_bytes=300) for _ in range(2))
    for i in range(10):
        for handler in (a, b):
            handler.handle(logging.LogRecord("x", 20, "", 0, "%d", (i,), None))
    assert a.problem is None and b.problem is None
    assert (tmp_path / "log.1").exists()


def test_an_unwritable_place_keeps_the_lines_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    handler = logs.setup(tmp_path / "file" / "log")
    logging.getLogger("dctop").error("kept")
    assert handler.lines[-1].endswith("kept")
    assert handler.problem is not None and "Not a directory" in handler.problem


def test_a_full_device_is_no_exception(tmp_path: Path) -> None:
    handler = logs.LogFile(Path("/dev/full"))
    handler.handle(logging.LogRecord("x", 20, "", 0, "text", (), None))
    assert handler.problem is not None and "No space left" in handler.problem


def test_a_wrong_log_call_is_no_exception(tmp_path: Path) -> None:
    handler = logs.LogFile(tmp_path / "log")
    handler.handle(logging.LogRecord("x", 20, "", 0, "%d %d", ("only one",), None))
    assert "cannot be formatted" in handler.lines[-1]
