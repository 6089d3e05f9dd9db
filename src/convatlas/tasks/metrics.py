"""What a classifier's predictions are worth: pure arithmetic on logits and labels.

It knows no network, no batches and no class names.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convatlas.errors import DataError
from convatlas.tasks.calibration import expected_calibration_error

__all__ = [
    "ClassScores",
    "Evaluation",
    "Mistake",
    "Predictions",
    "evaluate_predictions",
    "in_top5",
    "wilson_interval",
]

_TOP5_CLASSES = 6


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """The outputs for a set of images, on the CPU.

    Attributes:
        logits: Shape ``(N, num_classes)``, float32.
        labels: True classes, shape ``(N,)``, int64.
        indices: Position of each image in its data set, shape ``(N,)``, int64.
    """

    logits: Tensor
    labels: Tensor
    indices: Tensor


@dataclass(frozen=True, slots=True)
class ClassScores:
    """How one class fares.

    Attributes:
        label: Number of the class.
        precision: Right ones among the images called this class; 0 when there are none.
        recall: Found ones among the images of this class; 0 when there are none.
        f1: Harmonic mean of the two; 0 when both are 0.
        support: Images of this class.
    """

    label: int
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True)
class Mistake:
    """One image that was called the wrong class.

    Attributes:
        index: Position of the image in its data set.
        true: Its class.
        predicted: The class it was given.
        confidence: Probability of that class.
    """

    index: int
    true: int
    predicted: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A classifier on a set of labelled images; shares and probabilities lie in 0 … 1.

    Attributes:
        images: Number of images.
        accuracy: Share of images whose most probable class is the true one.
        accuracy_interval: 95 % Wilson interval around it.
        top5_accuracy: Share whose true class is among the five most probable ones; None
            with fewer than six classes.
        top5_interval: 95 % Wilson interval around it; None likewise.
        loss_nats: Mean cross-entropy, without label smoothing.
        expected_calibration_error: Mean distance between confidence and accuracy.
        macro_f1: Mean F1 over the classes that occur or are predicted.
        classes: Scores per class, in order.
        confusion: Counts; row = true class, column = predicted class.
        mistakes: The most confident mistakes, the worst first.
    """

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    top5_accuracy: float | None
    top5_interval: tuple[float, float] | None
    loss_nats: float
    expected_calibration_error: float
    macro_f1: float
    classes: tuple[ClassScores, ...]
    confusion: tuple[tuple[int, ...], ...]
    mistakes: tuple[Mistake, ...]

    @property
    def headline(self) -> float:
        """The main metric, accuracy."""
        return self.accuracy

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values.

        In place of the confusion matrix, most of which is zero where there are many classes,
        ``confusion_cells`` holds what is not: ``[true class, predicted class, images]``, by rows.
        """
        cells = [
            [true, predicted, images]
            for true, row in enumerate(self.confusion)
            for predicted, images in enumerate(row)
            if images
        ]
        values = asdict(replace(self, confusion=()))
        del values["confusion"]
        return {**values, "confusion_cells": cells}


def evaluate_predictions(predictions: Predictions, *, max_mistakes: int = 25) -> Evaluation:
    """Measure ``predictions``.

    Args:
        predictions: Logits and labels of at least one image.
        max_mistakes: How many of the most confident mistakes to list.

    Raises:
        DataError: No images, or labels outside the classes of the logits.
    """
    logits, labels = predictions.logits.float(), predictions.labels
    _check(logits, labels)
    count, num_classes = logits.shape
    confidence, predicted = logits.softmax(dim=1).max(dim=1)
    right = predicted == labels
    confusion = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    confusion = confusion.reshape(num_classes, num_classes)
    classes = _class_scores(confusion)
    top5 = in_top5(logits, labels)
    occurs = (confusion.sum(dim=0) + confusion.sum(dim=1) > 0).tolist()
    scored = [scores.f1 for scores, known in zip(classes, occurs, strict=True) if known]
    return Evaluation(
        images=count,
        accuracy=int(right.sum()) / count,
        accuracy_interval=wilson_interval(int(right.sum()), count),
        top5_accuracy=None if top5 is None else int(top5.sum()) / count,
        top5_interval=None if top5 is None else wilson_interval(int(top5.sum()), count),
        loss_nats=F.cross_entropy(logits.double(), labels).item(),
        expected_calibration_error=expected_calibration_error(confidence, right),
        macro_f1=sum(scored) / len(scored),
        classes=classes,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        mistakes=_mistakes(predictions, predicted, confidence, max_mistakes),
    )


def wilson_interval(right: int, count: int) -> tuple[float, float]:
    """Return the 95 % interval of a share, ``right`` of ``count``.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical
    inference": with z = 1.95996, centre ``(p + z²/2n) / (1 + z²/n)`` and half-width
    ``z √(p(1−p)/n + z²/4n²) / (1 + z²/n)``.
    """
    z = 1.959963984540054
    share, shrink = right / count, 1 + z**2 / count
    centre = (share + z**2 / (2 * count)) / shrink
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / shrink
    return max(0.0, centre - half), min(1.0, centre + half)


def in_top5(logits: Tensor, labels: Tensor) -> Tensor | None:
    """Return whether each true class is among the five most probable; None below six classes."""
    if logits.shape[1] < _TOP5_CLASSES:
        return None
    return (logits.topk(5).indices == labels[:, None]).any(dim=1)


def _check(logits: Tensor, labels: Tensor) -> None:
    if len(logits) == 0:
        raise DataError("expected at least 1 image to evaluate, got none")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= logits.shape[1]:
        raise DataError(
            f"expected labels from 0 to {logits.shape[1] - 1}, got {low} to {high}: build the "
            "model with num_classes equal to the number of classes in the data"
        )


def _class_scores(confusion: Tensor) -> tuple[ClassScores, ...]:
    hits = confusion.diagonal().tolist()
    support, called = confusion.sum(dim=1).tolist(), confusion.sum(dim=0).tolist()
    return tuple(
        ClassScores(
            label,
            precision=hit / calls if calls else 0.0,
            recall=hit / images if images else 0.0,
            f1=2 * hit / (images + calls) if hit else 0.0,
            support=images,
        )
        for label, (hit, images, calls) in enumerate(zip(hits, support, called, strict=True))
    )


def _mistakes(
    predictions: Predictions, predicted: Tensor, confidence: Tensor, most: int
) -> tuple[Mistake, ...]:
    wrong = (predicted != predictions.labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)[:most]]
    columns = (predictions.indices, predictions.labels, predicted, confidence)
    rows = zip(*(column[worst].tolist() for column in columns), strict=True)
    return tuple(Mistake(*row) for row in rows)
