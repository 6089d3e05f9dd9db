"""Whether probabilities mean what they say, and the one number that mends them most.

Pure arithmetic on logits and labels; it knows no network and no class names.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from convatlas.errors import DataError

__all__ = [
    "Calibration",
    "ReliabilityBin",
    "Scaling",
    "bin_numbers",
    "brier_scores",
    "cross_fitted_scaling",
    "expected_calibration_error",
    "fit_temperature",
    "measure_calibration",
    "reliability_bins",
]

_BINS = 15
_MOST_STEPS = 60
_EXACT = 1e-7  # of the last step; the one after it would be its square
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The images whose confidence falls between two bounds.

    Attributes:
        low: Confidence above this …
        high: … and up to this.
        count: Number of images.
        confidence: Their mean confidence; None without images.
        accuracy: Share of them that is right; None without images.
    """

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Calibration:
    """How far probabilities are from the truth.

    Attributes:
        expected_calibration_error: Mean distance of confidence and accuracy over the bins,
            weighted by their images.
        max_calibration_error: The largest of these distances.
        loss_nats: Negative log likelihood of the true class, mean over the images.
        brier_score: Squared distance of the probabilities from 1 for the true class and 0 for
            the others, summed over the classes, mean over the images: 0 … 2 (Brier 1950).
        bins: The reliability table.
    """

    expected_calibration_error: float
    max_calibration_error: float
    loss_nats: float
    brier_score: float
    bins: tuple[ReliabilityBin, ...]


@dataclass(frozen=True, slots=True)
class Scaling:
    """Temperature scaling, and what it does to images that it was not fitted on.

    Attributes:
        temperature: Fitted on all images: divide logits by it from now on.
        half_temperatures: Fitted on either half of the images.
        at_bound: Whether one of them stopped at the end of its range, because the likelihood
            has no maximum inside, as where every image of a half is right.
        calibration: Of all images, each scaled by the temperature of the other half.
    """

    temperature: float
    half_temperatures: tuple[float, float]
    at_bound: bool
    calibration: Calibration


def expected_calibration_error(confidence: Tensor, right: Tensor, *, bins: int = _BINS) -> float:
    """Return the mean of ``|accuracy − confidence|`` over bins, weighted by their images.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3, with 15 bins ``((m−1)/M, m/M]``.

    Args:
        confidence: Probability of the predicted class, shape ``(N,)``.
        right: Whether the prediction is right, shape ``(N,)``.
        bins: Number of bins of equal width.
    """
    gap = torch.zeros(bins, dtype=torch.float64)
    gap.index_add_(0, bin_numbers(confidence, bins), right.double() - confidence.double())
    return gap.abs().sum().item() / len(confidence)


def bin_numbers(confidence: Tensor, bins: int = _BINS) -> Tensor:
    """Return the bin of each image, from 0, shape ``(N,)``."""
    return (confidence.double() * bins).ceil().long().clamp(1, bins) - 1


def reliability_bins(
    confidence: Tensor, right: Tensor, *, bins: int = _BINS
) -> tuple[ReliabilityBin, ...]:
    """Return count, mean confidence and accuracy of every bin.

    The arguments are those of :func:`expected_calibration_error`.
    """
    number = bin_numbers(confidence, bins)
    counts = torch.bincount(number, minlength=bins).tolist()
    sums = [
        torch.bincount(number, weights=values.double(), minlength=bins).tolist()
        for values in (confidence, right)
    ]
    return tuple(
        ReliabilityBin(
            low=place / bins,
            high=(place + 1) / bins,
            count=count,
            confidence=sums[0][place] / count if count else None,
            accuracy=sums[1][place] / count if count else None,
        )
        for place, count in enumerate(counts)
    )


def measure_calibration(logits: Tensor, labels: Tensor) -> Calibration:
    """Measure the probabilities that ``logits`` stand for.

    Args:
        logits: Shape ``(N, num_classes)``, N at least 1.
        labels: True classes, shape ``(N,)``.
    """
    likelihoods = logits.double().log_softmax(dim=1)
    probabilities = likelihoods.exp()
    confidence, predicted = probabilities.max(dim=1)
    table = reliability_bins(confidence, predicted == labels)
    gaps = [
        (abs(each.accuracy - each.confidence), each.count)
        for each in table
        if each.accuracy is not None and each.confidence is not None
    ]
    return Calibration(
        expected_calibration_error=sum(gap * count for gap, count in gaps) / len(labels),
        max_calibration_error=max(gap for gap, _ in gaps),
        loss_nats=-_of_true(likelihoods, labels).mean().item(),
        brier_score=brier_scores(probabilities, labels).mean().item(),
        bins=table,
    )


def brier_scores(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the Brier score of every image, shape ``(N,)``."""
    return probabilities.square().sum(dim=1) - 2 * _of_true(probabilities, labels) + 1


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the T in 0.05 … 20 that makes ``softmax(logits / T)`` the most likely.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2. The negative log likelihood is convex
    in 1/T, so Newton's method finds its one minimum, kept by bisection within the range. Scaling
    by T changes no ranking, so no prediction.

    Args:
        logits: Shape ``(N, num_classes)``.
        labels: True classes, shape ``(N,)``.

    Raises:
        DataError: No images.
    """
    if len(labels) == 0:
        raise DataError("expected at least 1 image to fit a temperature on, got none")
    scores = logits.double()
    wanted = _of_true(scores, labels)
    low, high, inverse = 1 / _HIGHEST, 1 / _LOWEST, 1.0
    for _ in range(_MOST_STEPS):
        probabilities = (scores * inverse).softmax(dim=1)
        mean = (probabilities * scores).sum(dim=1)
        slope = (mean - wanted).mean().item()
        curvature = ((probabilities * scores.square()).sum(dim=1) - mean.square()).mean().item()
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        newton = inverse - slope / curvature if curvature > 0 else 0.0
        if abs(newton - inverse) <= _EXACT * inverse:
            return 1 / newton
        inverse = newton if low < newton < high else (low * high) ** 0.5
    return 1 / inverse


def cross_fitted_scaling(logits: Tensor, labels: Tensor, *, seed: int = 0) -> Scaling | None:
    """Fit a temperature on each half of the images and judge it by the other half.

    A calibration error measured on the images that the temperature was fitted on would be
    flattered. None for fewer than two images.

    Args:
        logits: Shape ``(N, num_classes)``.
        labels: True classes, shape ``(N,)``.
        seed: Decides the halves.
    """
    count = len(labels)
    if count < 2:
        return None
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    halves = (order[: count // 2], order[count // 2 :])
    fitted = [fit_temperature(logits[half], labels[half]) for half in halves]
    scaled = logits.double()
    for half, temperature in zip(halves, reversed(fitted), strict=True):
        scaled[half] = logits[half].double() / temperature
    whole = fit_temperature(logits, labels)
    near_bound = [t < 1.001 * _LOWEST or t > _HIGHEST / 1.001 for t in (*fitted, whole)]
    return Scaling(
        temperature=whole,
        half_temperatures=(fitted[0], fitted[1]),
        at_bound=any(near_bound),
        calibration=measure_calibration(scaled, labels),
    )


def _of_true(values: Tensor, labels: Tensor) -> Tensor:
    return values.gather(1, labels[:, None])[:, 0]
