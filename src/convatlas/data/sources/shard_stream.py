"""A stream of tar shards in WebDataset format, from disk, pipes or addresses.

Each shard is fetched and checked whole before its first image is given, so that a broken one is
noticed early, its images can be shuffled without a buffer, and a resumed stream skips no data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from convatlas.data.decode import printable
from convatlas.data.sources.labels import listed_classes
from convatlas.data.sources.shard_files import Borrower, is_plain
from convatlas.data.sources.shards import read_at, scan_shard, shard_labels, shard_splits
from convatlas.data.sources.splits import needed_splits
from convatlas.data.sources.streams import Consumer, ImageStream, Reader, Sample, inner_order
from convatlas.errors import DataError

__all__ = ["ShardStream"]


class ShardStream(ImageStream):
    """The images of shards, shuffled; see :class:`ImageStream`.

    Args:
        spec: Names as ``open_source`` takes them: ``train-{0000..0146}.tar``, ``pipe:…``, https;
            of a folder, those to train on.
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
        groups, folder = shard_splits(spec)
        urls = groups[needed_splits(groups, spec, "shards")[0]]
        names = classes or (folder and listed_classes(folder))
        if not names:
            raise DataError(
                f"expected class names for the stream {printable(spec)}, got none: pass classes= "
                "or write classes.txt, one name per line, beside the shards"
            )
        super().__init__(urls, names, seed, consumer or Consumer())
        self._borrower = Borrower()

    @property
    def length(self) -> int | None:
        """Images of an epoch for all consumers; None with a pipe, an address or a gzipped tar.

        Raises:
            DataError: A shard cannot be read.
        """
        if not all(map(is_plain, self._shards)):
            return None
        return sum(self._count(shard) for shard in range(len(self._shards)))

    @contextmanager
    def _opened(self, shard: int, epoch: int, following: int | None = None) -> Iterator[Reader]:
        with self._borrower.borrowed(self._shards[shard]) as tar:
            if following is not None:
                self._borrower.expect(self._shards[following])
            samples = scan_shard(tar)
            labels = shard_labels(samples, self.classes, tar.name)
            order = inner_order(len(samples), self._seed, epoch, shard)
            self._counts[shard] = len(samples)

            def read(place: int) -> Sample | None:
                if place >= len(order):
                    return None
                number = int(order[place])
                sample = samples[number]
                name = printable(f"{tar.name}/{sample.key}.{sample.suffix}")
                return Sample(name, read_at(tar, sample), labels[number])

            yield read

    def _counted(self, shard: int) -> int:
        with self._borrower.borrowed(self._shards[shard]) as tar:
            return len(scan_shard(tar))
