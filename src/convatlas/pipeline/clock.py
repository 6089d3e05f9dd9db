"""The times of networks on one device: predicted before they run, measured at most once.

Nothing here imports torch before a time is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from convatlas.errors import CalibrationError, OptionError
from convatlas.fetch import cache_folder
from convatlas.models.catalogue import find_entry
from convatlas.search.budget import Budget
from convatlas.search.candidate import Candidate, Task
from convatlas.search.figures import Figure
from convatlas.search.timing import Forecaster

if TYPE_CHECKING:
    from convatlas.analysis.calibration import Calibration
    from convatlas.models.anatomy import ConvNet

__all__ = ["Clock", "require_device", "untrained"]


def require_device(budget: Budget, *, measure: bool = True) -> None:
    """Refuse a budget whose times nobody here can tell.

    Args:
        budget: Its device is looked at.
        measure: Whether times will be measured; those of a GPU cannot be predicted.

    Raises:
        OptionError: It is about a GPU, and there is none, or nothing will be measured.
    """
    if budget.on != "cuda":
        return
    if not measure:
        raise OptionError(
            "on cuda times can only be measured, got no --measure: add it, or leave --on out"
        )
    import torch

    if not torch.cuda.is_available():
        raise OptionError(
            "times on cuda need a GPU, found no GPU that torch can use: ask on a machine that "
            "has one, or pass --on cpu"
        )


def untrained(candidate: Candidate, task: Task | None) -> ConvNet:
    """Build a network with random weights, for the classes of the images or of the catalogue."""
    from convatlas.pipeline.preparation import build

    classes = task.num_classes if task else find_entry(candidate.name).num_classes
    return build(replace(candidate, weights=None), classes)


def _was_calibrated() -> bool:
    """Whether any calibration was kept; which of them counts here, torch has to say."""
    return any((cache_folder() / "calibration").glob("*.json"))


def _show_nothing(_done: int, _total: int) -> None:
    """Nobody watches."""


class Clock:
    """Tells times of one image on the device that a budget is about.

    Args:
        budget: Its device, its limit on time and its objective are looked at.
        task: What the images are; None for the catalogue's classes.
        show: Called as ``show(done, total)`` while a shortlist is measured.
    """

    def __init__(
        self,
        budget: Budget,
        task: Task | None,
        show: Callable[[int, int], None] = _show_nothing,
    ) -> None:
        self._budget = budget
        self._task = task
        self._show = show
        self._measured: dict[str, Figure] = {}
        self._predicted: dict[str, Figure | None] = {}

    @cached_property
    def calibration(self) -> Calibration | None:
        """The prices of this machine's operators, if it was calibrated and is asked about."""
        if self._budget.on != "cpu" or not _was_calibrated():
            return None
        from convatlas.analysis.calibration import load_calibration

        try:
            return load_calibration()
        except CalibrationError:
            return None

    @property
    def decides(self) -> bool:
        """Whether time is limited, or ranks the networks and can be told without running all."""
        if self._budget.max_latency_ms is not None:
            return True
        return self._budget.objective == "latency" and self.calibration is not None

    def forecast(self, candidate: Candidate) -> Figure | None:
        """Return what is known of a network's time so far; it is not run for that."""
        name = candidate.name
        if name in self._measured:
            return self._measured[name]
        if name not in self._predicted:
            self._predicted[name] = self._prediction(candidate)
        return self._predicted[name]

    def measure(self, candidate: Candidate) -> Figure:
        """Return the median time of a network, with the 10th and 90th percentile of its runs."""
        if candidate.name not in self._measured:
            self._measured[candidate.name] = self._timed(candidate)
        return self._measured[candidate.name]

    def measure_all(self, shortlist: Sequence[Candidate]) -> None:
        """Measure every one of the networks, and show how far it is."""
        for number, candidate in enumerate(shortlist):
            self._show(number, len(shortlist))
            self.measure(candidate)
        self._show(len(shortlist), len(shortlist))

    @cached_property
    def _prediction(self) -> Forecaster:
        """What tells times without running networks, as well as this machine is known."""
        if self.calibration is not None:
            from convatlas.search.forecasting import calibrated

            return calibrated(self._task, self.calibration)
        if self._budget.on == "cpu" and self._budget.max_latency_ms is not None:
            from convatlas.analysis.machine import measure_ceilings
            from convatlas.search.forecasting import at_least

            return at_least(measure_ceilings())
        return lambda _candidate: None

    def _timed(self, candidate: Candidate) -> Figure:
        from convatlas.analysis.latency import measure_latency

        model = untrained(candidate, self._task).eval().to(self._budget.on)
        size, channels = candidate.input_size, candidate.in_channels
        found = measure_latency(model, size, in_channels=channels)
        is_gpu = self._budget.on == "cuda"
        where = "this GPU" if is_gpu else f"this machine, threads: {found.threads}"
        return Figure(
            found.median_ms,
            "measured",
            f"one image of {size} px on {where}; 10th to 90th percentile",
            low=found.low_ms,
            high=found.high_ms,
        )
