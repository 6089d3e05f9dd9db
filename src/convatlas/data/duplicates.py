"""Images that occur more than once: inside a split, under two labels, or in two splits.

What was trained on must not be judged by, so the last is what a person has to know first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from convatlas.data.inspection import Print
from convatlas.data.likeness import alike
from convatlas.data.parallel import Progress
from convatlas.data.source import ImageSource

__all__ = ["Group", "Leak", "Likeness", "Member", "find_groups", "leaks_of"]

Likeness = Literal["same pixels", "look alike", "mirrored"]

Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Member:
    """One image of a group.

    Attributes:
        split: Name of its split.
        index: Its place in the split.
        name: Words by which to find it.
        label: Its class.
        digest: What its pixels add up to; equal pixels have equal digests.
    """

    split: str
    index: int
    name: str
    label: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are the same, or look alike, directly or through others of the group.

    Attributes:
        likeness: ``"same pixels"`` of all of them; else ``"mirrored"`` if some look alike only
            once left and right are swapped, else ``"look alike"``.
        members: Two images or more.
    """

    likeness: Likeness
    members: tuple[Member, ...]

    @property
    def crosses_splits(self) -> bool:
        """Whether the images are spread over several splits."""
        return len({member.split for member in self.members}) > 1

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that the images were given."""
        return tuple(dict.fromkeys(member.label for member in self.members))


@dataclass(frozen=True, slots=True)
class Leak:
    """How many images of one split also occur in another.

    Attributes:
        images: Images of the second split with a twin in the first.
        same_pixels: Those of them whose twin has the same pixels.
    """

    images: int
    same_pixels: int


def find_groups(
    parts: Sequence[tuple[str, ImageSource, Sequence[Print]]], progress: Progress | None = None
) -> tuple[Group, ...]:
    """Return the images that occur more than once.

    Args:
        parts: Name, source and prints of each split.
        progress: Called as ``progress(done, total)`` while looking for images that look alike.

    Returns:
        The groups: first those across splits, then those under several labels, then the rest.
    """
    prints = list(chain.from_iterable(kept for _, _, kept in parts))
    if not prints:
        return ()
    members = [
        Member(
            name,
            p.index,
            source.describe(p.index),
            source.classes[source.labels[p.index]],
            p.digest,
        )
        for name, source, kept in parts
        for p in kept
    ]
    digests = np.array([p.digest for p in prints], dtype="S32")
    same = _same_pixels(digests)
    # Of images with the same pixels one is enough to find what looks like them.
    candidates = [i for i in np.unique(same).tolist() if prints[i].look is not None]
    looks = [look for i in candidates if (look := prints[i].look) is not None]
    places = np.array(candidates, dtype=np.int64)
    plain, mirrored = (places[pairs] for pairs in alike(looks, progress))
    labels = _joined(same, np.concatenate([plain, mirrored]))
    upright = _joined(same, plain)
    groups = [_group(members, same, upright, each) for each in _gathered(labels)]
    return tuple(sorted(groups, key=lambda g: (not g.crosses_splits, len(g.labels) < 2)))


def leaks_of(groups: Sequence[Group], seen: str, judged: str) -> Leak:
    """Return how many images of the split ``judged`` also occur in the split ``seen``."""
    images = same = 0
    for group in groups:
        digests = {member.digest for member in group.members if member.split == seen}
        if not digests:
            continue
        found = [member for member in group.members if member.split == judged]
        images += len(found)
        same += sum(member.digest in digests for member in found)
    return Leak(images, same)


def _same_pixels(digests: NDArray[np.bytes_]) -> Labels:
    """Return for each image the first one with the same pixels."""
    _, first, place = np.unique(digests, return_index=True, return_inverse=True)
    return np.asarray(first[place.ravel()], dtype=np.int64)


def _joined(labels: Labels, pairs: Labels) -> Labels:
    """Return for each image the first one that it is connected with.

    Args:
        labels: For each image the first one of its group, (images,).
        pairs: Images that belong together, (pairs, 2).
    """
    left, right = pairs.T
    while True:
        merged = labels.copy()
        lower = np.minimum(labels[left], labels[right])
        for side in (left, right):
            np.minimum.at(merged, labels[side], lower)
        merged = merged[merged][labels]
        if np.array_equal(merged, labels):
            return labels
        labels = merged


def _gathered(labels: Labels) -> list[list[int]]:
    """Return the images of each group that has two or more, in order."""
    order = np.argsort(labels, kind="stable")
    _, starts = np.unique(labels[order], return_index=True)
    return sorted(part.tolist() for part in np.split(order, starts[1:]) if len(part) > 1)


def _group(members: list[Member], same: Labels, upright: Labels, places: list[int]) -> Group:
    if len(set(same[places].tolist())) == 1:
        likeness: Likeness = "same pixels"
    else:
        likeness = "look alike" if len(set(upright[places].tolist())) == 1 else "mirrored"
    return Group(likeness, tuple(members[place] for place in places))
