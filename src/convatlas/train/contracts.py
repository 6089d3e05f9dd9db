"""What the loop asks of batches and tasks, and how batches get to the device.

These are shapes of other rooms' objects, so that training knows no other room by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import Field, fields, replace
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from convatlas.train.interrupt import StopRequest

__all__ = ["Batch", "EvalBatches", "Metrics", "PlacedBatches", "Task", "TrainBatches", "place"]


class Batch(Protocol):
    """A dataclass with images ``(N, C, H, W)`` and whatever else a task needs."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def images(self) -> Tensor:
        """Float images, shape ``(N, C, H, W)``."""

    @property
    def labels(self) -> Tensor:
        """The targets."""

    @property
    def indices(self) -> Tensor:
        """Position of each image in the data set, shape ``(N,)``."""


class TrainBatches(Protocol):
    """The training batches as a function of epoch and step, both from 0."""

    def __len__(self) -> int:
        """Steps per epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Any]:
        """The batches of one epoch, in order, from number ``first``."""

    def batch(self, epoch: int, step: int) -> Any:
        """The same batch that ``epoch(epoch)`` gives as number ``step``."""


EvalBatches = Iterable[Any]


class Metrics(Protocol):
    """What a task measured."""

    @property
    def headline(self) -> float:
        """The main metric; higher is better."""

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON values."""


class Task(Protocol):
    """What a network is trained for."""

    def loss(self, model: nn.Module, batch: Any) -> tuple[Tensor, Tensor]:
        """The mean loss of a batch, a scalar, and the outputs it came from."""

    def evaluate(self, model: nn.Module, batches: Iterable[Any]) -> Metrics:
        """Measure ``model`` in evaluation mode."""


_Batch = TypeVar("_Batch", bound=Batch)


def place(batch: _Batch, device: torch.device) -> _Batch:
    """Return ``batch`` on ``device``, its images in channels-last memory."""
    tensors = {
        each.name: value.to(device=device, non_blocking=True)
        for each in fields(batch)
        if isinstance(value := getattr(batch, each.name), Tensor)
    }
    images = tensors["images"].contiguous(memory_format=torch.channels_last)
    return replace(batch, **{**tensors, "images": images})


class PlacedBatches:
    """Batches for an evaluation: on the device, and open to Ctrl-C between two of them."""

    def __init__(self, batches: EvalBatches, device: torch.device, stop: StopRequest) -> None:
        self._batches = batches
        self._device = device
        self._stop = stop

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            self._stop.check()
            yield place(batch, self._device)
