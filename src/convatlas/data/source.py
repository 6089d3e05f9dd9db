"""Where labelled images come from, and how they are split into training and validation.

A source gives decoded images one by one; it knows nothing of sizes that a network wants.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from PIL import Image

from convatlas.data.decode import ImageHeader, printable
from convatlas.data.digits import Digits
from convatlas.data.folder import ImageFolder, subfolders
from convatlas.data.sampling import stratified_split
from convatlas.errors import DataError, nearest

__all__ = ["ImageSource", "Splits", "Subset", "open_source"]

_TRAIN = "train"
_VALIDATION = ("val", "valid", "validation", "test")


class ImageSource(Protocol):
    """Labelled images that can be asked for one by one, in any order, from any thread."""

    @property
    def name(self) -> str:
        """What to call the source."""

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names; a label is a place in this tuple."""

    @property
    def labels(self) -> tuple[int, ...]:
        """Class number of every image."""

    def __len__(self) -> int: ...

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return an image, upright, in mode ``"L"`` or ``"RGB"``.

        With ``at_least`` it may come smaller, neither side below that many pixels.
        """

    def header(self, index: int) -> ImageHeader:
        """Return size and channels of an image without decoding it."""

    def describe(self, index: int) -> str:
        """Return words by which a person finds the image: a relative path, ``"digit 17"``."""


@dataclass(frozen=True, slots=True)
class Splits:
    """Images to train on and images to judge by.

    Attributes:
        train: The training images.
        validation: The validation images; same classes.
        origin: How the two came about, in words.
    """

    train: ImageSource
    validation: ImageSource
    origin: str


class Subset:
    """Some images of a source, in a given order; the classes stay all of them."""

    def __init__(self, source: ImageSource, indices: Sequence[int], name: str = "") -> None:
        self.name = name or source.name
        self.classes = source.classes
        self._source = source
        self._indices = tuple(int(index) for index in indices)
        self.labels: tuple[int, ...] = tuple(source.labels[index] for index in self._indices)

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return an image of the source."""
        return self._source.load(self._indices[index], at_least)

    def header(self, index: int) -> ImageHeader:
        """Return size and channels of an image of the source."""
        return self._source.header(self._indices[index])

    def describe(self, index: int) -> str:
        """Return the source's words for the image."""
        return self._source.describe(self._indices[index])


def open_source(spec: str | Path, *, seed: int = 0, holdout: float = 0.2) -> Splits:
    """Open the images behind ``spec``, split into training and validation.

    Args:
        spec: ``"digits"``, a folder with one folder per class, or a folder that holds such
            folders as ``train`` and ``val`` (or ``valid``, ``validation``, ``test``).
        seed: Decides which images are held out where no validation folder exists.
        holdout: Share of each class that is held out then.

    Raises:
        DataError: Nothing usable there, or other classes in validation than in training.
        OptionError: ``holdout`` is not between 0 and 1.
    """
    if spec == "digits":
        return _held_out(Digits(), seed, holdout)
    root = Path(spec).expanduser()
    if spec == "" or not root.exists():
        raise DataError(
            f"expected a folder of images or 'digits', got {printable(spec)!r}: there is no such "
            f"folder{nearest(str(spec), ['digits'])}"
        )
    named = {folder.name.lower(): folder for folder in subfolders(root)}
    validation = next((named[name] for name in _VALIDATION if name in named), None)
    if _TRAIN in named and validation is not None:
        return _in_folders(root, named[_TRAIN], validation)
    if list(named) == [_TRAIN]:
        return _held_out(ImageFolder(named[_TRAIN]), seed, holdout)
    return _held_out(ImageFolder(root), seed, holdout)


def _in_folders(root: Path, train: Path, validation: Path) -> Splits:
    name = printable(root.resolve().name)
    seen = ImageFolder(train, name=f"{name}/{train.name}")
    judged = ImageFolder(validation, name=f"{name}/{validation.name}")
    odd = sorted({*seen.classes} ^ {*judged.classes})
    if odd:
        alone = [
            f"{label} only in {(train if label in seen.classes else validation).name}/"
            for label in odd
        ]
        raise DataError(
            f"expected the same classes in {train.name}/ and {validation.name}/ of "
            f"{printable(root)}, got {printable(', '.join(alone[:5]))}: add or remove the folders"
        )
    return Splits(seen, judged, f"the folders {train.name}/ and {validation.name}/")


def _held_out(source: ImageSource, seed: int, holdout: float) -> Splits:
    kept, held = stratified_split(source.labels, holdout, seed, source.classes)
    return Splits(
        Subset(source, kept.tolist(), f"{source.name}/train"),
        Subset(source, held.tolist(), f"{source.name}/held-out"),
        f"{100 * holdout:g} % of every class held out with seed {seed}",
    )
