"""How far the figures of an evaluation could be off because the images are a sample.

Percentile bootstrap (Efron 1979, "Bootstrap methods: another look at the jackknife"): the images
are drawn again with replacement, many times over, and every figure is computed from each draw.
It knows no network.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from numpy.typing import NDArray

from convatlas.errors import OptionError
from convatlas.tasks.calibration import bin_numbers, brier_scores
from convatlas.tasks.metrics import Predictions, in_top5

__all__ = [
    "DEFAULT_RESAMPLES",
    "Intervals",
    "bootstrap_intervals",
    "percentile_interval",
    "require_resamples",
]

DEFAULT_RESAMPLES = 2_000

_LARGEST_PART = 4_000_000  # draws that are held in memory at once
_FEWEST = 100
_BOUNDS = (2.5, 97.5)

Interval = tuple[float, float]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Intervals:
    """95 % percentile intervals of an evaluation's figures.

    Attributes:
        resamples: Number of draws.
        seed: Decides them.
        accuracy: Of the accuracy.
        top5_accuracy: Of the top-5 accuracy; None with fewer than six classes.
        macro_f1: Of the mean F1; a class that a draw neither shows nor predicts is left out.
        expected_calibration_error: Of the calibration error. A draw repeats images, which moves
            this figure upwards; so its interval lies a little high on few images.
        loss_nats: Of the cross-entropy.
        brier_score: Of the Brier score.
    """

    resamples: int
    seed: int
    accuracy: Interval
    top5_accuracy: Interval | None
    macro_f1: Interval
    expected_calibration_error: Interval
    loss_nats: Interval
    brier_score: Interval


def bootstrap_intervals(
    predictions: Predictions, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> Intervals:
    """Return the intervals of the figures of ``predictions``.

    Args:
        predictions: Logits and labels of at least one image.
        resamples: Number of draws.
        seed: Decides them.

    Raises:
        OptionError: Fewer than 100 draws.
    """
    require_resamples(resamples)
    figures = _figures(predictions)
    drawn: dict[str, list[Floats]] = {name: [] for name in figures}
    for counts in _draws(len(predictions.labels), resamples, seed):
        for name, figure in figures.items():
            drawn[name].append(figure(counts))
    found = {name: percentile_interval(np.concatenate(parts)) for name, parts in drawn.items()}
    return Intervals(
        resamples=resamples,
        seed=seed,
        accuracy=found["accuracy"],
        top5_accuracy=found.get("top5_accuracy"),
        macro_f1=found["macro_f1"],
        expected_calibration_error=found["expected_calibration_error"],
        loss_nats=found["loss_nats"],
        brier_score=found["brier_score"],
    )


def require_resamples(resamples: int) -> None:
    """Raise unless so many draws give an interval.

    Raises:
        OptionError: Fewer than 100.
    """
    if resamples < _FEWEST:
        raise OptionError(f"expected at least {_FEWEST} draws, got {resamples}: 2,000 are usual")


def percentile_interval(values: Floats) -> Interval:
    """Return the bounds between which the middle 95 % of ``values`` lie."""
    low, high = np.percentile(values, _BOUNDS)
    return float(low), float(high)


def _draws(images: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Yield how often every image is drawn, multinomial counts of shape ``(part, images)``."""
    generator = np.random.default_rng(seed)
    part = max(1, _LARGEST_PART // images)
    for start in range(0, resamples, part):
        rows = min(part, resamples - start)
        drawn = generator.integers(images, size=(rows, images))
        drawn += images * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * images)
        yield counts.reshape(rows, images).astype(np.float64)


def _figures(predictions: Predictions) -> dict[str, Callable[[Floats], Floats]]:
    """Return every figure as a function of the counts of a draw, one value per draw."""
    logits, labels = predictions.logits.double(), predictions.labels
    probabilities = logits.softmax(dim=1)
    confidence, predicted = probabilities.max(dim=1)
    right = (predicted == labels).double().numpy()
    gap = right - confidence.numpy()
    by_bin = _Groups(bin_numbers(confidence).numpy())
    shares = {
        "accuracy": right,
        "loss_nats": F.cross_entropy(logits, labels, reduction="none").numpy(),
        "brier_score": brier_scores(probabilities, labels).numpy(),
    }
    top5 = in_top5(logits, labels)
    if top5 is not None:
        shares["top5_accuracy"] = top5.double().numpy()
    figures: dict[str, Callable[[Floats], Floats]] = {
        name: _mean_of(values) for name, values in shares.items()
    }
    figures["expected_calibration_error"] = lambda counts: (
        np.abs(by_bin.sums(counts, gap)).sum(axis=1) / len(right)
    )
    figures["macro_f1"] = _macro_f1(labels.numpy(), predicted.numpy(), logits.shape[1])
    return figures


def _mean_of(values: Floats) -> Callable[[Floats], Floats]:
    return lambda counts: counts @ values / len(values)


def _macro_f1(
    labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int
) -> Callable[[Floats], Floats]:
    by_label, by_predicted = _Groups(labels), _Groups(predicted)
    right = (labels == predicted).astype(np.float64)

    def figure(counts: Floats) -> Floats:
        hits, occurring = np.zeros((2, len(counts), classes))
        hits[:, by_label.names] = 2 * by_label.sums(counts, right)
        occurring[:, by_label.names] = by_label.sums(counts)
        occurring[:, by_predicted.names] += by_predicted.sums(counts)
        scores: Floats = (hits / np.maximum(occurring, 1)).sum(axis=1)
        return scores / (occurring > 0).sum(axis=1)

    return figure


class _Groups:
    """Images sorted into groups, so that sums over each group are one pass.

    Args:
        numbers: Group of every image.
    """

    def __init__(self, numbers: NDArray[np.int64]) -> None:
        self._order = np.argsort(numbers, kind="stable")
        self.names, self._starts = np.unique(numbers[self._order], return_index=True)

    def sums(self, counts: Floats, values: Floats | None = None) -> Floats:
        """Return the sums of counts, or of counts times values, shape ``(draws, groups)``."""
        weighted = counts[:, self._order]
        if values is not None:
            weighted *= values[self._order]
        sums: Floats = np.add.reduceat(weighted, self._starts, axis=1)
        return sums
