"""What a run tells about itself: plain frozen records, and who may listen to them.

It knows neither tensors nor files; tracking and progress listen, the loop speaks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

__all__ = [
    "Audience",
    "EpochReport",
    "History",
    "Observer",
    "Plan",
    "StepReport",
    "stalled_epochs",
    "training_pace",
]


@dataclass(frozen=True, slots=True)
class Plan:
    """What lies ahead when a run starts or goes on.

    Attributes:
        epochs: Epochs of the whole run.
        steps_per_epoch: Optimizer steps in each.
        epochs_done: Epochs that are finished and evaluated.
        steps_done: Optimizer steps that are finished, over the whole run.
    """

    epochs: int
    steps_per_epoch: int
    epochs_done: int = 0
    steps_done: int = 0


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimizer step.

    Attributes:
        epoch: Epoch the step belongs to, from 1.
        step: Number of the step over the whole run, from 1.
        loss: Loss of its batch, before the step.
        lr: Learning rate of the head, plateau factor included.
        images: Images in its batch.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    images: int


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch and the evaluation after it.

    Attributes:
        epoch: Number of the epoch, from 1.
        step: Optimizer steps finished by then, over the whole run.
        loss: Mean loss of the training images, each seen by the weights of its step.
        lr: Learning rate of the head in the last step.
        headline: The task's main metric; higher is better.
        metrics: What the task measured, as far as it is single numbers.
        best: Whether no epoch before had a higher headline.
        seconds: Time spent training in this epoch, without the evaluation.
        images_per_second: Training images over that time.
    """

    epoch: int
    step: int
    loss: float
    lr: float
    headline: float
    metrics: Mapping[str, float]
    best: bool
    seconds: float
    images_per_second: float

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class History:
    """Every epoch of a run, interrupted or not.

    Attributes:
        epochs: One report per epoch, in order.
    """

    epochs: tuple[EpochReport, ...]

    @property
    def best(self) -> EpochReport:
        """The epoch whose weights were kept: the latest one with the highest headline."""
        return [report for report in self.epochs if report.best][-1]

    def as_dict(self) -> dict[str, Any]:
        """Return the reports as JSON values."""
        return {"epochs": [report.as_dict() for report in self.epochs]}


def stalled_epochs(reports: Sequence[EpochReport]) -> int:
    """Return how many epochs have passed since the headline was first as high as it ever was."""
    headlines = [report.headline for report in reports]
    return len(headlines) - 1 - headlines.index(max(headlines)) if headlines else 0


def training_pace(epochs: Iterable[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Return the seconds of training, and the images per second over all of them.

    Args:
        epochs: Reports of epochs as mappings; those that are not timed say nothing.
    """
    known = [(each.get("seconds"), each.get("images_per_second")) for each in epochs]
    timed = [(s, speed) for s, speed in known if s is not None and speed is not None and s > 0]
    if not timed:
        return None, None
    total = sum(s for s, _ in timed)
    return total, sum(s * speed for s, speed in timed) / total


class Observer(Protocol):
    """Listens to a run. Calls come in this order; ``stop`` comes even after an error."""

    def start(self, plan: Plan) -> None:
        """Get ready; a resumed run starts with some steps done."""

    def step(self, report: StepReport) -> None:
        """Take one optimizer step; on an accelerator some steps late."""

    def epoch(self, report: EpochReport) -> None:
        """Take one evaluated epoch."""

    def stop(self) -> None:
        """Let go of files and the terminal."""


class Audience:
    """Several observers as one.

    Args:
        observers: Who listens, in the order of the calls.
    """

    def __init__(self, observers: Sequence[Observer]) -> None:
        self._observers = observers

    def start(self, plan: Plan) -> None:
        """Start every observer."""
        for observer in self._observers:
            observer.start(plan)

    def steps(self, reports: Iterable[StepReport]) -> None:
        """Tell every observer of each step."""
        for report in reports:
            for observer in self._observers:
                observer.step(report)

    def epoch(self, report: EpochReport) -> None:
        """Tell every observer of an epoch."""
        for observer in self._observers:
            observer.epoch(report)

    def stop(self) -> None:
        """Stop every observer, the last one first."""
        for observer in reversed(self._observers):
            observer.stop()
