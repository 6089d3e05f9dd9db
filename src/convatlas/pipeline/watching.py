"""Who watches a run: the command line or nobody, and the files that keep its figures."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from convatlas.pipeline.preparation import Progress
from convatlas.train.reports import Observer
from convatlas.train.tracking import TensorBoard

__all__ = ["Listener", "watching"]


class Listener(Protocol):
    """Who watches the run: the command line, or nobody."""

    def say(self, text: str) -> None:
        """Take one line of news."""

    def progress(self, what: str) -> Progress:
        """Return a function that takes (done, total) of a stage called ``what``."""

    def training(self) -> Observer:
        """Return who watches the training loop."""


def watching(folder: Path, listener: Listener) -> list[Observer]:
    """Return who watches a training in ``folder``: the listener, and TensorBoard's files."""
    return [listener.training(), TensorBoard(folder / "tensorboard")]
