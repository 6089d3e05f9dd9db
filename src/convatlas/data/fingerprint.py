"""Notices that a source changed between two runs, and says in words what changed.

Names, classes and order-free counts cover every image; contents those of a sample only, so that
it takes a moment whatever the size of the source.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from heapq import nsmallest
from typing import Any

from convatlas.data.inspection import pixel_digest
from convatlas.data.source import ImageSource
from convatlas.errors import DataError

__all__ = ["DataSummary", "content_hash", "data_fingerprint", "differences", "summarise"]

_SAMPLED = 256  # images whose contents are read
_MOST_NAMES = 20_000  # of a larger source the summary keeps no names
_SHOWN = 5
_UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What a source held, small enough to be kept with a run.

    Attributes:
        name: The source's name.
        fingerprint: SHA-256 over names, classes and sampled contents; the order does not matter.
        images: Number of images.
        per_class: Class → number of its images.
        names: Name of each image → its class; empty above 20,000 images.
        contents: Name → content hash of up to 256 images.
    """

    name: str
    fingerprint: str
    images: int
    per_class: Mapping[str, int]
    names: Mapping[str, str]
    contents: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DataSummary:
        """Build the summary from :meth:`to_dict`'s values.

        Raises:
            DataError: A field is missing or unknown.
        """
        known = [field.name for field in fields(cls)]
        if sorted(values) != sorted(known):
            raise DataError(
                f"expected a summary of data with {', '.join(known)}, got "
                f"{', '.join(map(str, values)) or 'nothing'}: write it again"
            )
        return cls(**values)


def data_fingerprint(source: ImageSource) -> str:
    """Return the fingerprint of ``source``, 64 hexadecimal digits; see :func:`summarise`."""
    return summarise(source).fingerprint


def summarise(source: ImageSource) -> DataSummary:
    """Return what ``source`` holds.

    Every image's name and class counts. Contents are read of 256 images, those whose names have
    the smallest hashes, so that the choice hardly moves when images come or go. Times of files
    do not count: a copy is the same data.
    """
    named = [(source.describe(i), source.classes[label]) for i, label in enumerate(source.labels)]
    sampled = nsmallest(_SAMPLED, range(len(named)), key=lambda i: (_digest(named[i][0]), i))
    contents = {named[i][0]: content_hash(source, i) for i in sorted(sampled)}
    per_class = dict.fromkeys(source.classes, 0)
    for _, label in named:
        per_class[label] += 1
    whole = sha256()
    for part in (sorted(named), sorted(contents.items()), sorted(per_class)):
        whole.update(repr(part).encode("utf-8", "surrogateescape"))
    return DataSummary(
        name=source.name,
        fingerprint=whole.hexdigest(),
        images=len(named),
        per_class=per_class,
        names=dict(sorted(named)) if len(named) <= _MOST_NAMES else {},
        contents=contents,
    )


def content_hash(source: ImageSource, index: int) -> str:
    """Return the SHA-256 of an image as it is stored, or of its pixels where nothing is stored.

    An image that cannot be read has a word in its place: it is a fact about the data too.
    """
    try:
        stored = source.encoded(index)
        if stored is None:
            return pixel_digest(source.load(index)).hex()
    except DataError:
        return _UNREADABLE
    return sha256(stored).hexdigest()


def differences(before: DataSummary, after: DataSummary) -> list[str]:
    """Return what changed from one summary to another, a sentence each; none if nothing did."""
    if before.fingerprint == after.fingerprint:
        return []
    old, new = before.per_class, after.per_class
    found = [
        *_listed("class added", "classes added", [name for name in new if name not in old]),
        *_listed("class removed", "classes removed", [name for name in old if name not in new]),
    ]
    counts = [
        f"{n} has {new[n]:,} images (was {old[n]:,})" for n in old if old[n] != new.get(n, old[n])
    ]
    found += _listed("class changed", "classes changed", counts)
    if before.names and after.names:
        was, now = before.names, after.names
        moved = [f"{n} from {was[n]} to {now[n]}" for n in now if n in was and was[n] != now[n]]
        found += [
            *_listed("image added", "images added", [name for name in now if name not in was]),
            *_listed("image removed", "images removed", [name for name in was if name not in now]),
            *_listed("label changed", "labels changed", moved),
        ]
    common = before.contents.keys() & after.contents.keys()
    changed = [name for name in sorted(common) if before.contents[name] != after.contents[name]]
    found += _listed("image has other contents", "images have other contents", changed)
    return found or ["names or labels changed, the counts did not"]


def _listed(thing: str, things: str, names: Sequence[str]) -> list[str]:
    """Return one sentence with up to five names, or none."""
    if not names:
        return []
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    head = f"1 {thing}" if len(names) == 1 else f"{len(names):,} {things}"
    return [f"{head}: {_joined(names[:_SHOWN])}{more}"]


def _joined(names: Iterable[str]) -> str:
    return ", ".join(names)


def _digest(name: str) -> bytes:
    return sha256(name.encode("utf-8", "surrogateescape")).digest()
