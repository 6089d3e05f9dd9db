"""A stream of tar shards in WebDataset format, from disk, pipes or addresses.

Each shard is fetched and checked whole before its first image is given, so that a broken one is
noticed early, its images can be shuffled without a buffer, and a resumed stream skips no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from convatlas.data.decode import printable
from convatlas.data.labels import listed_classes
from convatlas.data.shard_files import borrowed, expand, folder_of
from convatlas.data.shards import read_at, scan_shard, shard_labels
from convatlas.data.streams import Consumer, ImageStream, Sample, inner_order
from convatlas.errors import DataError

__all__ = ["ShardStream"]


class ShardStream(ImageStream):
    """The images of shards, shuffled; see :class:`ImageStream`.

    Args:
        spec: Names as ``open_source`` takes them: ``train-{0000..0146}.tar``, ``pipe:…``, https.
        classes: Class names; None for the lines of ``classes.txt`` beside local shards.
        seed: Decides every order.
        consumer: Which share of the images to give.

    Raises:
        DataError: No class names are given or found.
    """

    def __init__(
        self,
        spec: str,
        classes: Sequence[str] | None = None,
        *,
        seed: int = 0,
        consumer: Consumer | None = None,
    ) -> None:
        urls = expand(spec)
        folder = folder_of(urls[0])
        names = classes or (folder and listed_classes(folder))
        if not names:
            raise DataError(
                f"expected class names for the stream {printable(spec)}, got none: pass classes= "
                "or write classes.txt, one name per line, beside the shards"
            )
        super().__init__(urls, names, seed, consumer or Consumer())

    def _samples(self, shard: int, start: int, step: int) -> Iterator[Sample]:
        with borrowed(self._shards[shard]) as tar:
            samples = scan_shard(tar)
            labels = shard_labels(samples, self.classes, tar.name)
            order = inner_order(len(samples), self._seed, self.epoch, shard)
            for place in order[start::step]:
                sample = samples[place]
                name = printable(f"{tar.name}/{sample.key}.{sample.suffix}")
                yield Sample(name, read_at(tar, sample), labels[place])
