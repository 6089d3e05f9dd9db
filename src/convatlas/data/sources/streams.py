"""Images that come one after the other, in an order that chance and the epoch decide alone.

A stream is cut into shards. The order of the shards is a function of (seed, epoch), the order
inside a shard one of (seed, epoch, shard), so the place in both is all there is to remember: a
resumed stream goes on with exactly the next image. It knows no file format.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decode import decode
from convatlas.data.sampling import epoch_order
from convatlas.data.sources.stored import EmbeddedImages
from convatlas.errors import CheckpointError, OptionError

__all__ = [
    "Consumer",
    "EpochReader",
    "ImageStream",
    "Reader",
    "Sample",
    "SampleImages",
    "inner_order",
]


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a stream, not yet decoded.

    Attributes:
        name: Words by which a person finds it.
        encoded: Its file as stored.
        label: Class number.
    """

    name: str
    encoded: bytes
    label: int

    def load(self, at_least: int | None = None) -> Image.Image:
        """Return the image, upright, in mode ``"L"`` or ``"RGB"``; see ``decode``.

        Raises:
            DataError: The content cannot be read as an image.
        """
        return decode(self.encoded, at_least, name=self.name)


class SampleImages(EmbeddedImages):
    """Images of a stream that are held in memory, not decoded.

    Args:
        name: What to call the source.
        classes: Class names.
        samples: The images.
    """

    def __init__(self, name: str, classes: Sequence[str], samples: Sequence[Sample]) -> None:
        super().__init__(name, classes, [sample.label for sample in samples])
        self._samples = samples

    def encoded(self, index: int) -> bytes:
        """Return the content of an image's file."""
        return self._samples[index].encoded

    def describe(self, index: int) -> str:
        """Return the stream's words for the image."""
        return self._samples[index].name


Reader = Callable[[int], Sample | None]
"""Gives the image at a place of a shard's order, None beyond its end; places only ascend."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """One of the processes that share a stream.

    Attributes:
        rank: Number of the training process.
        world_size: How many there are.
        worker: Number of the loading worker inside it.
        workers: How many each process has.

    Raises:
        OptionError: A number that is not below its total.
    """

    rank: int = 0
    world_size: int = 1
    worker: int = 0
    workers: int = 1

    def __post_init__(self) -> None:
        for number, total in (("rank", "world_size"), ("worker", "workers")):
            if not 0 <= getattr(self, number) < getattr(self, total):
                raise OptionError(
                    f"expected 0 ≤ {number} < {total}, got {getattr(self, number)} of "
                    f"{getattr(self, total)}: count from 0"
                )

    @property
    def place(self) -> int:
        """Number among all consumers."""
        return self.rank * self.workers + self.worker

    @property
    def total(self) -> int:
        """How many consumers there are."""
        return self.world_size * self.workers


class ImageStream(ABC):
    """A pass over shards, shuffled anew every epoch; iterate once per epoch.

    All consumers together see every image once per epoch. With at least as many shards as
    consumers, each reads every n-th shard; with fewer, each reads every n-th image of all shards.
    Shards of unequal length give consumers unequal numbers of images.

    Args:
        shards: Names of the shards.
        classes: Class names.
        seed: Decides every order.
        consumer: Which share of the images to give.

    Attributes:
        epoch: The epoch that the next iteration gives, or goes on with.
    """

    def __init__(
        self, shards: Sequence[str], classes: Sequence[str], seed: int, consumer: Consumer
    ) -> None:
        self.classes: tuple[str, ...] = tuple(classes)
        self.epoch = 0
        self._shards = tuple(shards)
        self._seed = seed
        self._consumer = consumer
        self._turn = 0  # shards of this epoch that are done with
        self._given = 0  # images given of the shard at hand
        self._counts: dict[int, int] = {}  # of the shards that were counted or read so far

    @property
    @abstractmethod
    def length(self) -> int | None:
        """Images of an epoch for all consumers; None where only reading them would tell."""

    @abstractmethod
    def _opened(
        self, shard: int, epoch: int, following: int | None = None
    ) -> AbstractContextManager[Reader]:
        """Return a shard's images in the order of an epoch, for as long as they are read.

        When the reader gives None, ``_counts`` holds the shard's number of images. The shard
        ``following`` is likely to be asked for next.
        """

    @abstractmethod
    def _counted(self, shard: int) -> int:
        """Count the images of a shard, reading as little of it as will do."""

    def __iter__(self) -> Iterator[Sample]:
        """Yield the rest of the epoch, then turn to the next one.

        Raises:
            DataError: A shard cannot be had or read.
        """
        consumer, order = self._consumer, epoch_order(len(self._shards), self._seed, self.epoch)
        first, step = 0, 1
        if len(order) >= consumer.total:
            order = order[consumer.place :: consumer.total]
        else:
            first, step = consumer.place, consumer.total
        while self._turn < len(order):
            with self._opened(int(order[self._turn]), self.epoch) as read:
                while (sample := read(first + step * self._given)) is not None:
                    self._given += 1
                    yield sample
            self._turn, self._given = self._turn + 1, 0
        self.epoch, self._turn = self.epoch + 1, 0

    def reader(self, epoch: int) -> EpochReader:
        """Return the images of an epoch by their places; the consumer makes no difference."""
        order = epoch_order(len(self._shards), self._seed, epoch)

        def opened(shard: int, following: int | None) -> AbstractContextManager[Reader]:
            return self._opened(shard, epoch, following)

        return EpochReader(order.tolist(), opened, self._counts)

    def state_dict(self) -> dict[str, Any]:
        """Return where the stream stands: what it has given so far will not come again."""
        place = {"epoch": self.epoch, "shards_done": self._turn, "images_given": self._given}
        return {**place, "stream": self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream of the same shards, seed and consumer stood.

        Raises:
            CheckpointError: The state is of another stream.
        """
        if state.get("stream") != self._identity():
            raise CheckpointError(
                "expected the state of a stream of the same shards, seed and consumer, got that of "
                "another: resume with the data and number of processes of the first run"
            )
        self.epoch = int(state["epoch"])
        self._turn, self._given = int(state["shards_done"]), int(state["images_given"])

    def _count(self, shard: int) -> int:
        if shard not in self._counts:
            self._counts[shard] = self._counted(shard)
        return self._counts[shard]

    def _identity(self) -> str:
        parts = [self._shards, self.classes, self._seed, asdict(self._consumer)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


class EpochReader:
    """The images of one epoch, asked for by places that never descend.

    A shard whose number of images is known is not opened if all its places are passed over.

    Args:
        order: The shards in the order of the epoch.
        opened: Opens a shard; the other one, if any, is likely to be next.
        counts: Images of the shards that are known; grows with what is read.

    Attributes:
        place: The place that was asked for last; -1 before the first.
        before: Images of the shards that are done with.
    """

    def __init__(
        self,
        order: Sequence[int],
        opened: Callable[[int, int | None], AbstractContextManager[Reader]],
        counts: Mapping[int, int],
    ) -> None:
        self.place = -1
        self.before = 0
        self._latest: Sample | None = None
        self._left = list(reversed(order))
        self._opened = opened
        self._counts = counts
        self._shard = ExitStack()
        self._read: Reader | None = None

    def sample(self, place: int) -> Sample | None:
        """Return the image at ``place``, or None beyond the end of the epoch.

        Raises:
            DataError: A shard cannot be had or read.
        """
        if place != self.place:
            self.place, self._latest = place, self._found(place)
        return self._latest

    def _found(self, place: int) -> Sample | None:
        while self._left:
            shard, inner = self._left[-1], place - self.before
            if self._read is None and inner < self._counts.get(shard, inner + 1):
                following = self._left[-2] if len(self._left) > 1 else None
                self._read = self._shard.enter_context(self._opened(shard, following))
            if self._read is not None and (sample := self._read(inner)) is not None:
                return sample
            self._read = None
            self._shard.close()
            self._left.pop()
            self.before += self._counts[shard]
        return None


def inner_order(count: int, seed: int, epoch: int, *place: int) -> NDArray[np.int64]:
    """Return the order of ``count`` images inside the part of a stream that ``place`` numbers."""
    words = hashlib.sha256(json.dumps([seed, *place]).encode()).digest()
    return epoch_order(count, int.from_bytes(words[:8], "big"), epoch)
