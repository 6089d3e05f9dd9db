"""Images that come one after the other, in an order that chance and the epoch decide alone.

A stream is cut into shards. The order of the shards is a function of (seed, epoch), the order
inside a shard one of (seed, epoch, shard), so the place in both is all there is to remember: a
resumed stream goes on with exactly the next image. It knows no file format.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.data.decode import decode
from convatlas.data.sampling import epoch_order
from convatlas.errors import CheckpointError, OptionError

__all__ = ["Consumer", "ImageStream", "Sample", "inner_order"]


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

    @abstractmethod
    def _samples(self, shard: int, start: int, step: int) -> Iterator[Sample]:
        """Yield images ``start``, ``start + step``, … of a shard in this epoch's order."""

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
            start = first + step * self._given
            for sample in self._samples(int(order[self._turn]), start, step):
                self._given += 1
                yield sample
            self._turn, self._given = self._turn + 1, 0
        self.epoch, self._turn = self.epoch + 1, 0

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

    def _identity(self) -> str:
        parts = [self._shards, self.classes, self._seed, asdict(self._consumer)]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def inner_order(count: int, seed: int, epoch: int, *place: int) -> NDArray[np.int64]:
    """Return the order of ``count`` images inside the part of a stream that ``place`` numbers."""
    words = hashlib.sha256(json.dumps([seed, *place]).encode()).digest()
    return epoch_order(count, int.from_bytes(words[:8], "big"), epoch)
