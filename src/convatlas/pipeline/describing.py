"""Describe a data set: look at every image once, compare them, and pick a few to show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from convatlas.data.description import DataReport, Picture, thumbnail
from convatlas.data.duplicates import Group, Member, find_groups, leaks_of
from convatlas.data.inspection import Inspection, Print, inspect_source
from convatlas.data.parallel import Progress
from convatlas.data.sampling import epoch_order
from convatlas.data.source import ImageSource, Splits, open_source
from convatlas.errors import DataError, OptionError

__all__ = ["describe"]

_SHEET = 240  # pictures on a contact sheet at most
_MOST_PER_CLASS = 6
_SHOWN_GROUPS, _SHOWN_MEMBERS = 12, 4

_Parts = dict[str, tuple[ImageSource, Inspection]]


def describe(
    data: str | Path,
    *,
    limit: int | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> DataReport:
    """Return what ``data`` holds, read with the splits that training would use.

    Args:
        data: What ``open_source`` opens.
        limit: Most images to decode, drawn from all splits in proportion; every one if None.
            Counts per class are of all images.
        progress: Given the name of a stage, returns a function that takes (done, total).

    Raises:
        DataError: Nothing usable there, or not one readable image.
        OptionError: ``limit`` is below 1.
    """
    if limit is not None and limit < 1:
        raise OptionError(f"expected a limit of 1 image or more, got {limit}: leave it out for all")
    splits = open_source(data)
    total = len(splits.train) + len(splits.validation)
    parts: _Parts = {}
    for name, source in _named(splits).items():
        share = None if limit is None else max(1, round(limit * len(source) / total))
        watching = progress(f"reading {name}") if progress else None
        chosen = _sample(len(source), share)
        parts[name] = source, inspect_source(source, chosen, name=name, progress=watching)
    _require_readable(splits, parts)
    prints = [(name, source, seen.prints) for name, (source, seen) in parts.items()]
    groups = find_groups(prints, progress("comparing") if progress else None)
    kept = [each for _, _, some in prints for each in some]
    return DataReport(
        name=_name(splits),
        origin=splits.origin,
        splits=tuple(seen.facts for _, seen in parts.values()),
        groups=groups,
        leak=leaks_of(groups, *parts),
        unrecognised=sum(each.look is None for each in kept),
        sheet=_sheet(parts),
        group_pictures=tuple(_pictures(parts, group) for group in groups[:_SHOWN_GROUPS]),
    )


def _name(splits: Splits) -> str:
    """Return what the names of both splits begin with: ``"pets/train"`` is one of ``"pets"``."""
    heads = [part.name.rpartition("/")[0] for part in (splits.train, splits.validation)]
    return heads[0] if heads[0] and heads[0] == heads[1] else splits.train.name


def _named(splits: Splits) -> dict[str, ImageSource]:
    """Return the splits by the last word of their names, or by what they are for."""
    sources = (splits.train, splits.validation)
    names = [source.name.rpartition("/")[2] for source in sources]
    if names[0] == names[1]:
        names = ["train", "validation"]
    return dict(zip(names, sources, strict=True))


def _sample(count: int, share: int | None) -> list[int]:
    if share is None or share >= count:
        return list(range(count))
    return sorted(epoch_order(count, seed=0, epoch=0)[:share].tolist())


def _require_readable(splits: Splits, parts: _Parts) -> None:
    bad = [each for _, seen in parts.values() for each in seen.facts.bad]
    if bad and not any(seen.prints for _, seen in parts.values()):
        raise DataError(
            f"expected readable images in {_name(splits)}, got {len(bad):,} that all cannot be "
            f"read, such as {bad[0].name} ({bad[0].reason}): replace them"
        )


def _sheet(parts: _Parts) -> dict[str, tuple[Picture, ...]]:
    """Return pictures of each class, spread evenly over its images, training images first."""
    source, seen = next(part for part in parts.values() if part[1].prints)
    split = seen.facts.name
    by_class: dict[int, list[Print]] = {}
    for each in seen.prints:
        by_class.setdefault(source.labels[each.index], []).append(each)
    room = max(1, min(_MOST_PER_CLASS, _SHEET // len(source.classes)))
    sheet = {}
    for label, found in sorted(by_class.items())[:_SHEET]:
        name = source.classes[label]
        places = np.unique(np.linspace(0, len(found) - 1, room).round().astype(int))
        members = [
            Member(split, p.index, source.describe(p.index), name, p.digest)
            for p in (found[place] for place in places)
        ]
        sheet[name] = _readable(source, members)
    return sheet


def _pictures(parts: _Parts, group: Group) -> tuple[Picture, ...]:
    """Return a few images of a group, of every split if it has several."""
    first = {member.split: member for member in reversed(group.members)}
    rest = [member for member in group.members if member not in first.values()]
    chosen = [*reversed(first.values()), *rest][:_SHOWN_MEMBERS]
    return tuple(picture for m in chosen for picture in _readable(parts[m.split][0], [m]))


def _readable(source: ImageSource, members: Sequence[Member]) -> tuple[Picture, ...]:
    """Return pictures of the images that can still be read: files may go while we look."""
    pictures = []
    for member in members:
        try:
            pictures.append(thumbnail(source, member))
        except DataError:
            continue
    return tuple(pictures)
