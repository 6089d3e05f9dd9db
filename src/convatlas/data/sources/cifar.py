"""CIFAR-10 and CIFAR-100 in their official binary form.

A record is the label (CIFAR-100: the coarse, then the fine label), then 32×32 pixels, all reds
first, then all greens, then all blues, row by row. Source: Krizhevsky, "The CIFAR-10 dataset",
section "Binary version", cs.toronto.edu/~kriz/cifar.html.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convatlas.data.decode import printable, why_unreadable
from convatlas.data.sources.labels import read_classes
from convatlas.data.sources.splits import ImageSource, Splits, choose_splits
from convatlas.data.sources.stored import PixelImages
from convatlas.errors import DataError

__all__ = ["holds_cifar", "open_cifar"]

_SIDE = 32
_PIXEL_BYTES = 3 * _SIDE * _SIDE
_COARSE = "#coarse"


@dataclass(frozen=True, slots=True)
class _Layout:
    """One of the two data sets: its files, and where its records hold the label.

    Attributes:
        train: Pattern of the files to train on.
        test: The file to judge by.
        names: The file of class names, one per line.
        label_bytes: Bytes before the pixels.
        label: Which of them is the label.
    """

    train: str
    test: str
    names: str
    label_bytes: int
    label: int


_CIFAR10 = _Layout("data_batch_*.bin", "test_batch.bin", "batches.meta.txt", 1, 0)
_CIFAR100 = _Layout("train.bin", "test.bin", "fine_label_names.txt", 2, 1)
_CIFAR100_COARSE = _Layout("train.bin", "test.bin", "coarse_label_names.txt", 2, 0)


def holds_cifar(spec: str) -> bool:
    """Tell a folder of CIFAR-10's or CIFAR-100's binary files."""
    return _layout(spec) is not None


def open_cifar(spec: str) -> Splits | ImageSource:
    """Open a folder of binary batches; ``folder#coarse`` takes CIFAR-100's 20 superclasses.

    Raises:
        DataError: A file is missing or truncated, or holds a label without a name.
    """
    folder = Path(spec.removesuffix(_COARSE)).expanduser()
    layout = _layout(spec) or _CIFAR10
    classes = read_classes(folder / layout.names)
    parts: dict[str, ImageSource] = {}
    for split, pattern in (("train", layout.train), ("test", layout.test)):
        if paths := sorted(folder.glob(pattern)):
            records = np.concatenate([_records(path, layout, len(classes)) for path in paths])
            pixels = records[:, layout.label_bytes :].reshape(-1, 3, _SIDE, _SIDE)
            parts[split] = PixelImages(
                printable(f"{folder.resolve().name}/{split}"),
                classes,
                records[:, layout.label].tolist(),
                pixels.transpose(0, 2, 3, 1),
            )
    return choose_splits(parts, str(folder), "batches")


def _layout(spec: str) -> _Layout | None:
    folder = Path(spec.removesuffix(_COARSE)).expanduser()
    if any(folder.glob(_CIFAR10.train)):
        return _CIFAR10
    if (folder / _CIFAR100.train).is_file():
        return _CIFAR100_COARSE if spec.endswith(_COARSE) else _CIFAR100
    return None


def _records(path: Path, layout: _Layout, num_classes: int) -> NDArray[np.uint8]:
    """Return uint8 (N, label_bytes + 3,072)."""
    size = layout.label_bytes + _PIXEL_BYTES
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"expected CIFAR records in {printable(path)}, got a file that cannot be read because "
            f"{why_unreadable(error)}: unpack the archive again"
        ) from error
    if not content or len(content) % size:
        raise DataError(
            f"expected records of {size:,} bytes in {printable(path)}, got {len(content):,} bytes, "
            f"which is no multiple of it: the file is truncated; unpack the archive again"
        )
    records = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    worst = int(records[:, layout.label].max())
    if worst >= num_classes:
        raise DataError(
            f"expected labels below {num_classes}, the number of lines of {layout.names}, got "
            f"{worst} in {printable(path)}: the two do not belong together"
        )
    return records
