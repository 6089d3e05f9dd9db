"""What a source of labelled images is, and how it is split into training and validation.

It knows no file format; those build on it, and ``source.open_source`` chooses among them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from PIL import Image

from convatlas.data.decode import ImageHeader, printable
from convatlas.data.sampling import stratified_split
from convatlas.errors import DataError

__all__ = [
    "ImageSource",
    "Splits",
    "Subset",
    "choose_splits",
    "hold_out",
    "needed_splits",
    "split_of",
]

_SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


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

    def encoded(self, index: int) -> bytes | None:
        """Return the image's file as it is stored, or None where there are only pixels."""

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

    def encoded(self, index: int) -> bytes | None:
        """Return the stored file of an image of the source, or None."""
        return self._source.encoded(self._indices[index])

    def describe(self, index: int) -> str:
        """Return the source's words for the image."""
        return self._source.describe(self._indices[index])


def split_of(word: str) -> str | None:
    """Return ``"train"``, ``"val"`` or ``"test"`` for a common name of a split, else None."""
    return _SPLITS.get(word.strip().lower())


def needed_splits(names: Collection[str], where: str, kind: str = "splits") -> tuple[str, ...]:
    """Return which of the splits that a format declares are to train on and to judge by.

    Validation images are preferred to test images, whose labels are often withheld.

    Args:
        names: The names that the format gives its splits.
        where: The folder or file, for messages.
        kind: What the format calls its splits, in the plural.

    Returns:
        Two names, or the one from which images are yet to be held out.

    Raises:
        DataError: Several names, none of which is for training.
    """
    if len(names) == 1:
        return tuple(names)
    roles = {split_of(name) or name: name for name in reversed(list(names))}
    if "train" not in roles:
        raise DataError(
            f"expected {kind} of which one is called train in {printable(where)}, got "
            f"{printable(', '.join(names))}: rename the one to train on"
        )
    held = roles.get("val") or roles.get("test")
    return (roles["train"],) if held is None else (roles["train"], held)


def choose_splits(
    parts: Mapping[str, ImageSource], where: str, kind: str = "splits"
) -> Splits | ImageSource:
    """Return what :func:`needed_splits` names: both splits, or the one part that is to be split.

    Raises:
        DataError: No part is for training, or it lacks a class of the part to judge by.
    """
    train, *held = needed_splits(parts, where, kind)
    if not held:
        return parts[train]
    unseen = sorted({*parts[held[0]].labels} - {*parts[train].labels})
    if unseen:
        names = [parts[train].classes[number] for number in unseen[:5]]
        raise DataError(
            f"expected images of every class of {held[0]} in {train} of {printable(where)}, got "
            f"none of {printable(', '.join(names))}: add images or remove the class"
        )
    return Splits(parts[train], parts[held[0]], f"the {kind} {train} and {held[0]}")


def hold_out(source: ImageSource, seed: int, holdout: float) -> Splits:
    """Split a source so that every class gives the same share to validation.

    Raises:
        DataError: A class has a single image.
        OptionError: ``holdout`` is not between 0 and 1.
    """
    kept, held = stratified_split(source.labels, holdout, seed, source.classes)
    return Splits(
        Subset(source, kept.tolist(), f"{source.name}/train"),
        Subset(source, held.tolist(), f"{source.name}/held-out"),
        f"{100 * holdout:g} % of every class held out with seed {seed}",
    )
