"""Who watches a run: the command line or nobody, and the files that keep its figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from convatlas.pipeline.preparation import Progress
from convatlas.train.mlflow import MLflow
from convatlas.train.recipe import Recipe
from convatlas.train.reports import Observer
from convatlas.train.tracking import TensorBoard

__all__ = ["Listener", "Watch"]


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
    """

    listener: Listener
    experiment: str | None = None
    accept_changed_data: bool = False

    def observers(self, folder: Path, recipe: Recipe) -> list[Observer]:
        """Return the listener, TensorBoard's files in ``folder``, and MLflow if it was asked for.

        Raises:
            MissingExtraError: MLflow was asked for and is not installed.
        """
        observers = [self.listener.training(), TensorBoard(folder / "tensorboard")]
        if self.experiment is not None:
            params = recipe.to_dict()
            observers.append(
                MLflow(folder, experiment=self.experiment, run_name=folder.name, params=params)
            )
        return observers
