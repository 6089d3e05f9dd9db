"""The losses of one epoch: kept on the device, fetched in batches, checked, averaged.

Fetching a number from an accelerator waits for all work before it, so losses are fetched
every few steps there; on the CPU that wait does not exist and each step is fetched.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from convatlas.train.guard import LossGuard
from convatlas.train.reports import StepReport

__all__ = ["EpochMeter"]

_STEPS_PER_FETCH = 10


class EpochMeter:
    """Collects the losses of one epoch.

    Args:
        device: Where the losses lie.
        guard: Looks at each loss when it is fetched.
        loss_sum: Sum over images from the part of the epoch before an interruption.
        images: Number of images in that part.
        seconds: Time that it took.

    Attributes:
        loss_sum: Sum of the losses over images, interrupted part included.
        images: Number of those images.
        seconds_before: Time of the interrupted part.
    """

    def __init__(
        self,
        device: torch.device,
        guard: LossGuard,
        loss_sum: float = 0.0,
        images: int = 0,
        seconds: float = 0.0,
    ) -> None:
        self._guard = guard
        self.loss_sum = loss_sum
        self.images = images
        self._capacity = 1 if device.type == "cpu" else _STEPS_PER_FETCH
        self._pending: list[tuple[int, int, float, Tensor, Tensor]] = []
        self._start = time.perf_counter()
        self._end: float | None = None
        self.seconds_before = seconds

    def add(
        self, epoch: int, step: int, lr: float, indices: Tensor, loss: Tensor
    ) -> list[StepReport]:
        """Take the loss of one step and the indices of its images; return the reports due."""
        self._pending.append((epoch, step, lr, indices, loss.detach()))
        return self.fetch() if len(self._pending) >= self._capacity else []

    def fetch(self) -> list[StepReport]:
        """Return the reports of all steps since the last time.

        Raises:
            OptionError: A loss is not finite or runs away; the message names step and images.
        """
        if not self._pending:
            return []
        losses = torch.stack([loss for *_, loss in self._pending]).tolist()
        pending, self._pending = self._pending, []
        reports = []
        for (epoch, step, lr, indices, _), loss in zip(pending, losses, strict=True):
            report = StepReport(epoch, step, loss, lr, len(indices))
            self._guard.check(report, indices)
            self.loss_sum += loss * report.images
            self.images += report.images
            reports.append(report)
        return reports

    def close(self) -> list[StepReport]:
        """Fetch what is left and stop the clock: the epoch's training is over."""
        reports = self.fetch()
        self._end = time.perf_counter()
        return reports

    @property
    def seconds(self) -> float:
        """Seconds until now, or until :meth:`close`, those of the interrupted part included."""
        end = time.perf_counter() if self._end is None else self._end
        return self.seconds_before + end - self._start

    @property
    def loss(self) -> float:
        """Mean loss of the images so far; NaN before the first."""
        return self.loss_sum / self.images if self.images else math.nan

    @property
    def images_per_second(self) -> float:
        """Images over the seconds; 0 when there were none."""
        return self.images / self.seconds if self.seconds else 0.0
