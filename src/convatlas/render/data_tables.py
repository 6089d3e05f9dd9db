"""What a data set holds, for the terminal and as JSON, and the sentences that matter most.

The page shows the same rows and sentences. It knows no source and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.data import to_json
from convatlas.render.units import MISSING, percent, pixels, plural, whole

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.data.description import DataReport
    from convatlas.data.duplicates import Group
    from convatlas.data.inspection import SplitFacts
    from convatlas.data.statistics import Extent

__all__ = [
    "Finding",
    "class_rows",
    "data_headline",
    "data_lists",
    "data_tables",
    "data_to_json",
    "fact_rows",
    "findings",
    "group_title",
]

_MOST_CLASSES = 40  # rows of the terminal's table
_MOST_LISTED = 10
_UNEVEN = 10.0  # largest class / smallest class from which it is worth a warning


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence about a data set; ``"bad"`` asks for action, ``"good"`` for none."""

    kind: Literal["bad", "good", "note"]
    text: str


def findings(report: DataReport) -> list[Finding]:
    """Return what a person should know first, the most important sentence on top."""
    return [*_leak(report), *_repeats(report), *_unreadable(report), *_remarks(report)]


def data_headline(report: DataReport) -> str:
    """Return name, size and origin of the splits in one sentence."""
    classes = plural(len(report.per_class), "class", "classes")
    counts = " and ".join(f"{split.images:,} in {split.name}" for split in report.splits)
    head = f"{printable(report.name)}: {plural(report.images, 'image')} in {classes}"
    return f"{head}, {counts} ({report.origin})."


def fact_rows(report: DataReport) -> list[tuple[str, list[str]]]:
    """Return a row per fact, with one cell per split."""
    splits = report.splits
    rows = [
        ("images", [whole(split.images) for split in splits]),
        ("decoded", [whole(split.looked_at - len(split.bad)) for split in splits]),
        ("unreadable", [whole(len(split.bad)) for split in splits]),
        ("height", [_extent(split.height) for split in splits]),
        ("width", [_extent(split.width) for split in splits]),
        ("width / height", [_aspect(split) for split in splits]),
        ("commonest size", [_commonest(split) for split in splits]),
        ("channels", [_counts(_channel_words(split), split) for split in splits]),
        ("formats", [_counts(split.formats, split) for split in splits]),
        ("mean (0…1)", [_moments(split.mean) for split in splits]),
        ("deviation (0…1)", [_moments(split.std) for split in splits]),
    ]
    if report.looked_at == report.images and not any(split.bad for split in splits):
        return [row for row in rows if row[0] not in ("decoded", "unreadable")]
    return rows


def class_rows(report: DataReport) -> list[tuple[str, list[int], int]]:
    """Return name, images in each split and in all, the largest class first."""
    totals = report.per_class
    rows = [
        (name, [split.per_class[name] for split in report.splits], total)
        for name, total in totals.items()
    ]
    return sorted(rows, key=lambda row: -row[2])


def data_tables(report: DataReport, width: int | None = None) -> list[Table]:
    """Return the classes and the facts as tables.

    Args:
        report: The data set.
        width: Terminal cells; those of this terminal by default.
    """
    width = width or terminal_width()
    rows = class_rows(report)
    notes = []
    if len(rows) > _MOST_CLASSES:
        half = _MOST_CLASSES // 2
        notes = [f"{len(rows) - _MOST_CLASSES:,} classes between them are left out."]
        rows = [*rows[:half], *rows[-half:]]
    names = [split.name for split in report.splits]
    classes = [Column("class", [printable(name) for name, _, _ in rows])]
    classes += [
        Column(name, [whole(counts[i]) for _, counts, _ in rows], is_number=True)
        for i, name in enumerate(names)
    ]
    shares = [percent(total / max(1, report.images)) for _, _, total in rows]
    classes.append(Column("share", shares, 0, is_number=True))
    facts = fact_rows(report)
    columns = [Column("", [label for label, _ in facts])]
    columns += [Column(n, [c[i] for _, c in facts], is_prose=True) for i, n in enumerate(names)]
    return [fitted_table(classes, width, notes=notes), fitted_table(columns, width)]


def data_lists(report: DataReport) -> Iterator[str]:
    """Yield lines that name unreadable files and repeated images, the first of each."""
    bad = [(split.name, each) for split in report.splits for each in split.bad]
    for number, (split, each) in enumerate(bad):
        if number == 0:
            yield "Cannot be decoded:"
        if number == _MOST_LISTED:
            yield f"  … and {len(bad) - number:,} more; --json lists all"
            break
        yield f"  {split}: {printable(each.name)} – {printable(each.reason)}"
    for number, group in enumerate(report.groups):
        if number == 0:
            yield "Occur more than once:"
        if number == _MOST_LISTED:
            yield f"  … and {plural(len(report.groups) - number, 'more group')}; --json lists all"
            break
        members = [f"{m.split}: {printable(m.name)}" for m in group.members[:4]]
        more = f" and {len(group.members) - 4:,} more" if len(group.members) > 4 else ""
        yield f"  {group_title(group)}: {'; '.join(members)}{more}"


def group_title(group: Group) -> str:
    """Return in a few words what a group's images have in common, and what is wrong with it."""
    faults = ["in several splits"] if group.crosses_splits else []
    faults += [f"{len(group.labels)} labels"] if len(group.labels) > 1 else []
    return ", ".join([group.likeness, *faults])


def data_to_json(report: DataReport) -> str:
    """Return everything but the pictures as JSON."""
    return to_json(
        {
            "name": report.name,
            "origin": report.origin,
            "images": report.images,
            "looked_at": report.looked_at,
            "per_class": report.per_class,
            "imbalance": report.imbalance,
            "splits": [_split_values(split) for split in report.splits],
            "leak": {
                "images": report.leak.images,
                "same_pixels": report.leak.same_pixels,
                "of": report.splits[1].name,
                "in": report.splits[0].name,
            },
            "groups": [_group_values(group) for group in report.groups],
            "compared_by_pixels_alone": report.unrecognised,
            "findings": [finding.text for finding in findings(report)],
        }
    )


def _split_values(split: SplitFacts) -> dict[str, Any]:
    return {
        "name": split.name,
        "images": split.images,
        "looked_at": split.looked_at,
        "per_class": split.per_class,
        "bad": [{"name": each.name, "reason": each.reason} for each in split.bad],
        "channels": split.channels,
        "formats": split.formats,
        "with_colour_profile": split.profiles,
        "height_px": split.height,
        "width_px": split.width,
        "width_per_height": split.aspect,
        "commonest_size_px": split.commonest_size,
        "commonest_share": split.commonest_share,
        "mean": split.mean,
        "std": split.std,
    }


def _group_values(group: Group) -> dict[str, Any]:
    members = [{"split": m.split, "name": m.name, "class": m.label} for m in group.members]
    return {
        "likeness": group.likeness,
        "crosses_splits": group.crosses_splits,
        "classes": group.labels,
        "members": members,
    }


def _leak(report: DataReport) -> Iterator[Finding]:
    seen, judged = report.splits
    leak = report.leak
    whole_set = report.looked_at == report.images
    among = "" if whole_set else f", as far as {plural(report.looked_at, 'image')} tell"
    if not leak.images:
        verb = "has the pixels of one" if report.unrecognised else "also occurs"
        yield Finding("good", f"No image of {judged.name} {verb} in {seen.name}{among}.")
        return
    alike = leak.images - leak.same_pixels
    how = [f"{leak.same_pixels:,} with the same pixels"] if leak.same_pixels else []
    how += [f"{alike:,} by {'its' if alike == 1 else 'their'} looks"] if alike else []
    occur = "also occurs" if leak.images == 1 else "also occur"
    yield Finding(
        "bad",
        f"{leak.images:,} of {plural(judged.looked_at, 'image')} of {judged.name} {occur} in "
        f"{seen.name} ({', '.join(how)}){among}: accuracy on {judged.name} would be flattered.",
    )


def _repeats(report: DataReport) -> Iterator[Finding]:
    conflicts = report.conflicts
    if conflicts:
        have = "has" if len(conflicts) == 1 else "have"
        yield Finding(
            "bad",
            f"{plural(len(conflicts), 'group')} of images that are the same or look alike {have} "
            "more than one label.",
        )
    inside = [group for group in report.groups if not group.crosses_splits]
    if inside:
        surplus = sum(len(group.members) - 1 for group in inside)
        repeat = "repeats" if surplus == 1 else "repeat"
        yield Finding("note", f"{plural(surplus, 'image')} {repeat} another of the same split.")


def _unreadable(report: DataReport) -> Iterator[Finding]:
    bad = sum(len(split.bad) for split in report.splits)
    if bad:
        yield Finding("bad", f"{plural(bad, 'file')} cannot be decoded.")


def _remarks(report: DataReport) -> Iterator[Finding]:
    rows = class_rows(report)
    (most, _, largest), (fewest, _, smallest) = rows[0], rows[-1]
    if largest > smallest:
        yield Finding(
            "bad" if report.imbalance >= _UNEVEN else "note",
            f"Images per class: from {smallest:,} of {printable(fewest)} to {largest:,} of "
            f"{printable(most)}, {_ratio(report.imbalance)}.",
        )
    grey = sum(split.channels.get(1, 0) for split in report.splits)
    colour = sum(split.channels.get(3, 0) for split in report.splits)
    if grey and colour:
        yield Finding("note", f"{plural(grey, 'image')} of {grey + colour:,} without colour.")
    profiles = sum(split.profiles for split in report.splits)
    if profiles:
        carry = "carries" if profiles == 1 else "carry"
        yield Finding(
            "note",
            f"{plural(profiles, 'image')} {carry} a colour profile (ICC), which is not applied.",
        )
    if report.unrecognised:
        yield Finding(
            "note",
            f"{plural(report.unrecognised, 'image')} with a side below 64 px: compared pixel by "
            "pixel, not by looks, because different ones look alike when so small.",
        )


def _ratio(imbalance: float) -> str:
    return f"{imbalance:,.3g} to 1" if imbalance < float("inf") else "so one class is empty"


def _extent(extent: Extent | None) -> str:
    if extent is None:
        return MISSING
    if extent.smallest == extent.largest:
        return pixels(extent.smallest)
    return f"{extent.median:g} px ({extent.smallest:,}–{extent.largest:,})"


def _aspect(split: SplitFacts) -> str:
    if split.aspect is None:
        return MISSING
    low, middle, high = split.aspect
    return f"{middle:.2f}" if low == high else f"{middle:.2f} ({low:.2f}–{high:.2f})"


def _commonest(split: SplitFacts) -> str:
    if split.commonest_size is None:
        return MISSING
    return f"{pixels(split.commonest_size)}, {percent(split.commonest_share)}"


def _channel_words(split: SplitFacts) -> Mapping[str, int]:
    return {{1: "grey", 3: "RGB"}[number]: count for number, count in split.channels.items()}


def _counts(counts: Mapping[str, int], split: SplitFacts) -> str:
    if len(counts) == 1 and not split.bad:
        return next(iter(counts))
    return ", ".join(f"{name} {count:,}" for name, count in counts.items()) or MISSING


def _moments(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values) or MISSING
