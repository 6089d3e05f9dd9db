"""Opens images to train on as a stream, and those to judge by; nothing is decoded beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from convatlas.data.decode import printable
from convatlas.data.source import open_whole
from convatlas.data.sources.hub import HubStream, holds_hub, hub_splits
from convatlas.data.sources.labels import listed_classes
from convatlas.data.sources.shard_stream import ShardStream
from convatlas.data.sources.shards import holds_shards, open_split, shard_splits
from convatlas.data.sources.splits import ImageSource, Subset, needed_splits
from convatlas.data.sources.streams import ImageStream, SampleImages
from convatlas.errors import DataError

__all__ = ["open_stream"]


def open_stream(
    spec: str, validation: str | None = None, *, seed: int = 0
) -> tuple[ImageStream, ImageSource]:
    """Return the training images behind ``spec`` as a stream, and images to judge by.

    Args:
        spec: Tar shards in WebDataset format, or a data set of Hugging Face.
        validation: What ``open_source`` takes; shards without ``classes.txt`` get its classes.
            None for the validation split that ``spec`` declares; of Hugging Face, its images are
            held in memory as they are stored.
        seed: Decides the order of the stream.

    Raises:
        DataError: No stream, nothing to judge by, or classes there that the stream lacks.
        MissingExtraError: The format needs a package that is not installed.
    """
    judged = None if validation is None else open_whole(validation)
    train = _train(spec, judged.classes if judged else None, seed)
    if judged is None:
        judged = _declared(spec, train.classes)
    return train, _renumbered(judged, train.classes)


def _train(spec: str, classes: Sequence[str] | None, seed: int) -> ImageStream:
    if holds_hub(spec):
        return HubStream(spec, seed=seed)
    if holds_shards(spec):
        _, folder = shard_splits(spec)
        return ShardStream(spec, (folder and listed_classes(folder)) or classes, seed=seed)
    raise DataError(
        f"expected a stream, got {printable(spec)}: pass tar shards (a-{{000..009}}.tar, "
        "pipe:COMMAND, https) or hf:NAME, or leave --stream out"
    )


def _declared(spec: str, classes: Sequence[str]) -> ImageSource:
    """Return the split to judge by that ``spec`` itself declares."""
    of_hub = holds_hub(spec)
    splits = hub_splits(spec) if of_hub else tuple(shard_splits(spec)[0])
    _, *held = needed_splits(splits, spec)
    if not held:
        raise DataError(
            f"expected images to judge by, got the stream {printable(spec)}, which declares no "
            "validation split: pass --validation"
        )
    if of_hub:
        return SampleImages(f"{spec}/{held[0]}", classes, list(HubStream(spec, split=held[0])))
    return open_split(spec, held[0], classes)


class _Renumbered(Subset):
    """All images of a source, with the class numbers of another."""

    def __init__(self, source: ImageSource, classes: tuple[str, ...]) -> None:
        super().__init__(source, range(len(source)))
        numbers = [classes.index(name) for name in source.classes]
        self.labels = tuple(numbers[label] for label in source.labels)
        self.classes = classes


def _renumbered(source: ImageSource, classes: tuple[str, ...]) -> ImageSource:
    if source.classes == classes:
        return source
    if unknown := sorted({*source.classes} - {*classes}):
        raise DataError(
            f"expected the classes of the stream in {source.name}, got also "
            f"{printable(', '.join(unknown[:5]))}: put the same classes.txt beside both"
        )
    return _Renumbered(source, classes)
