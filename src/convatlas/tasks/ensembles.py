"""Several predictions for the same images made into one: the mean of their probabilities.

The parts may be runs, checkpoints of one run (snapshot ensembles, Huang et al. 2017,
arXiv:1704.00109), or views of an image. It knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convatlas.errors import DataError
from convatlas.tasks.metrics import Predictions
from convatlas.tasks.paired import require_same_images

__all__ = ["ensemble", "mean_of_probabilities"]


def ensemble(parts: Sequence[Predictions]) -> Predictions:
    """Return the predictions of all ``parts`` together.

    Args:
        parts: Predictions for the same images in the same order.

    Raises:
        DataError: No parts, or parts for other images.
    """
    if not parts:
        raise DataError("expected at least 1 set of predictions for an ensemble, got none")
    first = parts[0]
    for other in parts[1:]:
        require_same_images(first, other)
    logits = mean_of_probabilities(torch.stack([part.logits for part in parts], dim=1))
    return Predictions(logits, first.labels, first.indices)


def mean_of_probabilities(logits: Tensor) -> Tensor:
    """Return the logarithm of the mean of ``softmax(logits)`` over the views.

    Args:
        logits: Shape ``(N, V, num_classes)``.

    Returns:
        Logits whose softmax is that mean, shape ``(N, num_classes)``, float32.
    """
    likelihoods = logits.double().log_softmax(dim=2)
    views = torch.tensor(float(logits.shape[1]), dtype=torch.float64, device=logits.device)
    return (likelihoods.logsumexp(dim=1) - views.log()).float()
