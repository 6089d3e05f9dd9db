"""Opens images to train on as a stream, and those to judge by: nothing is decoded beforehand."""

from __future__ import annotations

from convatlas.data.decode import printable
from convatlas.data.hub import HubStream, holds_hub, hub_splits
from convatlas.data.shard_stream import ShardStream
from convatlas.data.shards import holds_shards, open_split, shard_splits
from convatlas.data.source import open_whole
from convatlas.data.splits import ImageSource, needed_splits
from convatlas.data.stored import Renumbered
from convatlas.data.streams import ImageStream, SampleImages
from convatlas.errors import DataError

__all__ = ["open_stream"]


def open_stream(
    spec: str, validation: str | None = None, *, seed: int = 0
) -> tuple[ImageStream, ImageSource]:
    """Return the training images behind ``spec`` as a stream, and images to judge by.

    Args:
        spec: Tar shards in WebDataset format, or a data set of Hugging Face.
        validation: What ``open_source`` takes; None for the split that ``spec`` declares, of
            which the encoded images of Hugging Face are held in memory. Its classes are those
            of shards that have no ``classes.txt``.
        seed: Decides the order of the stream.

    Raises:
        DataError: No stream, nothing to judge by, or other classes there than in the stream.
        MissingExtraError: The format needs a package that is not installed.
    """
    if holds_hub(spec):
        train: ImageStream = HubStream(spec, seed=seed)
        splits = needed_splits(hub_splits(spec), spec)
    elif holds_shards(spec):
        judged = None if validation is None else open_whole(validation)
        train = ShardStream(spec, judged and judged.classes, seed=seed)
        splits = needed_splits(shard_splits(spec)[0], spec, "shards")
    else:
        raise DataError(
            f"expected a stream, got {printable(spec)}: pass tar shards (a-{{000..009}}.tar, "
            "pipe:COMMAND, https) or hf:NAME, or train without --stream"
        )
