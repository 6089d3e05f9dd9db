from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from convatlas.data.decode import ImageHeader
from convatlas.data.source import open_source
from convatlas.errors import DataError


def record(label: bytes, red: int, green: int, blue: int, first: int) -> bytes:
    """One record byte by byte: the label, 1,024 reds, greens, blues; the first red differs."""
    return label + bytes([first] + [red] * 1023 + [green] * 1024 + [blue] * 1024)


def cifar10(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    for batch in range(1, 6):
        content = record(b"\x00", batch, 20, 30, 99) + record(b"\x01", 40 + batch, 50, 60, 98)
        (folder / f"data_batch_{batch}.bin").write_bytes(content)
    (folder / "test_batch.bin").write_bytes(record(b"\x01", 7, 8, 9, 10))
    return folder


def test_cifar_10(tmp_path: Path) -> None:
    splits = open_source(cifar10(tmp_path / "bin"))
    assert splits.origin == "the batches train and test"
    assert splits.train.name == "bin/train"
    assert splits.train.classes == ("airplane", "automobile")
    assert splits.train.labels == (0, 1) * 5
    assert splits.validation.labels == (1,)
    pixels = np.asarray(splits.train.load(5))  # the second record of batch 3
    assert pixels.shape == (32, 32, 3)
    assert pixels[0, 0].tolist() == [98, 50, 60]
    assert pixels[0, 1].tolist() == pixels[31, 31].tolist() == [43, 50, 60]
    assert splits.train.header(5) == ImageHeader(32, 32, 3)
    assert splits.train.encoded(5) is None


def test_cifar_100_has_two_kinds_of_labels(tmp_path: Path) -> None:
    (tmp_path / "fine_label_names.txt").write_text("apple\nbee\ncrab\n")
    (tmp_path / "coarse_label_names.txt").write_text("plants\nanimals\n")
    content = record(b"\x00\x00", 1, 2, 3, 4) + record(b"\x01\x02", 5, 6, 7, 8)
    for name in ("train.bin", "test.bin"):
        (tmp_path / name).write_bytes(content)
    fine = open_source(tmp_path).train
    assert (fine.classes, fine.labels) == (("apple", "bee", "crab"), (0, 2))
    assert np.asarray(fine.load(1))[0, :2].tolist() == [[8, 6, 7], [5, 6, 7]]
    coarse = open_source(f"{tmp_path}#coarse").train
    assert (coarse.classes, coarse.labels) == (("plants", "animals"), (0, 1))


def test_damage_is_named(tmp_path: Path) -> None:
    folder = cifar10(tmp_path)
    path = folder / "data_batch_4.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        DataError, match=r"records of 3,073 bytes in .*data_batch_4\.bin, got 6,145"
    ):
        open_source(folder)
    path.write_bytes(b"")
    with pytest.raises(DataError, match="got 0 bytes"):
        open_source(folder)
    path.write_bytes(b"\x07" + whole[1:])
    with pytest.raises(DataError, match=r"labels below 2, .*batches\.meta\.txt, got 7"):
        open_source(folder)
    path.write_bytes(whole)
    (folder / "batches.meta.txt").write_text("cat\ncat\n")
    with pytest.raises(DataError, match=r"batches\.meta\.txt, each once, got 'cat' twice"):
        open_source(folder)
    (folder / "batches.meta.txt").unlink()
    with pytest.raises(DataError, match=r"batches\.meta\.txt, got a file .* no such file"):
        open_source(folder)
