"""Tar shards in WebDataset format, as images that can be asked for in any order.

A sample is consecutive files of one key, the path up to the first dot of the file name:
``000017.jpg`` with ``000017.cls``. A shard's headers are read once, then images by their offset.
Source: Aizman, Maltby and Breuel, "High performance I/O for large scale deep learning", 2019,
arXiv 2001.01858, and the webdataset package for names and keys.
"""

from __future__ import annotations

import json
import re
import tarfile
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convatlas.data.decode import EXTENSIONS, printable, why_unreadable
from convatlas.data.sources.folder import subfolders
from convatlas.data.sources.labels import class_names, class_numbers, listed_classes
from convatlas.data.sources.shard_files import Shard, bring, expand, folder_of, is_shard_name
from convatlas.data.sources.shard_index import remembered
from convatlas.data.sources.splits import (
    ImageSource,
    Splits,
    choose_splits,
    needed_splits,
    split_of,
)
from convatlas.data.sources.stored import EmbeddedImages
from convatlas.errors import DataError

__all__ = [
    "ShardImages",
    "ShardSample",
    "holds_shards",
    "open_shards",
    "open_split",
    "read_at",
    "scan_shard",
    "shard_labels",
    "shard_splits",
]

_BLOCK = 512  # of a tar; at least one of zeros ends it
_META = re.compile(r"__[^/]*__(?:$|/)")
_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./]+)\.(?P<suffix>[^/]+)", re.DOTALL)
_LABEL_KEYS = ("label", "cls")
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class _Member:
    """A file inside a tar: its key, what follows the key, and where its bytes lie."""

    key: str
    suffix: str
    offset: int
    size: int


@dataclass(frozen=True, slots=True)
class ShardSample:
    """An image of a shard: where its bytes lie, and its label as written."""

    key: str
    suffix: str
    offset: int
    size: int
    label: str | int


def holds_shards(spec: str) -> bool:
    """Tell tar files, patterns and pipes of them, and folders that hold them and nothing else."""
    return is_shard_name(spec) or bool(_inside(Path(spec).expanduser()))


def open_shards(spec: str) -> Splits | ImageSource:
    """Open ``train-{000000..000003}.tar``, a folder of tars, one tar, a pipe or an address.

    In a folder, ``train``, ``val`` and ``test`` in the names of the tars, or of the folders that
    hold them, are the splits. Class names are the lines of ``classes.txt`` beside the tars, or
    else the labels that occur. What comes from a pipe or address is copied to a temporary file.

    Raises:
        DataError: A shard cannot be had, is truncated, or holds a sample without image or label.
    """
    groups, folder = shard_splits(spec)
    needed = needed_splits(groups, spec, "shards")
    indexed = {split: [_Indexed(bring(url)) for url in groups[split]] for split in needed}
    labels = (s.label for shards in indexed.values() for shard in shards for s in shard.samples)
    classes = (folder and listed_classes(folder)) or class_names(labels, spec)
    title = folder.resolve().name if folder else "shards"
    parts: dict[str, ImageSource] = {
        split: ShardImages(shards, classes, printable(f"{title}/{split}".rstrip("/")))
        for split, shards in indexed.items()
    }
    return choose_splits(parts, spec, "shards")


def open_split(spec: str, split: str, classes: Sequence[str]) -> ImageSource:
    """Open the shards of one split alone.

    Args:
        spec: As for :func:`open_shards`.
        split: One of those of :func:`shard_splits`.
        classes: Class names.

    Raises:
        DataError: A shard cannot be had, or holds a label that is no class.
    """
    urls = shard_splits(spec)[0][split]
    return ShardImages(
        [_Indexed(bring(url)) for url in urls], classes, printable(f"shards/{split}")
    )


def shard_splits(spec: str) -> tuple[dict[str, list[str]], Path | None]:
    """Return the names of the shards by split, under "" where there are none, and their folder."""
    root = Path(spec).expanduser()
    groups = _grouped(root) if root.is_dir() else {"": expand(spec)}
    return groups, root if root.is_dir() else folder_of(next(iter(groups.values()))[0])


class _Indexed:
    """A shard and the samples inside it."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        weakref.finalize(self, shard.discard)
        self.samples = scan_shard(shard)


class ShardImages(EmbeddedImages):
    """The images of a list of indexed shards."""

    def __init__(self, shards: Sequence[_Indexed], classes: Sequence[str], name: str) -> None:
        self._shards = tuple(shards)
        ends = np.cumsum([len(shard.samples) for shard in shards])
        self._starts = np.concatenate(([0], ends[:-1]))
        labels = [shard_labels(shard.samples, classes, shard.shard.name) for shard in shards]
        super().__init__(name, classes, [label for part in labels for label in part])

    def encoded(self, index: int) -> bytes:
        """Return the content of an image's file.

        Raises:
            DataError: The shard is gone, or was changed since it was indexed.
        """
        shard, sample = self._find(index)
        return read_at(shard.shard, sample)

    def describe(self, index: int) -> str:
        """Return the shard and the path inside it."""
        shard, sample = self._find(index)
        return printable(f"{shard.shard.name}/{sample.key}.{sample.suffix}")

    def _find(self, index: int) -> tuple[_Indexed, ShardSample]:
        place = range(len(self.labels))[index]  # as every sequence does: -1 is the last
        number = int(np.searchsorted(self._starts, place, side="right")) - 1
        shard = self._shards[number]
        return shard, shard.samples[place - int(self._starts[number])]


def scan_shard(shard: Shard) -> list[ShardSample]:
    """Return the samples of a shard in their order; only headers and labels are read.

    A shard of the user is scanned once, and again only when its size or time has changed.

    Raises:
        DataError: No complete tar, or a sample without image or label.
    """
    try:
        if shard.copied_by is not None:
            return _scan(shard)
        rows = remembered(shard.path, lambda: [_row(sample) for sample in _scan(shard)])
        return [ShardSample(*row) for row in rows]
    except (OSError, tarfile.TarError) as error:
        raise DataError(
            f"expected a complete tar in {shard.name}, got a file that cannot be read because "
            f"{why_unreadable(error)}: it is truncated or no tar; download it again"
        ) from error


def shard_labels(
    samples: Sequence[ShardSample], classes: Sequence[str], shown: str
) -> tuple[int, ...]:
    """Return the class numbers of a shard's samples.

    Raises:
        DataError: A label that is no class.
    """
    written = [sample.label for sample in samples]
    return class_numbers(written, classes, lambda place: f"{samples[place].key} in {shown}")


def read_at(shard: Shard, sample: ShardSample) -> bytes:
    """Return the content of a sample's image; every call opens the file, so any thread may.

    Raises:
        DataError: The shard is gone, or shorter than when it was scanned.
    """
    try:
        with shard.path.open("rb") as file:
            content = _slice(file, sample.offset, sample.size)
    except OSError as error:
        raise DataError(
            f"expected the shard {shard.name}, got a file that cannot be read because "
            f"{why_unreadable(error)}: restore it"
        ) from error
    if len(content) != sample.size:
        raise DataError(
            f"expected {sample.size:,} bytes of {printable(sample.key)} in {shard.name}, got "
            f"{len(content):,}: the shard was changed since it was opened; open it again"
        )
    return content


def _scan(shard: Shard) -> list[ShardSample]:
    with shard.path.open("rb") as file:
        members = list(_members(shard))
        _require_end(file)
        samples = [
            _sample(key, list(group), file, shard)
            for key, group in groupby(members, key=lambda member: member.key)
        ]
    if not samples:
        raise DataError(f"expected images in {shard.name}, got a tar without any: remove it")
    return samples


def _row(sample: ShardSample) -> tuple[str | int, ...]:
    return sample.key, sample.suffix, sample.offset, sample.size, sample.label


def _members(shard: Shard) -> Iterator[_Member]:
    with tarfile.open(shard.path, "r:") as archive:
        for info in archive:
            match = _MEMBER.fullmatch(info.name)
            if info.isreg() and match and not _META.match(info.name):
                yield _Member(match["key"], match["suffix"].lower(), info.offset_data, info.size)
            archive.members.clear()  # type: ignore[attr-defined]  # else it keeps every header


def _require_end(file: BinaryIO) -> None:
    """Tell a tar that ends early between two files, which tarfile takes for a complete one."""
    file.seek(-_BLOCK, 2)
    if any(file.read(_BLOCK)):
        raise tarfile.ReadError("its end is missing")


def _sample(key: str, members: list[_Member], file: BinaryIO, shard: Shard) -> ShardSample:
    by_suffix = {member.suffix: member for member in members}
    shown = f"the sample {printable(key)} of {shard.name}"
    got = printable(", ".join(member.suffix for member in members))
    image = next((m for m in members if f".{m.suffix}" in EXTENSIONS), None)
    if image is None or len(by_suffix) != len(members):
        raise DataError(
            f"expected one image (.jpg, .png, …) in {shown}, got {got}: write the shard again (a "
            "key ends at the first dot)"
        )
    label: str | int | None = None
    if "cls" in by_suffix:
        label = _text(file, by_suffix["cls"], shown).strip()
    elif "json" in by_suffix:
        label = _json_label(_text(file, by_suffix["json"], shown), shown)
    if label is None or label == "":
        raise DataError(
            f"expected a label in {shown} (a file .cls, or .json with the key label or cls), got "
            f"{got}: write the shard again, or unpack a tar of class folders"
        )
    return ShardSample(key, image.suffix, image.offset, image.size, label)


def _json_label(text: str, shown: str) -> str | int | None:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"expected JSON in {shown}, got text that is none ({error}): write the shard again"
        ) from error
    known = record if isinstance(record, dict) else {}
    label = next((known[name] for name in _LABEL_KEYS if name in known), None)
    if isinstance(label, list | dict):
        raise DataError(
            f"expected one label in {shown}, got the {type(label).__name__} "
            f"{printable(str(label))[:50]}: write a class name or number"
        )
    return label


def _text(file: BinaryIO, member: _Member, shown: str) -> str:
    try:
        return _slice(file, member.offset, member.size).decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"expected text in .{member.suffix} of {shown}, got bytes that are no UTF-8: write the "
            "shard again"
        ) from error


def _slice(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _inside(folder: Path) -> list[Path]:
    """Return the tars in a folder, or in its folders train, val and test."""
    if not folder.is_dir():
        return []
    inner = subfolders(folder)
    if not inner:
        visible = (path for path in folder.iterdir() if not path.name.startswith("."))
        return sorted(path for path in visible if is_shard_name(path.name))
    named = [entry for entry in inner if split_of(entry.name)]
    return [path for entry in named for path in _inside(entry)] if named == inner else []


def _grouped(folder: Path) -> dict[str, list[str]]:
    """Return the tars of a folder by split; under "" where their names tell none."""
    groups: dict[str, list[str]] = {}
    for path in _inside(folder):
        words = (path.parent.name,) if path.parent != folder else _WORD.findall(path.stem)
        split = next((split for word in words if (split := split_of(word))), "")
        groups.setdefault(split, []).append(str(path))
    if "" in groups and len(groups) > 1:
        raise DataError(
            f"expected train, val or test in the names of all tars of {printable(folder)}, or of "
            f"none, got {printable(Path(groups[''][0]).name)}: rename it or pass a pattern"
        )
    return groups
