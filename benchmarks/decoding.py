"""How fast training images are decoded and cropped, next to torchvision's pipeline for Pillow.

It needs the environment of the oracles, which alone has torchvision (docs/oracles.md):

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python benchmarks/decoding.py

or ``make bench-decoding``. Both read the same JPEGs from disk, decode them, take a random crop of
224×224 pixels, mirror half of them, normalise them and stack a batch; in one process, in turns.
The process is tied to one core, and its time is the processor's. The photos are scikit-image's and
scikit-learn's at 500×375 pixels, or those of a folder. [--images FOLDER] [--turns N] [--batch N]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from importlib import import_module
from itertools import count
from pathlib import Path

import numpy as np
import torch
from foreign import library_version
from operator_schemas import declare_operator_schemas
from PIL import Image
from torch import Tensor

from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import TrainBatches
from convatlas.data.preprocess import IMAGENET
from convatlas.data.sources.folder import ImageFolder
from convatlas.data.views import DecodedViews
from turns import HEADERS, compare

WIDTH, HEIGHT = 500, 375
COPIES = 16  # of each photo, each cut a little differently
AUGMENTATION = Augmentation(crop_scale=(0.08, 1.0), flip=True)


def photos(folder: Path) -> None:
    """Write 500×375 JPEGs, in two classes."""
    from skimage import data
    from sklearn.datasets import load_sample_images

    arrays = [data.chelsea(), data.astronaut(), data.coffee(), *load_sample_images().images]
    for number, array in enumerate(arrays):
        image = Image.fromarray(array)
        for copy in range(COPIES):
            box = (copy, copy, image.width - copy, image.height - copy)
            path = folder / "ab"[copy % 2] / f"{number}-{copy}.jpg"
            path.parent.mkdir(exist_ok=True)
            image.resize((WIDTH, HEIGHT), box=box).save(path, quality=90)


def ours(folder: Path, batch: int) -> Callable[[], Tensor]:
    """Return what makes our next batch, of another epoch each time."""
    source = ImageFolder(folder)
    views = DecodedViews(source, IMAGENET)
    batches = TrainBatches(views, source.labels, IMAGENET, AUGMENTATION, batch, seed=0)
    epochs = count()
    return lambda: batches.batch(next(epochs), 0).images


def theirs(folder: Path, batch: int) -> Callable[[], Tensor]:
    """Return what makes torchvision's next batch."""
    declare_operator_schemas()
    transforms = import_module("torchvision.transforms")
    steps = [
        transforms.RandomResizedCrop(224),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET.mean, IMAGENET.std),
    ]
    datasets = import_module("torchvision.datasets")
    images = datasets.ImageFolder(str(folder), transforms.Compose(steps))
    chance = np.random.default_rng(0)

    def make() -> Tensor:
        places = chance.permutation(len(images))[:batch]
        return torch.stack([images[int(place)][0] for place in places])

    return make


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=Path, help="a folder with one folder per class")
    parser.add_argument("--turns", type=int, default=30, help="pairs of batches")
    parser.add_argument("--batch", type=int, default=32, help="images per batch")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # ours would use a thread per core
    torch.manual_seed(0)
    libraries = ("torch", "torchvision", "pillow", "simplejpeg")
    print(", ".join(f"{name} {library_version(name)}" for name in libraries))
    with tempfile.TemporaryDirectory() as name:
        folder = arguments.images or Path(name)
        if arguments.images is None:
            photos(folder)
        comparison = compare(
            ours(folder, arguments.batch), theirs(folder, arguments.batch), arguments.turns
        )
    print(f"{'':<18}{HEADERS}")
    print(f"{f'{arguments.batch} images':<18}{comparison.cells()}")
    for who, milliseconds in (("ours", comparison.ours_ms), ("theirs", comparison.theirs_ms)):
        print(f"{who:<8}{1000 * arguments.batch / milliseconds:>6.0f} images/s")
    print(f"ours is {1 / comparison.ratio:.2f}× as fast")


if __name__ == "__main__":
    main()
