"""Stops a run whose loss says that nothing more will be learned.

A loss that is NaN or infinite stops it at once. A loss that is finite but runs away stops it
when the mean of 50 steps is both above that of the first 50 and above ten times the lowest so
far, twice in a row: one bad batch, a warm-up, a thawed stage or a very low loss that doubles
does not. It knows neither models nor files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from convatlas.errors import OptionError
from convatlas.train.reports import StepReport

__all__ = ["LossGuard"]

_WINDOW = 50  # steps whose mean is looked at
_FACTOR = 10  # times the lowest mean so far
_PATIENCE = 2  # such means in a row
_NAMED = 8  # images that a message names


class LossGuard:
    """Looks at every loss of a run.

    Args:
        describe: Says what an image is, by its index, such as its file.
    """

    def __init__(self, describe: Callable[[int], str] | None = None) -> None:
        self._describe = describe
        self._sum, self._count = 0.0, 0
        self._first: float | None = None
        self._lowest: float | None = None
        self._high = 0

    def check(self, report: StepReport, indices: Tensor) -> None:
        """Take the loss of one step.

        Args:
            report: The step.
            indices: Positions of its images in the data set, shape ``(N,)``.

        Raises:
            OptionError: The loss is not finite, or runs away.
        """
        if not math.isfinite(report.loss):
            raise OptionError(self._message(f"the loss became {report.loss}", report, indices))
        self._sum += report.loss
        self._count += 1
        if self._count < _WINDOW:
            return
        mean = self._sum / self._count
        self._sum, self._count = 0.0, 0
        if self._first is None or self._lowest is None:
            self._first = self._lowest = mean
        self._lowest = min(self._lowest, mean)
        self._high = self._high + 1 if mean > max(self._first, _FACTOR * self._lowest) else 0
        if self._high >= _PATIENCE:
            what = (
                f"the loss runs away: {mean:.3g} over the last {_WINDOW} steps after "
                f"{self._lowest:.3g} at best, noticed"
            )
            raise OptionError(self._message(what, report, indices))

    def state_dict(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        return {
            "sum": self._sum,
            "count": self._count,
            "first": self._first,
            "lowest": self._lowest,
            "high": self._high,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self._sum, self._count = state["sum"], state["count"]
        self._first, self._lowest, self._high = state["first"], state["lowest"], state["high"]

    def _message(self, what: str, report: StepReport, indices: Tensor) -> str:
        named = [int(index) for index in indices[:_NAMED].tolist()]
        images = ", ".join(
            f"{index} ({self._describe(index)})" if self._describe else str(index)
            for index in named
        )
        more = f" and {len(indices) - len(named)} more" if len(indices) > len(named) else ""
        return (
            f"{what} at step {report.step} (epoch {report.epoch}) with learning rate "
            f"{report.lr:.3g}, on images {images}{more}: look at these images, or start anew with "
            "a lower lr, more warmup_epochs or clip_norm=1; what was saved before it is kept"
        )
