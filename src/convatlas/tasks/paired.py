"""Whether one classifier is better than another, judged on the same images.

Two classifiers fail on much the same images, so the difference between them is known far better
than either accuracy. It knows no network.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from convatlas.errors import DataError
from convatlas.tasks.bootstrap import DEFAULT_RESAMPLES, percentile_interval, require_resamples
from convatlas.tasks.metrics import Predictions

__all__ = ["PairedComparison", "compare_predictions", "mcnemar_p_value", "require_same_images"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class PairedComparison:
    """Classifier B against classifier A on the same images.

    Attributes:
        images: Number of images.
        both_right: Images that both have right.
        only_a_right: Images that A alone has right.
        only_b_right: Images that B alone has right.
        both_wrong: Images that neither has right.
        difference: Accuracy of B minus that of A, −1 … 1.
        difference_interval: Its 95 % paired bootstrap interval.
        p_value: Chance of a difference at least as large if both were equally good.
        resamples: Number of draws of the bootstrap.
    """

    images: int
    both_right: int
    only_a_right: int
    only_b_right: int
    both_wrong: int
    difference: float
    difference_interval: tuple[float, float]
    p_value: float
    resamples: int

    @property
    def is_significant(self) -> bool:
        """Whether the p-value is below 0.05."""
        return self.p_value < _SIGNIFICANT

    def verdict(self, a: str = "A", b: str = "B") -> str:
        """Return the result as one sentence, with the classifiers called ``a`` and ``b``."""
        sign = 1 if self.difference >= 0 else -1
        better, worse = (b, a) if sign > 0 else (a, b)
        low, high = sorted(100 * sign * bound for bound in self.difference_interval)
        points = f"{100 * abs(self.difference):.1f} points"
        span = f"95 %: {low:.1f} to {high:.1f}".replace("-", "−")
        chance = "p < 0.001" if self.p_value < 0.001 else f"p = {self.p_value:.2g}"
        if self.is_significant:
            return f"{better} is better than {worse} by {points} ({span}), {chance}."
        lead = f"{better} is ahead by {points}" if self.difference else "they are level"
        return f"{a} and {b} cannot be told apart: {lead} ({span}), {chance}."


def compare_predictions(
    a: Predictions, b: Predictions, *, resamples: int = DEFAULT_RESAMPLES, seed: int = 0
) -> PairedComparison:
    """Compare two classifiers image by image.

    Args:
        a: Predictions of one.
        b: Predictions of the other, for the same images in the same order.
        resamples: Number of draws of the bootstrap.
        seed: Decides them.

    Raises:
        DataError: Other images, or none.
        OptionError: Fewer than 100 draws.
    """
    require_same_images(a, b)
    require_resamples(resamples)
    right_a, right_b = (each.logits.argmax(dim=1) == each.labels for each in (a, b))
    images = len(a.labels)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    both = int((right_a & right_b).sum())
    # An image counts −1, 0 or +1, so a draw of all images is a draw of three numbers.
    odds = np.array([only_a, only_b, images - only_a - only_b]) / images
    counts = np.random.default_rng(seed).multinomial(images, odds, size=resamples)
    return PairedComparison(
        images=images,
        both_right=both,
        only_a_right=only_a,
        only_b_right=only_b,
        both_wrong=images - both - only_a - only_b,
        difference=(only_b - only_a) / images,
        difference_interval=percentile_interval((counts[:, 1] - counts[:, 0]) / images),
        p_value=mcnemar_p_value(only_a, only_b),
        resamples=resamples,
    )


def mcnemar_p_value(only_a: int, only_b: int) -> float:
    """Return the two-sided p-value of McNemar's exact test.

    Were both equally good, each image on which exactly one is right would be a toss of a fair
    coin (McNemar 1947, "Note on the sampling error of the difference between correlated
    proportions or percentages"; exact form: the binomial test with probability 1/2).

    Args:
        only_a: Images that A alone has right.
        only_b: Images that B alone has right.
    """
    tosses, fewer = only_a + only_b, min(only_a, only_b)
    if 2 * fewer >= tosses:
        return 1.0
    term = tail = 1
    for heads in range(1, fewer + 1):
        term = term * (tosses - heads + 1) // heads
        tail += term
    return min(1.0, 2 * tail / 2**tosses)


def require_same_images(a: Predictions, b: Predictions) -> None:
    """Raise unless both are for the same images, with the same labels and classes.

    Raises:
        DataError: They are not.
    """
    for name, one, other in (
        ("images", len(a.labels), len(b.labels)),
        ("classes", a.logits.shape[1], b.logits.shape[1]),
    ):
        if one != other:
            raise DataError(
                f"expected predictions with the same {name}, got {one} and {other}: evaluate both "
                "on one set of images"
            )
    if len(a.labels) == 0:
        raise DataError("expected at least 1 image to compare on, got none")
    if not (torch.equal(a.labels, b.labels) and torch.equal(a.indices, b.indices)):
        raise DataError(
            "expected predictions for the same images in the same order, got others: evaluate "
            "both on one set of images"
        )
