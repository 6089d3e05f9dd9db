"""A linear classifier on fixed features: how much of the classes they already tell apart.

Source: Alain and Bengio 2016, arXiv:1610.01644; for whole networks Kornblith et al. 2019,
arXiv:1805.08974. It knows no network.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.sampling import stratified_split
from convatlas.errors import DataError
from convatlas.tasks.metrics import Predictions

__all__ = ["Probe", "fit_probe"]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # inverse L2 factors, small ones hold back most
_ITERATIONS = 1000
_HOLDOUT = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Probe:
    """A fitted linear classifier.

    Attributes:
        strength: Inverse of the L2 factor that was chosen.
        predictions: What it says of the images to judge by.
    """

    strength: float
    predictions: Predictions


def fit_probe(
    features: Tensor, labels: Tensor, judged: Tensor, judged_labels: Tensor, *, seed: int = 0
) -> Probe:
    """Fit logistic regression on standardised features.

    The strength of its L2 term is chosen on a quarter of the training images; the images to
    judge by choose nothing.

    Args:
        features: Of the training images, shape ``(N, D)``.
        labels: Their classes, shape ``(N,)``, int64; all of 0 … C-1 occur.
        judged: Features of the images to judge by, shape ``(M, D)``.
        judged_labels: Their classes, shape ``(M,)``.
        seed: Decides the quarter.

    Raises:
        DataError: A class without two training images, fewer than two classes, or features
            that are not finite.
    """
    for part in (features, judged):
        if not bool(part.isfinite().all()):
            raise DataError("expected finite features, got infinite or NaN ones: check the weights")
    _check_classes(labels, judged_labels)
    kept, held = stratified_split(labels.tolist(), _HOLDOUT, seed)
    x, y = features.double().numpy(), labels.numpy()
    scores = [_fitted(x[kept], y[kept], each).score(x[held], y[held]) for each in _STRENGTHS]
    strength = _STRENGTHS[int(np.argmax(scores))]  # the most held back of the best
    logits = _logits(_fitted(x, y, strength), judged)
    places = torch.arange(len(judged_labels))
    return Probe(strength, Predictions(logits, judged_labels, places))


def _check_classes(labels: Tensor, judged_labels: Tensor) -> None:
    known = sorted(set(labels.tolist()))
    foreign = sorted(set(judged_labels.tolist()) - set(known))
    if len(known) < 2 or known != list(range(len(known))) or foreign:
        missing = f", without {foreign[0]}, which is judged" if foreign else ""
        raise DataError(
            "expected training images of 2 or more classes and of each from 0 to the last, got "
            f"classes {known[:5]}{missing}: add images"
        )


def _fitted(x: Any, y: Any, strength: float) -> Any:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    regression = LogisticRegression(C=strength, max_iter=_ITERATIONS)
    with warnings.catch_warnings():
        # After so many steps the classes hardly change any more.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(StandardScaler(), regression).fit(x, y)


def _logits(probe: Any, judged: Tensor) -> Tensor:
    """Return logarithms of probabilities, which stay finite where a probability rounds to 0."""
    decision = torch.from_numpy(probe.decision_function(judged.double().numpy()))
    if decision.ndim == 1:  # two classes: the logit of the second
        decision = torch.stack([torch.zeros_like(decision), decision], dim=1)
    return decision.log_softmax(dim=1).float()
