"""Downloads: with progress, checked, all or nothing; a wrong or broken one is named in one line."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.runs import find, kinds, start, wait_end, write_idx
from tests.fakes.worker import module

wfetch, wdata = module("wfetch"), module("wdata")


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: Any) -> None:
        pass


class Cut(Quiet):
    """Promises the whole file and sends half of it."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2])


@pytest.fixture
def site(tmp_path: Path) -> Path:
    folder = tmp_path / "site" / "fashion-mnist"
    raw = write_idx(tmp_path / "raw", train=64, test=16)
    folder.mkdir(parents=True)
    for file in raw.iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    return folder


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Any]:
    servers = []

    def begin(handler: type = Quiet) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(tmp_path / "site")))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield begin
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))


def origin(site: Path, url: str) -> Any:
    digests = {f.name: hashlib.md5(f.read_bytes()).hexdigest() for f in sorted(site.iterdir())}
    return wfetch.Origin(f"{url}/fashion-mnist/", digests)


def fetch(known: Any, told: list[Any] | None = None) -> str:
    told = told if told is not None else []
    return str(wfetch.fetch("fashion-mnist", lambda *what: told.append(what), lambda: False, known))


def test_four_files_come_with_progress_and_are_found_afterwards(
    site: Path, serve: Any, tmp_path: Path
) -> None:
    told: list[Any] = []
    folder = fetch(origin(site, serve()), told)
    assert sorted(p.name for p in Path(folder).iterdir()) == sorted(p.name for p in site.iterdir())
    for file in site.iterdir():
        last = [t for t in told if t[0] == file.name][-1]
        assert last[1:] == (file.stat().st_size, file.stat().st_size)
    assert folder in wdata.candidates()
    again: list[Any] = []
    assert fetch(origin(site, "http://127.0.0.1:9"), again) == folder and again == []  # whole: no request


def test_a_wrong_file_is_named_with_both_checksums_and_not_kept(site: Path, serve: Any) -> None:
    known = origin(site, serve())
    victim = site / "t10k-labels-idx1-ubyte.gz"
    want = known.digests[victim.name]
    victim.write_bytes(b"<html>blocked</html>")
    found = hashlib.md5(victim.read_bytes()).hexdigest()
    with pytest.raises(wdata.DataError, match=f"{victim.name}: expected MD5 {want}, found {found}"):
        fetch(known)
    assert not list(Path(wfetch.folder("fashion-mnist")).glob("t10k-labels*"))


def test_a_connection_that_breaks_is_named_with_bytes(site: Path, serve: Any) -> None:
    with pytest.raises(wdata.DataError, match=r"expected [\d,]+ bytes, found [\d,]+: the connection broke"):
        fetch(origin(site, serve(Cut)))
    assert list(Path(wfetch.folder("fashion-mnist")).iterdir()) == []


@pytest.mark.parametrize(
    ("url", "why"), [("http://127.0.0.1:9", "Connection refused"), (None, "the server answers 404")]
)
def test_no_server_and_no_file_are_told_with_what_to_do(
    site: Path, serve: Any, url: str | None, why: str
) -> None:
    known = origin(site, url or serve() + "/elsewhere")
    with pytest.raises(wdata.DataError, match=why) as caught:
        fetch(known)
    assert "--data" in str(caught.value) and "\n" not in str(caught.value)


def test_a_stop_ends_a_download(site: Path, serve: Any) -> None:
    with pytest.raises(wdata.DataError, match="the download was stopped at 0 bytes"):
        wfetch.fetch("fashion-mnist", lambda *_: None, lambda: True, origin(site, serve()))


def test_a_run_that_cannot_download_says_why(site: Path, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published checksums are not those of our small files: the first is refused, after its progress."""
    monkeypatch.setenv(wfetch.MIRROR, serve())
    state = wait_end(start(download="mnist", max_steps=1))
    assert state.status == "failed" and "the server answers 404" in str(state.reason)
    state = wait_end(start(download="fashion-mnist", synthetic=True, max_steps=1))
    assert state.status == "failed" and "expected MD5 8d4fb7e6c68d591d4c3dfef9ec88bf0d" in str(state.reason)
    assert "progress" in kinds(state) and find(state, "progress").data["done_bytes"] > 0


def test_one_wrong_file_among_published_ones_is_named(tmp_path: Path) -> None:
    from tests.fakes.runs import FASHION

    for file in FASHION.glob("*.gz"):
        (tmp_path / file.name).symlink_to(file)
    wrong = tmp_path / "t10k-labels-idx1-ubyte.gz"
    data = bytearray(gzip.decompress(wrong.read_bytes()))
    wrong.unlink()
    data[-1] = (data[-1] + 1) % 10
    wrong.write_bytes(gzip.compress(bytes(data), 1))
    with pytest.raises(wdata.DataError) as caught:
        wdata.load(str(tmp_path), 0)
    want, found = wdata.DIGESTS["Fashion-MNIST"][3], hashlib.sha256(data).hexdigest()
    assert str(caught.value) == (
        f"{wrong}: not the file of Fashion-MNIST that the others are: expected SHA-256 {want}, found {found}"
    )
