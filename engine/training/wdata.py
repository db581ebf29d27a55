"""The images: IDX files (MNIST, Fashion-MNIST, anything of their shape) or generated digits.

Worker side; finding and reading need no torch (the launcher uses `find` as well). Images stay uint8 in
memory (60,000 x 784 is 47 MB; as float64, as the handbook's `images / 255.0` makes them, 376 MB) and are
scaled a batch at a time.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch

SIDE = 28
CLASSES = 10
SUBFOLDERS = ("", "FashionMNIST/raw", "MNIST/raw", "raw", "fashion-mnist", "mnist")
PARTS = (
    ("train-images", "idx3"), ("train-labels", "idx1"), ("t10k-images", "idx3"), ("t10k-labels", "idx1")
)  # fmt: skip
FASHION = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
DIGITS = tuple("0123456789")
_FIRST_LABELS = {
    "MNIST": bytes((5, 0, 4, 1, 9, 2, 1, 3, 1, 4)),
    "Fashion-MNIST": bytes((9, 0, 0, 3, 0, 2, 7, 2, 5, 5)),
}
DIGESTS = {
    "MNIST": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "Fashion-MNIST": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
"""SHA-256 of the published files, uncompressed, in the order of PARTS."""
_PUBLISHED = ((60_000, SIDE, SIDE), (60_000,), (10_000, SIDE, SIDE), (10_000,))
HINT = "install dataset-fashion-mnist (Debian, Ubuntu), or name a folder of IDX files by --data"


class DataError(Exception):
    """One line: which file, what was expected, what was found."""


class Dataset(NamedTuple):
    """Images uint8 (N, 1, 28, 28), labels int64 (N)."""

    train_images: torch.Tensor
    train_labels: torch.Tensor
    test_images: torch.Tensor
    test_labels: torch.Tensor
    source: str
    synthetic: bool
    classes: tuple[str, ...]


def files_in(folder: str) -> list[str] | None:
    """The four IDX files of a folder (raw or .gz; `-idx3-ubyte` or `.idx3-ubyte`), or None."""
    found = []
    for part, kind in PARTS:
        names = (f"{part}-{kind}-ubyte", f"{part}.{kind}-ubyte")
        paths = [os.path.join(folder, name + end) for name in names for end in ("", ".gz")]
        path = next((p for p in paths if os.path.isfile(p)), None)
        if path is None:
            return None
        found.append(path)
    return found


def downloads(environ: Mapping[str, str] | None = None, home: str | None = None) -> str:
    """Where downloaded sets are kept: $XDG_DATA_HOME/dctop/datasets."""
    env = os.environ if environ is None else environ
    base = os.path.expanduser("~") if home is None else home
    return os.path.join(env.get("XDG_DATA_HOME") or os.path.join(base, ".local/share"), "dctop/datasets")


def candidates(environ: Mapping[str, str] | None = None, home: str | None = None) -> list[str]:
    """Folders to look in without --data: $DCTOP_DATA, torchvision's, downloads, Debian's packages."""
    env = os.environ if environ is None else environ
    base = os.path.expanduser("~") if home is None else home
    roots = [env["DCTOP_DATA"]] if env.get("DCTOP_DATA") else []
    roots += [os.path.abspath("data"), os.path.join(base, "data"), os.path.join(base, "datasets")]
    roots += [os.path.join(downloads(env, base), name) for name in ("fashion-mnist", "mnist")]
    roots += ["/usr/share/datasets/fashion-mnist", "/usr/share/datasets/mnist", "/usr/share/datasets"]
    return roots


def find(data: str | None) -> str | None:
    """The folder with the four files. None: nowhere (and `data` was not given): digits are generated.

    Raises DataError if `data` (or $DCTOP_DATA) names a place without them.
    """
    named = data or os.environ.get("DCTOP_DATA")
    for root in [named] if named else candidates():
        for sub in SUBFOLDERS:
            folder = os.path.join(root, sub) if sub else root
            if files_in(folder):
                return os.path.abspath(folder)
    if named:
        what = (
            "no such folder" if not os.path.isdir(named) else "no train-images-idx3-ubyte[.gz] and the others"
        )
        raise DataError(
            f"{named}: {what} in it; {HINT}" if os.path.isdir(named) else f"{named}: {what}; {HINT}"
        )
    return None


def read_idx(path: str, dimensions: int) -> tuple[bytearray, tuple[int, ...]]:
    """The bytes and shape of an IDX file of unsigned bytes. Raises DataError naming what is wrong."""
    try:
        with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as source:
            raw = bytearray(source.read())
    except EOFError:
        raise DataError(f"{path}: truncated gzip file ({os.path.getsize(path):,} bytes)") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: not a readable gzip file ({error})") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None
    header = 4 + 4 * dimensions
    if len(raw) < header:
        raise DataError(f"{path}: expected an IDX header of {header} bytes, found {len(raw)} bytes")
    magic = struct.unpack_from(">I", raw)[0]
    if magic != 0x0800 + dimensions:
        raise DataError(f"{path}: expected IDX magic 0x{0x0800 + dimensions:08x}, found 0x{magic:08x}")
    shape = struct.unpack_from(f">{dimensions}I", raw, 4)
    size = 1
    for n in shape:
        size *= n
    if len(raw) != header + size:
        raise DataError(f"{path}: expected {header + size:,} bytes for shape {shape}, found {len(raw):,}")
    del raw[:header]
    return raw, shape


class _Read(NamedTuple):
    path: str
    raw: bytearray
    shape: tuple[int, ...]

    def digest(self) -> str:
        """SHA-256 of the uncompressed file: its header follows from the shape."""
        head = struct.pack(f">{1 + len(self.shape)}I", 0x0800 + len(self.shape), *self.shape)
        seen = hashlib.sha256(head)
        seen.update(self.raw)
        return seen.hexdigest()


def _read(path: str, dimensions: int) -> _Read:
    return _Read(path, *read_idx(path, dimensions))


def published(files: Sequence[_Read]) -> str | None:
    """Name of the published set these four files are, None for somebody's own. Raises DataError: some are
    files of a published set and another of the same size is not."""
    found = [f.digest() if f.shape == shape else None for f, shape in zip(files, _PUBLISHED)]
    for name, digests in DIGESTS.items():
        if not any(a == b for a, b in zip(found, digests)):
            continue
        for file, have, want in zip(files, found, digests):
            if have is not None and have != want:
                raise DataError(
                    f"{file.path}: not the file of {name} that the others are: expected SHA-256 {want}, "
                    f"found {have}"
                )
        return name
    return None


def _set_of(paths: Sequence[str], but: int) -> str | None:
    """The published set that all files but one are of."""
    found = []
    for i, path in enumerate(paths):
        if i != but:
            try:
                found.append((i, _read(path, len(_PUBLISHED[i])).digest()))
            except DataError:
                return None
    fits = (name for name, own in DIGESTS.items() if all(own[i] == digest for i, digest in found))
    return next(fits, None)


def _sum_of(path: str) -> str:
    """SHA-256 of a file's contents, of a broken archive as far as it can be read."""
    seen = hashlib.sha256()
    try:
        with gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb") as source:
            while piece := source.read(1 << 16):
                seen.update(piece)
    except (OSError, EOFError, zlib.error):
        pass
    return seen.hexdigest()


def _told(paths: Sequence[str], at: int, error: DataError) -> DataError:
    """The error with both checksums, where the other files say which set the wrong one should be of."""
    name = _set_of(paths, at)
    if name is None:
        return error
    want = DIGESTS[name][at]
    return DataError(f"{error}; expected {name}'s SHA-256 {want}, found {_sum_of(paths[at])} (uncompressed)")


def _read_all(paths: Sequence[str]) -> list[_Read]:
    """Raises DataError about the file that is wrong: of two that do not fit, the one not published."""
    files = []
    for i, path in enumerate(paths):
        try:
            files.append(_read(path, len(_PUBLISHED[i])))
        except DataError as error:
            raise _told(paths, i, error) from None
    for i in (0, 2):
        images, labels = files[i], files[i + 1]
        (many, *_), (count,) = images.shape, labels.shape
        if many != count:
            text = f"{images.path}: expected {count:,} images for as many labels, found {many:,}"
            if _set_of(paths, i) is not None:
                raise _told(paths, i, DataError(text))
            text = f"{labels.path}: expected {many:,} labels for as many images, found {count:,}"
            raise _told(paths, i + 1, DataError(text))
    return files


def identify(folder: str) -> str | None:
    """Name of the set in a folder, by its first labels; None: neither MNIST nor Fashion-MNIST."""
    paths = files_in(folder)
    if paths is None:
        return None
    first = bytes(read_idx(paths[1], 1)[0][:10])
    return next((name for name, labels in _FIRST_LABELS.items() if labels == first), None)


def _split(images: _Read, labels: _Read, limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch

    shape, (count,) = images.shape, labels.shape
    if shape[1:] != (SIDE, SIDE):
        raise DataError(f"{images.path}: expected images of 28 x 28, found {shape[1]} x {shape[2]}")
    if not count:
        raise DataError(f"{images.path}: expected images, found none")
    if max(labels.raw) >= CLASSES:
        raise DataError(f"{labels.path}: expected labels 0 to 9, found {max(labels.raw)}")
    x = torch.frombuffer(images.raw, dtype=torch.uint8).view(-1, 1, SIDE, SIDE)
    y = torch.frombuffer(labels.raw, dtype=torch.uint8).long()
    if limit:
        x, y = x[:limit].clone(), y[:limit].clone()
    return x, y


def load(folder: str | None, seed: int, train_samples: int = 0, test_samples: int = 0) -> Dataset:
    """The data set of a folder as `find` returned it, or generated digits where that was None.
    `train_samples`, `test_samples`: only so many, from the beginning (0 = all)."""
    if folder is None:
        return synthetic(seed, train_samples or 60_000, test_samples or 10_000)
    paths = files_in(folder)
    if paths is None:
        raise DataError(f"{folder}: the IDX files are gone; {HINT}")
    files = _read_all(paths)
    name = published(files)
    if name is None:
        first = bytes(files[1].raw[:10])
        name = next((n for n, labels in _FIRST_LABELS.items() if labels == first), "IDX images")
    train_x, train_y = _split(files[0], files[1], train_samples)
    test_x, test_y = _split(files[2], files[3], test_samples)
    classes = FASHION if name == "Fashion-MNIST" else DIGITS
    return Dataset(train_x, train_y, test_x, test_y, f"{name} ({folder})", False, classes)


# Digits on a grid of 5 x 7, one row a number of five bits.
_GLYPHS = (
    (14, 17, 19, 21, 25, 17, 14), (4, 12, 4, 4, 4, 4, 14), (14, 17, 1, 2, 4, 8, 31), (31, 2, 4, 2, 1, 17, 14),
    (2, 6, 10, 18, 31, 2, 2), (31, 16, 30, 1, 1, 17, 14), (6, 8, 16, 30, 17, 17, 14), (31, 1, 2, 4, 8, 8, 8),
    (14, 17, 17, 14, 17, 17, 14), (14, 17, 17, 15, 1, 2, 12),
)  # fmt: skip


def glyph(rows: Sequence[int]) -> list[list[int]]:
    return [[(row >> (4 - column)) & 1 for column in range(5)] for row in rows]


def synthetic(seed: int, train: int, test: int) -> Dataset:
    """Digits drawn from a 5 x 7 font, each moved, scaled, rotated, sheared and made noisy at random.
    The same seed and counts give the same images. They are easy: no measure of a model's worth."""
    x, y = _draw(train, seed)
    test_x, test_y = _draw(test, seed + 1_000_003)
    return Dataset(x, y, test_x, test_y, "synthetic digits (generated)", True, DIGITS)


def _draw(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    import torch
    from torch.nn import functional as f

    rng = torch.Generator().manual_seed(seed)
    font = torch.tensor([glyph(g) for g in _GLYPHS], dtype=torch.float32).view(CLASSES, 1, 7, 5)
    font = f.pad(f.interpolate(font, size=(20, 14), mode="bilinear"), (7, 7, 4, 4))
    images = torch.empty(count, 1, SIDE, SIDE, dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (count,), generator=rng)
    for start in range(0, count, 4096):
        chunk = labels[start : start + 4096]
        n = len(chunk)
        r = torch.rand(n, 6, generator=rng) * 2 - 1
        angle, zoom = r[:, 0] * 0.35, 1.0 + r[:, 1] * 0.2
        cos, sin = torch.cos(angle) * zoom, torch.sin(angle) * zoom
        theta = torch.stack([cos, -sin + r[:, 2] * 0.2, r[:, 3] * 0.25, sin, cos, r[:, 4] * 0.2], 1)
        grid = f.affine_grid(theta.view(n, 2, 3), [n, 1, SIDE, SIDE], align_corners=False)
        drawn = f.grid_sample(font[chunk], grid, align_corners=False) * (
            0.75 + 0.25 * r[:, 5].view(n, 1, 1, 1)
        )
        noisy = drawn + 0.08 * torch.randn(drawn.shape, generator=rng)
        images[start : start + n] = (noisy.clamp(0, 1) * 255).to(torch.uint8)
    return images, labels
