"""Image classification over any backbone that gives logits.

It knows neither the training loop nor any family: a model is something that turns images
into logits, and a batch something with images, labels and indices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import DataError, OptionError
from convatlas.tasks.metrics import Evaluation, Predictions, evaluate_predictions

__all__ = ["Classification", "LabelledBatch"]


class LabelledBatch(Protocol):
    """Images with their classes."""

    @property
    def images(self) -> Tensor:
        """Float images, shape ``(N, C, H, W)``."""

    @property
    def labels(self) -> Tensor:
        """Classes, shape ``(N,)``, int64."""

    @property
    def indices(self) -> Tensor:
        """Position of each image in its data set, shape ``(N,)``, int64."""


class Classification:
    """One class per image.

    Args:
        label_smoothing: Share of the target spread over all classes in training
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).
        auxiliary_weight: Weight of each auxiliary classifier's loss, for networks that
            have some (Szegedy et al. 2014, arXiv:1409.4842, section 5).
    """

    def __init__(self, *, label_smoothing: float = 0.0, auxiliary_weight: float = 0.3) -> None:
        if not 0 <= label_smoothing < 1:
            raise OptionError(f"expected 0 ≤ label_smoothing < 1, got {label_smoothing:g}")
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight

    def loss(self, model: nn.Module, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
        """Return the mean cross-entropy of a batch in nats, and the logits.

        In training mode a model with ``forward_with_auxiliary``, which gives the logits and
        a sequence of auxiliary logits, adds the weighted losses of the latter.

        Raises:
            DataError: A label is none of the model's classes.
        """
        with_auxiliary = getattr(model, "forward_with_auxiliary", None)
        if not model.training or with_auxiliary is None:
            logits = model(batch.images)
            return self._cross_entropy(logits, batch.labels), logits
        logits, auxiliary = with_auxiliary(batch.images)
        loss = self._cross_entropy(logits, batch.labels)
        for each in auxiliary:
            loss = loss + self.auxiliary_weight * self._cross_entropy(each, batch.labels)
        return loss, logits

    def predict(self, model: nn.Module, batches: Iterable[LabelledBatch]) -> Predictions:
        """Return the logits of all images, with their labels and indices.

        The model works in evaluation mode, and is left in the mode it came in.

        Raises:
            DataError: ``batches`` is empty.
        """
        logits, labels, indices = [], [], []
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        with _evaluation_mode(model), torch.inference_mode():
            for batch in batches:
                logits.append(model(batch.images.to(device)).float().cpu())
                labels.append(batch.labels.cpu())
                indices.append(batch.indices.cpu())
        if not logits:
            raise DataError("expected at least 1 image to predict, got none")
        return Predictions(torch.cat(logits), torch.cat(labels), torch.cat(indices))

    def evaluate(self, model: nn.Module, batches: Iterable[LabelledBatch]) -> Evaluation:
        """Predict all images and measure the predictions.

        Raises:
            DataError: ``batches`` is empty, or a label is none of the model's classes.
        """
        return evaluate_predictions(self.predict(model, batches))

    def _cross_entropy(self, logits: Tensor, labels: Tensor) -> Tensor:
        try:
            return F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        except IndexError:  # what the CPU kernel raises for a label that is no class
            raise DataError(
                f"expected labels from 0 to {logits.shape[1] - 1}, got {int(labels.min())} to "
                f"{int(labels.max())}: build the model with num_classes equal to the number of "
                "classes in the data"
            ) from None


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
