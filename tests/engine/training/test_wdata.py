"""Images: IDX files are read or refused with what is wrong, digits are generated where there are none."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dctop.engine.training import wdata
from tests.fakes.runs import FASHION, write_idx


def test_fashion_mnist_of_the_system_is_found_and_whole() -> None:
    assert wdata.find(None) == str(FASHION), "the package dataset-fashion-mnist is needed"
    data = wdata.load(str(FASHION), 0)
    assert data.train_images.shape == (60_000, 1, 28, 28) and data.train_images.dtype == torch.uint8
    assert data.test_images.shape == (10_000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [6000] * 10
    assert data.source == f"Fashion-MNIST ({FASHION})" and not data.synthetic
    assert data.classes[6] == "shirt"


@pytest.mark.parametrize("sub", ["", "MNIST/raw", "FashionMNIST/raw"])
def test_a_folder_is_found_as_torchvision_lays_it_out(tmp_path: Path, sub: str) -> None:
    folder = write_idx(tmp_path / sub if sub else tmp_path)
    assert wdata.find(str(tmp_path)) == str(folder)
    data = wdata.load(str(folder), 0, 100, 10)
    assert len(data.train_labels) == 100 and len(data.test_labels) == 10


def test_the_environment_names_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DCTOP_DATA", str(write_idx(tmp_path)))
    assert wdata.find(None) == str(tmp_path)


def test_gzip_and_raw_files_give_the_same(tmp_path: Path) -> None:
    raw = write_idx(tmp_path / "raw")
    packed = tmp_path / "gz"
    packed.mkdir()
    for file in raw.iterdir():
        (packed / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes()))
    a, b = wdata.load(str(raw), 0), wdata.load(str(packed), 0)
    assert torch.equal(a.train_images, b.train_images) and torch.equal(a.test_labels, b.test_labels)


def test_a_named_folder_without_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(wdata.DataError, match="no train-images-idx3-ubyte"):
        wdata.find(str(tmp_path))
    with pytest.raises(wdata.DataError, match="no such folder"):
        wdata.find(str(tmp_path / "nowhere"))


def spoil(folder: Path, name: str, data: bytes) -> str:
    (folder / name).write_bytes(data)
    with pytest.raises(wdata.DataError) as caught:
        wdata.load(str(folder), 0)
    text = str(caught.value)
    assert text.startswith(str(folder / name)) and "\n" not in text
    return text.removeprefix(f"{folder / name}: ")


def test_wrong_files_are_named_with_expected_and_found(tmp_path: Path) -> None:
    folder = write_idx(tmp_path, train=20, test=10)
    images, labels = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
    whole, names = (folder / images).read_bytes(), (folder / labels).read_bytes()
    assert spoil(folder, images, whole[:-1]) == "expected 15,696 bytes for shape (20, 28, 28), found 15,695"
    assert spoil(folder, images, whole + b"x") == "expected 15,696 bytes for shape (20, 28, 28), found 15,697"
    assert spoil(folder, images, whole[:7]) == "expected an IDX header of 16 bytes, found 7 bytes"
    assert spoil(folder, images, b"\x00\x00\x08\x01" + whole[4:]) == (
        "expected IDX magic 0x00000803, found 0x00000801"
    )
    odd = struct.pack(">IIII", 0x803, 20, 28, 14) + bytes(20 * 28 * 14)
    assert spoil(folder, images, odd) == "expected images of 28 x 28, found 28 x 14"
    (folder / images).write_bytes(whole)
    assert spoil(folder, labels, struct.pack(">II", 0x801, 19) + names[8:27]) == (
        "expected 20 labels for as many images, found 19"
    )
    assert spoil(folder, labels, names[:-1] + b"\x0a") == "expected labels 0 to 9, found 10"


def test_a_truncated_or_foreign_gzip_file_is_named(tmp_path: Path) -> None:
    folder = write_idx(tmp_path, train=20, test=10)
    name = "train-images-idx3-ubyte"
    packed = gzip.compress((folder / name).read_bytes())
    (folder / name).unlink()
    assert "truncated gzip file" in spoil(folder, f"{name}.gz", packed[: len(packed) // 2])
    assert "not a readable gzip file" in spoil(folder, f"{name}.gz", b"<html>not found</html>")


@pytest.mark.parametrize("broken", ["truncated", "swapped", "labels"])
def test_a_wrong_file_of_a_published_set_is_named_with_both_checksums(tmp_path: Path, broken: str) -> None:
    for file in FASHION.iterdir():
        (tmp_path / file.name).symlink_to(file)
    images, labels = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
    name, other, why, n = {
        "truncated": (images, images, "truncated gzip file", 0),
        "swapped": (images, "t10k-images-idx3-ubyte.gz", "expected 60,000 images for as many labels", 0),
        "labels": (labels, "t10k-labels-idx1-ubyte.gz", "expected 60,000 labels for as many images", 1),
    }[broken]  # fmt: skip
    (tmp_path / name).unlink()
    data = (FASHION / other).read_bytes()
    text = spoil(tmp_path, name, data[:100_000] if broken == "truncated" else data)
    assert (
        text.startswith(why)
        and f"expected Fashion-MNIST's SHA-256 {wdata.DIGESTS['Fashion-MNIST'][n]}" in text
    )
    found = text.split("found ")[-1].removesuffix(" (uncompressed)")
    if broken == "truncated":
        assert len(found) == 64
    else:
        assert found == hashlib.sha256(gzip.decompress(data)).hexdigest()


@given(st.binary(max_size=64), st.integers(1, 3), st.booleans())
def test_no_bytes_are_read_as_something_they_are_not(data: bytes, dimensions: int, packed: bool) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / ("x.gz" if packed else "x")
        path.write_bytes(data)
        try:
            values, shape = wdata.read_idx(str(path), dimensions)
        except wdata.DataError as error:
            assert str(error).startswith(str(path))
        else:
            size = 1
            for n in shape:
                size *= n
            assert len(values) == size


def test_generated_digits_are_the_same_every_time_and_told_apart() -> None:
    a, b, other = wdata.synthetic(3, 600, 100), wdata.synthetic(3, 600, 100), wdata.synthetic(4, 600, 100)
    assert torch.equal(a.train_images, b.train_images) and torch.equal(a.test_labels, b.test_labels)
    assert not torch.equal(a.train_images, other.train_images)
    assert not torch.equal(a.train_images[:100], a.test_images)
    assert a.synthetic and a.source == "synthetic digits (generated)"
    assert set(a.train_labels.tolist()) == set(range(10))
    means = torch.stack([a.train_images[a.train_labels == k].float().mean(0) for k in range(10)]).flatten(1)
    nearest = torch.cdist(a.test_images.float().flatten(1), means).argmin(1)
    assert (nearest == a.test_labels).float().mean() > 0.5  # ten times chance would be 1.0
