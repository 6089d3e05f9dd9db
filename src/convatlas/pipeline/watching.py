"""Who watches a run: the command line or nobody, and the files that keep its figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.preparation import Progress
from convatlas.train.freeze import frozen_until
from convatlas.train.mlflow import MLflow
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, Observer, Plan, StepReport
from convatlas.train.sections import Transfer
from convatlas.train.tracking import TensorBoard

__all__ = ["FreezeNews", "Listener", "Watch"]


class Listener(Protocol):
    """Who watches the run: the command line, or nobody."""

    def say(self, text: str) -> None:
        """Take one line of news."""

    def progress(self, what: str) -> Progress:
        """Return a function that takes (done, total) of a stage called ``what``."""

    def training(self) -> Observer:
        """Return who watches the training loop."""


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told of a training, and what it puts up with.

    Attributes:
        listener: Who is told.
        experiment: MLflow experiment that gets the figures too; None for none.
        accept_changed_data: Whether to go on although the images changed since the checkpoint.
        others: Who else watches the loop.
        out_of_time: Asked between two steps; where it says yes, the training ends.
    """

    listener: Listener
    experiment: str | None = None
    accept_changed_data: bool = False
    others: tuple[Observer, ...] = ()
    out_of_time: Callable[[], bool] | None = None

    def observers(self, folder: Path, recipe: Recipe) -> list[Observer]:
        """Return the listener, TensorBoard's files in ``folder``, and MLflow if it was asked for.

        Raises:
            MissingExtraError: MLflow was asked for and is not installed.
        """
        observers = [self.listener.training(), TensorBoard(folder / "tensorboard"), *self.others]
        if self.experiment is not None:
            params = recipe.to_dict()
            observers.append(
                MLflow(folder, experiment=self.experiment, run_name=folder.name, params=params)
            )
        return observers


class FreezeNews:
    """Says what moves whenever that changes, as an observer of the training loop.

    It looks at the network after the first step of an epoch, so it tells what is, and not what
    the recipe intends.

    Args:
        model: The network that trains.
        transfer: When the recipe freezes what.
        listener: Who is told; nothing where nothing is ever frozen.
    """

    def __init__(self, model: ConvNet, transfer: Transfer, listener: Listener) -> None:
        self._model = model
        self._transfer = transfer
        self._listener = listener
        self._stages = [feature.name for feature in model.feature_info]
        self._told: str | None = None
        self._epoch = 0

    def start(self, plan: Plan) -> None:
        """Nothing has moved yet."""

    def step(self, report: StepReport) -> None:
        """Say what moves, if it is the first step of a phase."""
        if report.epoch == self._epoch:
            return
        self._epoch = report.epoch
        until = frozen_until(self._transfer, report.epoch - 1, self._stages)
        if until != self._told:
            self._told = until
            what = "all thawed" if until is None else f"frozen until {until}"
            self._listener.say(f"epoch {report.epoch}: {what}, {_moving(self._model)}")

    def epoch(self, report: EpochReport) -> None:
        """Leave it to the others."""

    def stop(self) -> None:
        """Nothing is open."""


def _moving(model: ConvNet) -> str:
    sizes = [(p.requires_grad, p.numel()) for p in model.parameters()]
    moving = [size for moves, size in sizes if moves]
    total = sum(size for _, size in sizes)
    return f"{len(moving)} of {len(sizes)} tensors move ({sum(moving):,} of {total:,} parameters)"
