"""Image classification over any backbone that gives logits.

It knows neither the training loop nor any family: a model is something that turns images
into logits, and a batch something with images, labels and indices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn

from convatlas.errors import DataError, OptionError
from convatlas.tasks.ensembles import mean_of_probabilities
from convatlas.tasks.losses import Targets, distillation_loss, find_loss, label_loss
from convatlas.tasks.metrics import Evaluation, Predictions, evaluate_predictions

__all__ = ["Classification", "LabelledBatch"]


class LabelledBatch(Protocol):
    """Images with their classes.

    It may have ``partners`` and ``shares`` too, shape ``(N,)``: the class of the image that was
    mixed into each, and the share of its own class in 0 … 1.
    """

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
        loss: ``"cross-entropy"``, ``"bce"`` or ``"bce-soft"``; see ``tasks.losses.label_loss``.
        label_smoothing: Share of the target spread over all classes in training
            (Szegedy et al. 2016, arXiv:1512.00567, section 7).
        auxiliary_weight: Weight of each auxiliary classifier's loss, for networks that
            have some (Szegedy et al. 2014, arXiv:1409.4842, section 5).
        teacher: A network with the same classes whose predictions are imitated (Hinton et al.
            2015, arXiv:1503.02531). It gets the same images, is asked in evaluation mode and
            without gradients, moves to their device, and is part of no checkpoint.
        distillation_weight: Share a of the loss: ``(1 − a) · loss + a · T² · KL``.
        temperature: T, which divides the logits of teacher and student.

    Raises:
        OptionError: A number outside its range.
        UnknownNameError: No such loss.
    """

    def __init__(
        self,
        *,
        loss: str = "cross-entropy",
        label_smoothing: float = 0.0,
        auxiliary_weight: float = 0.3,
        teacher: nn.Module | None = None,
        distillation_weight: float = 0.5,
        temperature: float = 4.0,
    ) -> None:
        _require(0 <= label_smoothing < 1, "0 ≤ label_smoothing < 1", label_smoothing)
        _require(0 <= distillation_weight <= 1, "0 ≤ distillation_weight ≤ 1", distillation_weight)
        _require(temperature > 0, "temperature > 0", temperature)
        self.loss_name = find_loss(loss)
        self.label_smoothing = label_smoothing
        self.auxiliary_weight = auxiliary_weight
        self.teacher = teacher
        self.distillation_weight = distillation_weight
        self.temperature = temperature

    def loss(self, model: nn.Module, batch: LabelledBatch) -> tuple[Tensor, Tensor]:
        """Return the mean loss of a batch in nats, and the logits.

        A batch with ``partners`` and ``shares`` counts both classes of each image. In training
        mode a model with ``forward_with_auxiliary``, which gives the logits and a sequence of
        auxiliary logits, adds the weighted losses of the latter; these have no teacher.

        Raises:
            DataError: A label is none of the model's classes, or the teacher has others.
        """
        targets = self._targets(batch)
        with_auxiliary = getattr(model, "forward_with_auxiliary", None)
        auxiliary: Sequence[Tensor] = ()
        if not model.training or with_auxiliary is None:
            logits = model(batch.images)
        else:
            logits, auxiliary = with_auxiliary(batch.images)
        loss = label_loss(self.loss_name, logits, targets)
        if self.teacher is not None:
            taught = _taught(self.teacher, batch.images)
            imitation = distillation_loss(logits, taught, self.temperature)
            loss = torch.lerp(loss, imitation, self.distillation_weight)
        for each in auxiliary:
            loss = loss + self.auxiliary_weight * label_loss(self.loss_name, each, targets)
        return loss, logits

    def predict(self, model: nn.Module, batches: Iterable[LabelledBatch]) -> Predictions:
        """Return the logits of all images, with their labels and indices.

        The model works in evaluation mode, and is left in the mode it came in.

        Raises:
            DataError: ``batches`` is empty.
        """
        return _collect(model, batches, model)

    def predict_views(self, model: nn.Module, batches: Iterable[LabelledBatch]) -> Predictions:
        """Return predictions from several views of each image, such as ten crops.

        The probabilities of the views are averaged (Krizhevsky et al. 2012, section 4.1); the
        logits are the logarithm of the mean.

        Args:
            model: As for :meth:`predict`.
            batches: Images of shape ``(N, V, C, H, W)``: V views each.

        Raises:
            DataError: ``batches`` is empty, or holds no views.
        """

        def forward(images: Tensor) -> Tensor:
            if images.ndim != 5:
                raise DataError(
                    f"expected views of shape (N, V, C, H, W), got {tuple(images.shape)}: use "
                    "predict for one view"
                )
            logits = model(images.flatten(0, 1)).float()
            return mean_of_probabilities(logits.unflatten(0, images.shape[:2]))

        return _collect(model, batches, forward)

    def evaluate(self, model: nn.Module, batches: Iterable[LabelledBatch]) -> Evaluation:
        """Predict all images and measure the predictions.

        Raises:
            DataError: ``batches`` is empty, or a label is none of the model's classes.
        """
        return evaluate_predictions(self.predict(model, batches))

    def _targets(self, batch: LabelledBatch) -> Targets:
        partners, shares = getattr(batch, "partners", None), getattr(batch, "shares", None)
        return Targets(batch.labels, partners, shares, self.label_smoothing)


def _taught(teacher: nn.Module, images: Tensor) -> Tensor:
    """Return the teacher's logits."""
    with _evaluation_mode(teacher.to(images.device)), torch.no_grad():
        logits: Tensor = teacher(images)
    return logits


def _collect(
    model: nn.Module, batches: Iterable[LabelledBatch], forward: Callable[[Tensor], Tensor]
) -> Predictions:
    """Return what ``forward``, which asks ``model``, gives for all batches."""
    logits, labels, indices = [], [], []
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    with _evaluation_mode(model), torch.inference_mode():
        for batch in batches:
            logits.append(forward(batch.images.to(device)).float().cpu())
            labels.append(batch.labels.cpu())
            indices.append(batch.indices.cpu())
    if not logits:
        raise DataError("expected at least 1 image to predict, got none")
    return Predictions(torch.cat(logits), torch.cat(labels), torch.cat(indices))


def _require(holds: bool, expected: str, got: float) -> None:
    if not holds:
        raise OptionError(f"expected {expected}, got {got:g}")


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
