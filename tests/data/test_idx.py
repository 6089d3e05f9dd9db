from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from convatlas.data.decode import ImageHeader
from convatlas.data.source import open_source
from convatlas.data.sources.idx import read_idx
from convatlas.errors import DataError

# Two images of 2×3 pixels, written by hand: type 8 (uint8), 3 dimensions, 2, 2, 3, the pixels.
TWO_IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003 000102030405 0a0b0c0d0e0f")
TWO_LABELS = bytes.fromhex("00000801 00000002 0100")


def idx(values: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + bytes(
        values.tobytes()
    )


def write_set(folder: Path, prefix: str = "", dot: str = "-", packed: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    for split, count in (("train", 4), ("t10k", 2)):
        labels = np.arange(count, dtype=np.uint8) % 2
        pixels = np.arange(count * 6, dtype=np.uint8).reshape(count, 2, 3)
        for kind, values in (("images", pixels), ("labels", labels)):
            path = folder / f"{prefix}{split}-{kind}{dot}idx{values.ndim}-ubyte"
            if packed:
                path.with_name(path.name + ".gz").write_bytes(gzip.compress(idx(values)))
            else:
                path.write_bytes(idx(values))
    return folder


def test_a_file_written_by_hand_is_read(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(TWO_IMAGES)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(TWO_LABELS)
    read = read_idx(tmp_path / "train-images-idx3-ubyte")
    assert read.tolist() == [[[0, 1, 2], [3, 4, 5]], [[10, 11, 12], [13, 14, 15]]]
    assert read_idx(tmp_path / "train-labels-idx1-ubyte").tolist() == [1, 0]


@pytest.mark.parametrize(
    ("prefix", "dot", "packed"),
    [("", "-", False), ("", "-", True), ("", ".", False), ("fancy-", "-", True)],
)
def test_distributed_names_are_known(tmp_path: Path, prefix: str, dot: str, packed: bool) -> None:
    splits = open_source(write_set(tmp_path / "mnist", prefix, dot, packed))
    assert splits.origin == "the IDX files train and test"
    assert (splits.train.name, splits.validation.name) == ("mnist/train", "mnist/test")
    assert (splits.train.labels, splits.validation.labels) == ((0, 1, 0, 1), (0, 1))
    assert splits.train.classes == ("0", "1")
    image = splits.train.load(2, at_least=1)
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[12, 13, 14], [15, 16, 17]]
    assert splits.train.header(0) == ImageHeader(2, 3, 1)
    assert splits.train.describe(2) == "image 2"
    assert splits.train.encoded(2) is None


def test_class_names_lie_beside(tmp_path: Path) -> None:
    write_set(tmp_path)
    (tmp_path / "classes.txt").write_text("shirt\nboot\n\n")
    assert open_source(tmp_path).train.classes == ("shirt", "boot")
    (tmp_path / "classes.txt").write_text("shirt\nshirt\n")
    with pytest.raises(DataError, match="'shirt' twice"):
        open_source(tmp_path)


def test_emnist_is_turned_upright_and_named_by_its_mapping(tmp_path: Path) -> None:
    write_set(tmp_path, "emnist-letters-")
    for split in ("train", "t10k"):  # the letters count from 1
        path = tmp_path / f"emnist-letters-{split}-labels-idx1-ubyte"
        path.write_bytes(idx(read_idx(path) + 1))
    (tmp_path / "emnist-letters-mapping.txt").write_text("1 65 97\n2 66 98\n")
    splits = open_source(tmp_path)
    assert splits.train.classes == ("A", "B")
    assert splits.train.labels == (0, 1, 0, 1)
    assert np.asarray(splits.train.load(0)).tolist() == [[0, 3], [1, 4], [2, 5]]
    write_set(tmp_path, "emnist-digits-")
    with pytest.raises(DataError, match=r"got 2: pass one of .*/emnist-digits, .*/emnist-letters"):
        open_source(tmp_path)
    assert open_source(tmp_path / "emnist-digits").train.classes == ("0", "1")


def test_train_alone_is_split(tmp_path: Path) -> None:
    write_set(tmp_path)
    for path in tmp_path.glob("t10k*"):
        path.unlink()
    assert "held out" in open_source(tmp_path).origin


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TWO_IMAGES[:-1], "expected 2×2×3 = 12 bytes .*, got 11: the file is truncated"),
        (TWO_IMAGES + b"x", "got 13: the file is longer than it declares"),
        (b"\x89PNG" + TWO_IMAGES, "got 89 50 4e 47"),
        (bytes.fromhex("00000d03"), "of uint8 .* got 00 00 0d 03"),
        (TWO_IMAGES[:10], "got 00 00 08 03"),
        (b"", "got an empty file"),
        (TWO_LABELS, r"images \(N, height, width\) .*got \(2,\)"),
        (idx(np.zeros((3, 2, 2), dtype=np.uint8)), r"got \(3, 2, 2\) and \(4,\)"),
        (idx(np.zeros((4, 0, 2), dtype=np.uint8)), r"expected images .*got \(4, 0, 2\)"),
        # 2³² × 2³¹ × 2 would be 0 in 64 bits
        (bytes.fromhex("00000803 80000000 80000000 00000004"), "18,446,744,073,709,551,616 bytes"),
    ],
)
def test_damage_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    write_set(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"1\n", b"one 65\n", b"1 1114112\n", b"\xff\xfe"])
def test_a_mapping_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    write_set(tmp_path, "emnist-digits-")
    (tmp_path / "emnist-digits-mapping.txt").write_bytes(content)
    with pytest.raises(DataError, match=r"code per line in .*emnist-digits-mapping\.txt") as caught:
        open_source(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_gzip_and_a_missing_half_are_named(tmp_path: Path) -> None:
    write_set(tmp_path, packed=True)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz.*download it again"):
        open_source(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"images beside train-labels-idx1-ubyte\.gz"):
        open_source(tmp_path)
