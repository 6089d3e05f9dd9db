"""IDX files, as MNIST, Fashion-MNIST and EMNIST are distributed, gzipped or not.

A file is: two zero bytes, the type (8 = uint8), the number of dimensions, each dimension as a
big-endian uint32, then the values. Source: LeCun, Cortes and Burges, "The MNIST database of
handwritten digits", section "File formats".
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from convatlas.data.decode import printable, why_unreadable
from convatlas.data.sources.labels import class_numbers, listed_classes
from convatlas.data.sources.splits import ImageSource, Splits, choose_splits
from convatlas.data.sources.stored import PixelImages
from convatlas.errors import DataError

__all__ = ["holds_idx", "open_idx", "read_idx"]

_UINT8 = 8
_FILE = re.compile(
    r"(?P<set>.*?)(?:(?P<split>train|t10k|test)-)?(?P<kind>images|labels)"
    r"[.-]idx[13]-ubyte(?:\.gz)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Named:
    """An IDX file by the parts of its name: ``emnist-letters-``, ``train``, ``images``."""

    collection: str
    split: str
    kind: str
    path: Path


def holds_idx(spec: str) -> bool:
    """Tell a folder that holds IDX files, or such a folder and the set among them to take."""
    return bool(_wanted(*_place(spec)))


def open_idx(spec: str) -> Splits | ImageSource:
    """Open the IDX files of a folder: ``train-images-idx3-ubyte.gz`` and its relatives.

    The test files (``t10k-`` or ``test-``) are the validation images. Class names are the lines
    of ``classes.txt`` beside them, or of EMNIST's mapping, or the class numbers. EMNIST's images,
    which are stored column by column, are turned upright.

    Args:
        spec: The folder; ``folder/emnist-letters`` where it holds several sets.

    Raises:
        DataError: A file is missing, truncated or no IDX file, or the numbers do not agree.
    """
    folder, beginning = _place(spec)
    files = _wanted(folder, beginning)
    collections = sorted({file.collection for file in files})
    if len(collections) > 1:
        shown = ", ".join(f"{folder.name}/{name.rstrip('-')}" for name in collections)
        raise DataError(
            f"expected one set of IDX files in {printable(folder)}, got {len(collections)}: "
            f"pass one of {printable(shown)}"
        )
    pairs = {split: _pair(files, split, folder) for split in sorted({f.split for f in files})}
    read = {
        split: (read_idx(images), read_idx(labels)) for split, (images, labels) in pairs.items()
    }
    offset, classes = _classes(folder, collections[0], [labels for _, labels in read.values()])
    parts: dict[str, ImageSource] = {}
    for split in sorted(read, key=["train", "test", ""].index):
        pixels, labels = read[split]
        _require_agreement(pixels, labels, pairs[split])
        if collections[0].startswith("emnist"):
            pixels = pixels.transpose(0, 2, 1)
        numbers = class_numbers(
            (labels.astype(np.int64) - offset).tolist(), classes, "image {}".format
        )
        name = printable(f"{folder.resolve().name}/{split}".rstrip("/"))
        parts[split] = PixelImages(name, classes, numbers, pixels)
    return choose_splits(parts, str(folder), "IDX files")


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the values of an IDX file of uint8, in the shape that it declares.

    Raises:
        DataError: It cannot be read, is of another type, or shorter or longer than it declares.
    """
    shown = printable(path)
    try:
        content = path.read_bytes()
        if path.suffix.lower() == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"expected an IDX file in {shown}, got a file that cannot be read because "
            f"{why_unreadable(error)}: download it again"
        ) from error
    dimensions = content[3] if len(content) >= 4 else 0
    start = 4 + 4 * dimensions
    if content[:3] != bytes((0, 0, _UINT8)) or dimensions not in (1, 3) or len(content) < start:
        raise DataError(
            f"expected an IDX file of uint8 with 1 or 3 dimensions in {shown} (its first bytes are "
            f"00 00 08 01 or 00 00 08 03), got {content[:4].hex(' ') or 'an empty file'}: download "
            "it again"
        )
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    expected, got = math.prod(shape), len(content) - start
    if got != expected:
        fault = "truncated" if got < expected else "longer than it declares"
        raise DataError(
            f"expected {'×'.join(map(str, shape))} = {expected:,} bytes after the header of "
            f"{shown}, got {got:,}: the file is {fault}; download it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _place(spec: str) -> tuple[Path, str]:
    """Return the folder and how the names of the files begin that are wanted."""
    path = Path(spec).expanduser()
    return (path, "") if path.is_dir() else (path.parent, path.name.lower() + "-")


def _wanted(folder: Path, beginning: str) -> list[_Named]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _FILE.fullmatch(path.name)
        if match and path.name.lower().startswith(beginning) and path.is_file():
            split = (match["split"] or "").lower().replace("t10k", "test")
            found.append(_Named(match["set"].lower(), split, match["kind"].lower(), path))
    return found


def _pair(files: list[_Named], split: str, folder: Path) -> tuple[Path, Path]:
    """Return the files of images and of labels of a split; of twins, the one not gzipped."""
    paths = {file.kind: file.path for file in reversed(files) if file.split == split}
    for kind, other in (("images", "labels"), ("labels", "images")):
        if kind not in paths:
            raise DataError(
                f"expected a file of {kind} beside {paths[other].name} in {printable(folder)}, got "
                "none: download it too"
            )
    return paths["images"], paths["labels"]


def _classes(
    folder: Path, collection: str, labels: list[NDArray[np.uint8]]
) -> tuple[int, tuple[str, ...]]:
    """Return the smallest class number, and the class names from that one on."""
    mapping = folder / f"{collection}mapping.txt"
    if collection and mapping.is_file():
        return _mapped(mapping)
    if names := listed_classes(folder):
        return 0, names
    highest = max((int(part.max()) for part in labels if part.size), default=0)
    return 0, tuple(str(number) for number in range(max(highest, 1) + 1))


def _mapped(path: Path) -> tuple[int, tuple[str, ...]]:
    """Return the same, read from lines of a class number and the code of its character."""
    try:
        rows = [line.split() for line in path.read_text("utf-8").splitlines() if line.strip()]
        codes = {int(row[0]): chr(int(row[1])) for row in rows}
        first, names = min(codes), tuple(codes[number] for number in sorted(codes))
    except (OSError, ValueError, IndexError, OverflowError) as error:
        raise DataError(
            f"expected a class number and a character code per line in {printable(path)}, got "
            f"a file that cannot be read because {why_unreadable(error)}: download it again"
        ) from error
    return first, names


def _require_agreement(
    pixels: NDArray[np.uint8], labels: NDArray[np.uint8], paths: tuple[Path, Path]
) -> None:
    if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
        raise DataError(
            f"expected images (N, height, width) in {printable(paths[0].name)} and as many labels "
            f"(N,) in {printable(paths[1].name)}, got {pixels.shape} and {labels.shape}: the files "
            "do not belong together"
        )
    if not pixels.size:
        raise DataError(
            f"expected images in {printable(paths[0].name)}, got {pixels.shape}: download it again"
        )
