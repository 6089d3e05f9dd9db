"""One look at every image of a source: decoded once, measured, and compared by what is kept of it.

What cannot be decoded is listed with its reason and never ends the work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decode import why_unreadable
from convatlas.data.likeness import SMALLEST_SIDE, Look, look_of
from convatlas.data.parallel import Progress, ordered_map
from convatlas.data.source import ImageSource
from convatlas.data.statistics import Extent, extent_of, moments
from convatlas.errors import DataError

__all__ = ["BadFile", "Inspection", "Print", "SplitFacts", "inspect_source", "pixel_digest"]

_HEAD = 1 << 16  # bytes of a file in which its colour profile is announced
_PROFILES = (b"ICC_PROFILE\0", b"iCCP", b"ICCP")  # in JPEG, PNG, WebP
_FORMATS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"P": "PNM",
}
_BARE = "bare pixels"


@dataclass(frozen=True, slots=True)
class BadFile:
    """An image that cannot be decoded: words by which to find it, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SplitFacts:
    """What a split holds.

    Attributes:
        name: The split's name.
        images: Number of images, readable or not.
        looked_at: Number of them that were decoded, or that it was tried with.
        per_class: Number of images of each class, in the order of the classes.
        bad: Those that cannot be decoded.
        channels: Number of channels → images stored so; 1 is grey, 3 colour.
        formats: Format → images stored in it.
        profiles: Images that carry a colour profile (ICC), which is not applied.
        height: Height of the upright images in pixels, None if none is readable.
        width: Width of the upright images in pixels.
        aspect: Smallest, median and largest width / height.
        commonest_size: The (height, width) that most images have.
        commonest_share: Share of the readable images that have it.
        mean: Mean of each channel over all pixels, on the 0…1 scale.
        std: Population standard deviation of each channel over all pixels, on the 0…1 scale.
    """

    name: str
    images: int
    looked_at: int
    per_class: Mapping[str, int]
    bad: tuple[BadFile, ...]
    channels: Mapping[int, int]
    formats: Mapping[str, int]
    profiles: int
    height: Extent | None
    width: Extent | None
    aspect: tuple[float, float, float] | None
    commonest_size: tuple[int, int] | None
    commonest_share: float | None
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Print:
    """What is kept of a readable image: its place in the source, and what it is compared by.

    Attributes:
        index: Its place in the source.
        digest: SHA-256 of its size, mode and pixels.
        look: What it looks like; None if it is too small to be recognised by that.
    """

    index: int
    digest: bytes
    look: Look | None


@dataclass(frozen=True, slots=True)
class Inspection:
    """A split's facts, and what is kept of each of its readable images, in order."""

    facts: SplitFacts
    prints: tuple[Print, ...]


@dataclass(frozen=True, slots=True)
class _Seen:
    """What one decoded image adds to the facts."""

    size: tuple[int, int]
    histogram: NDArray[np.int64]
    form: str
    has_profile: bool
    kept: Print


def inspect_source(
    source: ImageSource,
    indices: Sequence[int] | None = None,
    *,
    name: str | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Decode images of ``source`` once each, and return what they are.

    Args:
        source: The images.
        indices: Which of them; all if None.
        name: What to call the split; the source's name if None.
        progress: Called as ``progress(done, total)``.
    """
    chosen = range(len(source)) if indices is None else indices

    def look(place: int) -> _Seen | BadFile:
        return _look_at(source, chosen[place])

    tally = _Tally()
    for seen in ordered_map(look, len(chosen), progress):
        tally.add(seen)
    counts = Counter(source.labels)
    facts = SplitFacts(
        name=source.name if name is None else name,
        images=len(source),
        looked_at=len(chosen),
        per_class={each: counts[label] for label, each in enumerate(source.classes)},
        **tally.facts(),
    )
    return Inspection(facts, tuple(tally.prints))


class _Tally:
    """Adds up what the images are, so that no more than that is kept of them."""

    def __init__(self) -> None:
        self.prints: list[Print] = []
        self._bad: list[BadFile] = []
        self._sizes: list[tuple[int, int]] = []
        self._formats: Counter[str] = Counter()
        self._channels: Counter[int] = Counter()
        self._profiles = 0
        # of grey images and of colour images
        self._pixels = {depth: np.zeros((depth, 256), dtype=np.int64) for depth in (1, 3)}

    def add(self, seen: _Seen | BadFile) -> None:
        if isinstance(seen, BadFile):
            self._bad.append(seen)
            return
        depth = len(seen.histogram)
        self._pixels[depth] += seen.histogram
        self._channels[depth] += 1
        self._sizes.append(seen.size)
        self._formats[seen.form] += 1
        self._profiles += seen.has_profile
        self.prints.append(seen.kept)

    def facts(self) -> dict[str, Any]:
        mean, std = self._mean_and_std()
        return {
            "bad": tuple(self._bad),
            "channels": dict(sorted(self._channels.items())),
            "formats": dict(self._formats.most_common()),
            "profiles": self._profiles,
            "mean": mean,
            "std": std,
            **_size_facts(self._sizes),
        }

    def _mean_and_std(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return the moments; beside colour, a grey image counts in every channel."""
        if not self._sizes:
            return (), ()
        grey, colour = self._pixels[1], self._pixels[3]
        pairs = [moments(row.tolist()) for row in (grey + colour if colour.any() else grey)]
        return tuple(mean for mean, _ in pairs), tuple(std for _, std in pairs)


def pixel_digest(image: Image.Image) -> bytes:
    """Return the SHA-256 of an image's mode, size and pixels.

    Files that differ in their metadata or their lossless format alone have the same.
    """
    head = f"{image.mode} {image.width} {image.height} ".encode()
    return sha256(head + image.tobytes()).digest()


def _look_at(source: ImageSource, index: int) -> _Seen | BadFile:
    try:
        image = source.load(index)
        stored = source.encoded(index)
    except DataError as error:
        return BadFile(source.describe(index), why_unreadable(error.__cause__ or error))
    look = look_of(image) if min(image.size) >= SMALLEST_SIDE else None
    return _Seen(
        size=(image.height, image.width),
        histogram=np.array(image.histogram(), dtype=np.int64).reshape(-1, 256),
        form=_format(stored),
        has_profile=stored is not None and any(mark in stored[:_HEAD] for mark in _PROFILES),
        kept=Print(index, pixel_digest(image), look),
    )


def _format(stored: bytes | None) -> str:
    if stored is None:
        return _BARE
    return next((name for mark, name in _FORMATS.items() if stored.startswith(mark)), "other")


def _size_facts(sizes: Sequence[tuple[int, int]]) -> dict[str, Any]:
    if not sizes:
        names = ("height", "width", "aspect", "commonest_size", "commonest_share")
        return dict.fromkeys(names)
    heights, widths = zip(*sizes, strict=True)
    aspects = [width / height for height, width in sizes]
    ((commonest, count),) = Counter(sizes).most_common(1)
    return {
        "height": extent_of(heights),
        "width": extent_of(widths),
        "aspect": (min(aspects), median(aspects), max(aspects)),
        "commonest_size": commonest,
        "commonest_share": count / len(sizes),
    }
