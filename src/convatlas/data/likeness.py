"""Which images look alike: a perceptual hash of 64 bits, and a search that finds close ones fast.

The hash is the DCT hash of Zauner, "Implementation and Benchmarking of Perceptual Image Hash
Functions", 2010, section 3.2: of the 32×32 grey image, the 64 lowest frequencies but the
constant row and column, each above or below their median. Two images look alike if their hashes
differ in at most ``MAX_DISTANCE`` bits and their 16×16 thumbnails correlate by
``MIN_CORRELATION`` at least.

Both limits were measured on the 397 JPEG photos of the hymenoptera set. None of the 78,606 pairs of
distinct photos comes closer than 14 bits, mirrored or not; the 75 pairs of 14 to 18 bits
correlate by 0.49 at most. All copies are found that were saved as JPEG of quality 75, 30 or 10,
halved, doubled, shrunk to a quarter without a filter, stretched to 224×224, made grey, brighter
by 10 or 25 %, darker by 20 %, richer in contrast by 20 % or cropped by 1 % on each side; of
those cropped by 3 % on each side, 76 %. Mirror images of quality 30 or brighter by 10 % are all
found as mirrored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.parallel import Progress

__all__ = [
    "MAX_DISTANCE",
    "MIN_CORRELATION",
    "SMALLEST_SIDE",
    "Look",
    "alike",
    "close_pairs",
    "look_of",
]

MAX_DISTANCE = 10
"""Bits by which the hashes of images that look alike differ at most."""

MIN_CORRELATION = 0.9
"""Pearson's correlation that the thumbnails of images that look alike have at least."""

SMALLEST_SIDE = 64
"""Shorter side, in pixels, below which an image is compared pixel by pixel alone.

So small an image has no detail beyond the hash's frequencies, and such sets show one centred
thing each: of the 179,700 pairs of 600 distinct digits, 202 would pass for alike.
"""

Hashes = NDArray[np.uint64]
Pairs = NDArray[np.int64]

_SIDE, _FREQUENCIES, _THUMBNAIL = 32, 8, 16
_BANDS, _BAND_BITS = 4, 16
_CHANGES = np.array(
    [sum(1 << bit for bit in bits) for n in range(3) for bits in combinations(range(16), n)],
    dtype=np.uint16,
)
"""All ways to change at most two bits of a band."""
_MOST_CANDIDATES = 1 << 22
_STEPS = (2 * np.arange(_SIDE) + 1) / (2 * _SIDE)
_COSINES = np.cos(np.pi * np.arange(1, _FREQUENCIES + 1)[:, None] * _STEPS)  # rows: frequencies
_MIRROR = np.where(np.arange(1, _FREQUENCIES + 1) % 2, -1.0, 1.0)  # odd cosines change their sign
_ONES = np.array([bin(word).count("1") for word in range(1 << 16)], dtype=np.uint8)


@dataclass(frozen=True, slots=True)
class Look:
    """What is kept of an image to compare it with others.

    Attributes:
        hash: Its perceptual hash.
        mirrored: The hash of its mirror image, left and right swapped.
        thumbnail: Grey values, uint8 (16, 16).
    """

    hash: int
    mirrored: int
    thumbnail: NDArray[np.uint8]


def look_of(image: Image.Image) -> Look:
    """Return what is kept of ``image``, whatever its size and mode."""
    grey = image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)
    pixels = np.asarray(grey, dtype=np.float64)
    spectrum = _COSINES @ pixels @ _COSINES.T
    step = _SIDE // _THUMBNAIL
    blocks = pixels.reshape(_THUMBNAIL, step, _THUMBNAIL, step).mean(axis=(1, 3))
    return Look(_bits(spectrum), _bits(spectrum * _MIRROR), np.rint(blocks).astype(np.uint8))


def alike(looks: Sequence[Look], progress: Progress | None = None) -> tuple[Pairs, Pairs]:
    """Return the pairs of images that look alike, and those that do once one is mirrored.

    Where many images share one hash, each is compared with the first of them only, so the pairs
    connect what belongs together without naming every combination.

    Args:
        looks: One per image.
        progress: Called as ``progress(done, total)`` after each part of the search.

    Returns:
        Two arrays of shape (pairs, 2), the smaller index first.
    """
    if not looks:
        return _NOTHING, _NOTHING
    hashes = np.array([look.hash for look in looks], dtype=np.uint64)
    mirrored = np.array([look.mirrored for look in looks], dtype=np.uint64)
    plain = np.stack([look.thumbnail for look in looks]).astype(np.float32)
    unique, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    same = np.stack([first[place.ravel()], np.arange(len(looks))], axis=1)
    halves = [_half(progress, half) for half in range(2)]
    near = first[close_pairs(unique, unique, progress=halves[0])]
    flipped = first[close_pairs(mirrored[first], unique, progress=halves[1])]
    shapes = _standardised(plain)
    turned = _standardised(plain[:, :, ::-1])
    return (
        _confirmed(np.concatenate([same, near]), shapes, shapes),
        _confirmed(flipped, turned, shapes),
    )


def close_pairs(
    left: Hashes,
    right: Hashes,
    distance: int = MAX_DISTANCE,
    progress: Progress | None = None,
) -> Pairs:
    """Return all (i, j) with at most ``distance`` bits between ``left[i]`` and ``right[j]``.

    The 64 bits are cut into four bands of 16. Hashes that differ in at most 11 bits differ in two
    bits at most in at least one band (Norouzi, Punjani and Fleet, "Fast exact search in Hamming
    space with multi-index hashing", 2014, arXiv 1307.2982), so only those are compared in full.

    Raises:
        ValueError: ``distance`` is 12 or more.
    """
    if not 0 <= distance < 3 * _BANDS:
        raise ValueError(f"expected a distance from 0 to {3 * _BANDS - 1}, got {distance}")
    found = [_NOTHING]
    keys, asked = (hashes.view(np.uint16).reshape(-1, _BANDS) for hashes in (right, left))
    for band in range(_BANDS):
        order = np.argsort(keys[:, band], kind="stable")
        starts = np.searchsorted(keys[order, band], np.arange((1 << _BAND_BITS) + 1))
        for change in _CHANGES:
            probe = (asked[:, band] ^ change).astype(np.int64)
            found += _compared(left, right, order, starts[probe], starts[probe + 1], distance)
        if progress is not None:
            progress(band + 1, _BANDS)
    return np.unique(np.concatenate(found), axis=0)


def _compared(
    left: Hashes, right: Hashes, order: Pairs, low: Pairs, high: Pairs, distance: int
) -> list[Pairs]:
    """Return the close ones among ``left[i]`` and ``right[order[low[i] : high[i]]]``."""
    counts = high - low
    ends = np.cumsum(counts)
    found, start = [], 0
    while start < len(left):  # a part at a time, so that memory stays bounded
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _MOST_CANDIDATES, "right")))
        part = counts[start:stop]
        i = np.repeat(np.arange(start, stop), part)
        within = np.arange(len(i)) - np.repeat(ends[start:stop] - part - before, part)
        j = order[np.repeat(low[start:stop], part) + within]
        close = _distances(left[i] ^ right[j]) <= distance
        found.append(np.stack([i[close], j[close]], axis=1).astype(np.int64))
        start = stop
    return found


def _distances(differing: Hashes) -> NDArray[np.int64]:
    """Return the number of ones in each word of 64 bits."""
    return _ONES[differing.view(np.uint16)].reshape(-1, 4).sum(axis=1, dtype=np.int64)


def _confirmed(pairs: Pairs, left: NDArray[np.float32], right: NDArray[np.float32]) -> Pairs:
    """Return the pairs of different images whose thumbnails correlate, each once."""
    pairs = np.unique(np.sort(pairs[pairs[:, 0] != pairs[:, 1]], axis=1), axis=0)
    keep = np.zeros(len(pairs), dtype=bool)
    for start in range(0, len(pairs), _MOST_CANDIDATES >> 8):
        i, j = pairs[start : start + (_MOST_CANDIDATES >> 8)].T
        correlation = np.einsum("nd,nd->n", left[i], right[j])
        keep[start : start + len(i)] = correlation >= MIN_CORRELATION
    return pairs[keep]


def _standardised(thumbnails: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return each thumbnail as a vector of mean 0 and length 1; a plain one as zeros."""
    flat = thumbnails.reshape(len(thumbnails), -1)
    centred = flat - flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(length > 0, length, 1)


def _half(progress: Progress | None, half: int) -> Progress | None:
    """Return what reports one of two equal searches to ``progress``."""
    if progress is None:
        return None
    return lambda done, total: progress(half * total + done, 2 * total)


def _bits(spectrum: NDArray[np.float64]) -> int:
    bits = np.packbits(spectrum.ravel() > np.median(spectrum))
    return int.from_bytes(bits.tobytes(), "big")


_NOTHING: Pairs = np.empty((0, 2), dtype=np.int64)
