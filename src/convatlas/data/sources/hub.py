"""Data sets of Hugging Face ``datasets``: by name, saved to disk, or a folder of Parquet files.

Images and labels are found by the types of the columns. Needs the extra ``hub``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convatlas.data.decode import printable, why_unreadable
from convatlas.data.sources.folder import subfolders
from convatlas.data.sources.labels import class_names, class_numbers
from convatlas.data.sources.splits import (
    ImageSource,
    Splits,
    choose_splits,
    needed_splits,
    split_of,
)
from convatlas.data.sources.stored import EmbeddedImages
from convatlas.data.sources.streams import Consumer, ImageStream, Reader, Sample, inner_order
from convatlas.errors import DataError, MissingExtraError
from convatlas.fetch import is_offline

__all__ = ["HubImages", "HubStream", "holds_hub", "hub_splits", "open_hub"]

_OFFLINE = "HF_HUB_OFFLINE"
_PREFIX = "hf:"
_SAVED = ("dataset_dict.json", "state.json")
_BLOCK = 1000  # images that are shuffled among each other, and held in memory


def holds_hub(spec: str) -> bool:
    """Tell ``hf:`` and a name, a folder of ``save_to_disk``, or one of Parquet files."""
    folder = Path(spec).expanduser()
    return spec.startswith(_PREFIX) or _is_saved(folder) or _holds_parquet(folder)


def open_hub(spec: str) -> Splits | ImageSource:
    """Open ``hf:owner/name``, ``hf:owner/name/config``, or a folder, with the splits it declares.

    Raises:
        DataError: It cannot be had, or has no column of images or none of labels.
        MissingExtraError: datasets is not installed.
    """
    loaded = _loaded(spec, streaming=False)
    splits = loaded if isinstance(loaded, Mapping) else {"": loaded}
    columns = {name: _Columns(splits[name], spec) for name in needed_splits(splits, spec)}
    written = {split: columns[split].labels() for split in columns}
    classes = next(iter(columns.values())).classes or class_names(
        (label for labels in written.values() for label in labels), spec
    )
    title = spec if spec.startswith(_PREFIX) else Path(spec).expanduser().resolve().name
    parts: dict[str, ImageSource] = {
        split: HubImages(
            columns[split], classes, written[split], printable(f"{title}/{split}".rstrip("/"))
        )
        for split in columns
    }
    return choose_splits(parts, spec, "splits")


def hub_splits(spec: str) -> tuple[str, ...]:
    """Return the names of the splits behind ``spec``, without reading them.

    Raises:
        DataError: It cannot be had.
        MissingExtraError: datasets is not installed.
    """
    loaded = _loaded(spec, streaming=True)
    return tuple(loaded) if isinstance(loaded, Mapping) else ("train",)


class _Columns:
    """A data set with its images left encoded, and the columns that matter.

    ``classes`` are the names that the type of the label column declares, or None.
    """

    def __init__(self, dataset: Any, spec: str) -> None:
        from datasets import ClassLabel, Image, Value

        features = dataset.features or {}
        images = [name for name, kind in features.items() if isinstance(kind, Image)]
        labels = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
        plain = [name for name, kind in features.items() if isinstance(kind, Value)]
        labels = labels or [name for name in ("label", "class", "target") if name in plain]
        if not images or not labels:
            shown = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
            raise DataError(
                f"expected a column of type Image and one of type ClassLabel in {printable(spec)}, "
                f"got {printable(shown or 'no columns')}: cast the columns first"
            )
        self.image = images[0]
        self.label = "label" if "label" in labels else labels[0]
        kind = features[self.label]
        self.classes: tuple[str, ...] | None = getattr(kind, "names", None) and tuple(kind.names)
        kept = dataset.select_columns([self.image, self.label])
        self.dataset = kept.cast_column(self.image, Image(decode=False))

    def labels(self) -> list[Any]:
        """Return the labels as written."""
        return list(self.dataset[self.label])

    def encoded(self, row: Mapping[str, Any], name: str) -> bytes:
        """Return the file of the image in a row.

        Raises:
            DataError: The row has none, or its file is gone.
        """
        image = row[self.image] or {}
        if image.get("bytes") is not None:
            return bytes(image["bytes"])
        try:
            return Path(image.get("path") or "").read_bytes()
        except OSError as error:
            raise DataError(
                f"expected an image in {name}, got {printable(image.get('path') or 'none')}, which "
                "cannot be read: load the data set again"
            ) from error


class HubImages(EmbeddedImages):
    """The images of one split that lies on this disk."""

    def __init__(
        self, columns: _Columns, classes: tuple[str, ...], written: list[Any], name: str
    ) -> None:
        numbers = class_numbers(written, classes, lambda place: f"image {place} of {name}")
        super().__init__(name, classes, numbers)
        self._columns = columns

    def encoded(self, index: int) -> bytes:
        """Return the content of an image's file.

        Raises:
            DataError: There is none.
        """
        return self._columns.encoded(self._columns.dataset[index], self.describe(index))

    def describe(self, index: int) -> str:
        """Return the name of the split and the number of the row."""
        return f"{self.name} row {index}"


class HubStream(ImageStream):
    """The images of a split as they arrive, without a copy on this disk; see :class:`ImageStream`.

    Inside a shard, blocks of 1,000 images are shuffled. A resumed stream reads past what was
    given of the shard at hand; ``datasets``' own shuffling would lose the images of its buffer.

    Args:
        spec: As for :func:`open_hub`.
        split: The split.
        seed: Decides every order.
        consumer: Which share of the images to give.

    Raises:
        DataError: It cannot be had, has no such split, or its labels declare no class names.
        MissingExtraError: datasets is not installed.
    """

    def __init__(
        self,
        spec: str,
        *,
        split: str = "train",
        seed: int = 0,
        consumer: Consumer | None = None,
    ) -> None:
        loaded = _loaded(spec, streaming=True)
        splits = loaded if isinstance(loaded, Mapping) else {split: loaded}
        if split not in splits:
            raise DataError(
                f"expected the split {split} in {printable(spec)}, got {', '.join(splits)}: pass "
                "split="
            )
        self._split = split
        self._columns = _Columns(splits[split], spec)
        if self._columns.classes is None:
            raise DataError(
                f"expected class names in the type of the column {self._columns.label} of "
                f"{printable(spec)}, got none: cast it to ClassLabel, or open it without streaming"
            )
        count = self._columns.dataset.num_shards
        names = [f"{spec}/{split}/{number}" for number in range(count)]
        super().__init__(names, self._columns.classes, seed, consumer or Consumer())

    @property
    def length(self) -> int | None:
        """Images of an epoch for all consumers: as declared, counted in a folder, or None."""
        declared = self._columns.dataset.info.splits or {}
        if self._split in declared:
            return int(declared[self._split].num_examples)
        if self._shards[0].startswith(_PREFIX):
            return None
        return sum(self._count(shard) for shard in range(len(self._shards)))

    def _opened(
        self, shard: int, epoch: int, following: int | None = None
    ) -> AbstractContextManager[Reader]:
        del following  # rows come while they are read

        def order_of(block: int, count: int) -> NDArray[np.int64]:
            return inner_order(count, self._seed, epoch, shard, block)

        def ended(count: int) -> None:
            self._counts[shard] = count

        rows = iter(self._part(shard))
        return nullcontext(_Blocks(self._columns, rows, self._shards[shard], order_of, ended))

    def _counted(self, shard: int) -> int:
        return sum(1 for _ in self._part(shard).select_columns([self._columns.label]))

    def _part(self, shard: int) -> Any:
        return self._columns.dataset.shard(num_shards=len(self._shards), index=shard)


class _Blocks:
    """Reads a shard forwards, a block at a time; see :data:`Reader`.

    Args:
        columns: Which columns matter.
        rows: The shard.
        title: What to call it.
        order_of: Given the number of a block and of its images, their order.
        ended: Takes the number of images, once it is known.
    """

    def __init__(
        self,
        columns: _Columns,
        rows: Iterator[Any],
        title: str,
        order_of: Callable[[int, int], NDArray[np.int64]],
        ended: Callable[[int], None],
    ) -> None:
        self._columns = columns
        self._rows = rows
        self._title = title
        self._order_of = order_of
        self._ended = ended
        self._block = -1
        self._held: list[Any] = []

    def __call__(self, place: int) -> Sample | None:
        """Return the image at a place, or None beyond the end."""
        block, inside = divmod(place, _BLOCK)
        while self._block < block and (self._block < 0 or len(self._held) == _BLOCK):
            self._turn()
        if self._block < block or inside >= len(self._held):
            self._ended(self._block * _BLOCK + len(self._held))
            return None
        number = int(self._order[inside])
        row, name = self._held[number], f"{self._title} row {block * _BLOCK + number}"
        return Sample(name, self._columns.encoded(row, name), int(row[self._columns.label]))

    def _turn(self) -> None:
        """Read the next block; one that is not full is the last."""
        try:
            self._held = list(islice(self._rows, _BLOCK))
        except Exception as error:  # datasets raises whatever its formats and its network raise
            raise DataError(
                f"expected more images of {self._title}, got none because "
                f"{printable(why_unreadable(error))}: check the file or the network, and resume"
            ) from error
        self._block += 1
        self._order = self._order_of(self._block, len(self._held))


def _loaded(spec: str, *, streaming: bool) -> Any:
    """Return what datasets makes of the spec: a data set, or several by split.

    Raises:
        DataError: It cannot be had; the message is one line.
        MissingExtraError: datasets is not installed.
    """
    before = os.environ.get(_OFFLINE)
    if is_offline():  # datasets knows only its own variable, and reads it when it is imported
        os.environ[_OFFLINE] = "1"
    try:
        from datasets import DatasetDict, load_dataset, load_from_disk
    except ImportError as error:
        raise MissingExtraError.of("datasets", "hub") from error
    finally:
        os.environ.pop(_OFFLINE, None)
        if before is not None:
            os.environ[_OFFLINE] = before
    folder = Path(spec).expanduser()
    try:
        if spec.startswith(_PREFIX):
            return load_dataset(*_name(spec), streaming=streaming)
        if not _is_saved(folder):
            return DatasetDict.from_parquet(_by_split(folder), streaming=streaming)
        saved = load_from_disk(str(folder))
        return _streamed(saved) if streaming else saved
    except DataError:
        raise
    except Exception as error:  # datasets raises whatever its formats and its network raise
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(
            f"expected a data set of Hugging Face in {printable(spec)}, got none because "
            f"{printable(reason)}: check the name, the network and HF_HUB_OFFLINE"
        ) from error


def _streamed(saved: Any) -> Any:
    """Return what was saved as a stream of as many shards as it has files."""
    if isinstance(saved, Mapping):
        return {split: _streamed(part) for split, part in saved.items()}
    return saved.to_iterable_dataset(num_shards=max(1, len(saved.cache_files)))


def _name(spec: str) -> list[str]:
    """Return the name, and the configuration if there is one: a third part of the path."""
    parts = spec.removeprefix(_PREFIX).split("/")
    if not all(parts):
        raise DataError(
            f"expected hf:owner/name or hf:owner/name/config, got {printable(spec)!r}: name a data "
            "set"
        )
    return ["/".join(parts[:2]), *(["/".join(parts[2:])] if len(parts) > 2 else [])]


def _is_saved(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _SAVED)


def _holds_parquet(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    return any(folder.glob("*.parquet")) or (
        any((folder / "data").glob("*.parquet")) and len(subfolders(folder)) == 1
    )


def _by_split(folder: Path) -> dict[str, list[str]]:
    """Return the Parquet files by split; all under train where the names tell none."""
    groups: dict[str, list[str]] = {}
    for path in sorted([*folder.glob("*.parquet"), *folder.glob("data/*.parquet")]):
        words = path.stem.replace("_", "-").split("-")
        split = next((split for word in words if (split := split_of(word))), "train")
        groups.setdefault(split, []).append(str(path))
    return groups
