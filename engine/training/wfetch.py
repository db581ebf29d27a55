"""Downloads a data set: with progress, to a temporary name, checked, renamed. Worker side, no torch."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from dctop.engine.training import wdata
else:
    import wdata

TIMEOUT_S = 30.0
_CHUNK = 1 << 16
MIRROR = "DCTOP_MIRROR"
"""Environment: a server of one's own with `/fashion-mnist/` and `/mnist/`, for nodes without the Internet."""


class Origin(NamedTuple):
    url: str
    digests: dict[str, str]
    """MD5 of each file, as torchvision has them."""


ORIGINS = {
    "mnist": Origin(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        {
            "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
            "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
            "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
        },
    ),
    "fashion-mnist": Origin(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        {
            "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
            "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
            "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
        },
    ),
}


def folder(name: str) -> str:
    """Where a downloaded set is kept."""
    return os.path.join(wdata.downloads(), name)


def fetch(
    name: str, progress: Callable[[str, int, int | None], None], stopped: Callable[[], bool],
    origin: Origin | None = None,
) -> str:  # fmt: skip
    """The folder with all four files; what is there already and whole is not fetched again. `progress`:
    file, bytes done, bytes in all where the server says so. Raises DataError: what failed, in one line."""
    mirror = os.environ.get(MIRROR)
    known = origin or ORIGINS[name]
    base = f"{mirror.rstrip('/')}/{name}/" if mirror else known.url
    target = folder(name)
    try:
        os.makedirs(target, exist_ok=True)
        for file, digest in known.digests.items():
            path = os.path.join(target, file)
            if not (os.path.isfile(path) and _digest(path) == digest):
                _one(base + file, path, digest, progress, stopped)
    except OSError as error:
        raise wdata.DataError(f"{error.filename or target}: {error.strerror or error}") from None
    return target


def _one(
    url: str, path: str, digest: str, progress: Callable[[str, int, int | None], None],
    stopped: Callable[[], bool],
) -> None:  # fmt: skip
    temporary = f"{path}.{os.getpid()}.part"
    done, seen = 0, hashlib.md5(usedforsecurity=False)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as source, open(temporary, "wb") as out:
            length = source.headers.get("Content-Length")
            total = int(length) if length and length.isdigit() else None
            while chunk := source.read(_CHUNK):
                if stopped():
                    raise wdata.DataError(f"{url}: the download was stopped at {done:,} bytes")
                out.write(chunk)
                seen.update(chunk)
                done += len(chunk)
                progress(os.path.basename(path), done, total)
            out.flush()
            os.fsync(out.fileno())
        if total is not None and done != total:
            raise wdata.DataError(f"{url}: expected {total:,} bytes, found {done:,}: the connection broke")
        if seen.hexdigest() != digest:
            raise wdata.DataError(f"{url}: expected MD5 {digest}, found {seen.hexdigest()}")
        os.replace(temporary, path)
    except urllib.error.HTTPError as error:
        raise wdata.DataError(
            f"{url}: the server answers {error.code} {error.reason}; {wdata.HINT}"
        ) from None
    except urllib.error.URLError as error:
        raise wdata.DataError(f"{url}: {error.reason}; {wdata.HINT}") from None
    except TimeoutError:
        raise wdata.DataError(f"{url}: no answer within {TIMEOUT_S:.0f} s; {wdata.HINT}") from None
    finally:
        try:
            os.unlink(temporary)
        except OSError:
            pass


def _digest(path: str) -> str:
    seen = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as source:
        while chunk := source.read(_CHUNK):
            seen.update(chunk)
    return seen.hexdigest()
