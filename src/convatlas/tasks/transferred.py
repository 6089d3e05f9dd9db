"""What pretraining turned out to be worth: records of probed layers and of ways to train."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Method", "ProbedLayer"]


@dataclass(frozen=True, slots=True)
class ProbedLayer:
    """What a linear classifier makes of one layer's features.

    Attributes:
        layer: Path of the layer.
        channels: Length of its pooled features.
        accuracy: On the held-out images, 0 … 1.
        interval: Its 95 % bootstrap interval.
        random_accuracy: The same of the untrained network.
        random_interval: Its interval.
    """

    layer: str
    channels: int
    accuracy: float
    interval: tuple[float, float]
    random_accuracy: float
    random_interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Method:
    """One way to train, and what came out.

    Attributes:
        name: What it is called.
        recipe: Name of its recipe.
        epochs: Passes over the training images.
        seconds: Time of training, evaluation after each epoch left out.
        accuracy: On the held-out images, 0 … 1.
        interval: Its 95 % bootstrap interval.
        against_best: The paired verdict against the most accurate method; empty for that one.
    """

    name: str
    recipe: str
    epochs: int
    seconds: float
    accuracy: float
    interval: tuple[float, float]
    against_best: str
