"""What training minimises, as functions of logits and targets, in nats.

A target is a label, or the shares of two labels where two images were mixed (mixup, Zhang et al.
2017, arXiv:1710.09412; CutMix, Yun et al. 2019, arXiv:1905.04899). It knows neither networks nor
batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from convatlas.errors import DataError, UnknownNameError

__all__ = ["LossName", "Targets", "distillation_loss", "find_loss", "label_loss"]

LossName = Literal["cross-entropy", "bce", "bce-soft"]


@dataclass(frozen=True, slots=True, eq=False)
class Targets:
    """What each image shows.

    Attributes:
        labels: Own class, shape ``(N,)``, int64.
        partners: Class of the image that was mixed in, shape ``(N,)``, or None.
        shares: Share of the own class in 0 … 1, shape ``(N,)``; None unmixed.
        smoothing: Share of the target that is spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
    """

    labels: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None
    smoothing: float = 0.0


def find_loss(name: str) -> LossName:
    """Return ``name`` if it is a loss.

    Raises:
        UnknownNameError: It is none.
    """
    known: tuple[LossName, ...] = get_args(LossName)
    for each in known:
        if each == name:
            return each
    raise UnknownNameError.of("loss", name, known)


def label_loss(name: LossName, logits: Tensor, targets: Targets) -> Tensor:
    """Return the mean loss of a batch.

    ``"cross-entropy"`` is ``share · CE(own) + (1 − share) · CE(partner)``. ``"bce"`` asks of every
    class by itself whether it is there: each class with a share above 0 is, and the mean goes over
    images and classes (after Wightman et al. 2021, arXiv:2110.00476; the 0 as in
    facebookresearch/deit engine.py, where timm lets one choose). ``"bce-soft"`` takes the shares
    themselves as targets.

    Args:
        name: The loss.
        logits: Shape ``(N, num_classes)``.
        targets: What the images show.

    Raises:
        DataError: A label is none of the classes.
    """
    logits = logits.float()
    try:
        if name == "cross-entropy":
            return _cross_entropy(logits, targets)
        return _binary_cross_entropy(logits, targets, soft=name == "bce-soft")
    except (IndexError, RuntimeError) as error:
        # What the CPU kernels raise for a label that is no class.
        if "out of bounds" not in str(error):
            raise
        labels = targets.labels
        if targets.partners is not None:
            labels = torch.cat([labels, targets.partners])
        raise DataError(
            f"expected labels from 0 to {logits.shape[1] - 1}, got {int(labels.min())} to "
            f"{int(labels.max())}: build the model with num_classes equal to the number of "
            "classes in the data"
        ) from None


def distillation_loss(logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """Return ``T² · KL(teacher / T ‖ student / T)``, the mean over the batch.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2; T² keeps the gradients of the same
    size whatever the temperature.

    Args:
        logits: The student's, shape ``(N, num_classes)``.
        teacher_logits: The teacher's, same shape.
        temperature: T.

    Raises:
        DataError: Another number of classes.
    """
    if logits.shape != teacher_logits.shape:
        raise DataError(
            f"expected a teacher with {logits.shape[1]} classes, got {teacher_logits.shape[1]}: "
            "take one that was trained on the same classes"
        )
    student = (logits.float() / temperature).log_softmax(dim=1)
    teacher = (teacher_logits.float() / temperature).log_softmax(dim=1)
    return temperature**2 * F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _cross_entropy(logits: Tensor, targets: Targets) -> Tensor:
    smoothing = targets.smoothing
    if targets.partners is None or targets.shares is None:
        return F.cross_entropy(logits, targets.labels, label_smoothing=smoothing)
    own, partner = (
        F.cross_entropy(logits, labels, label_smoothing=smoothing, reduction="none")
        for labels in (targets.labels, targets.partners)
    )
    return (targets.shares * own + (1 - targets.shares) * partner).mean()


def _binary_cross_entropy(logits: Tensor, targets: Targets, *, soft: bool) -> Tensor:
    wanted = torch.zeros_like(logits)
    if targets.partners is None or targets.shares is None:
        wanted.scatter_(1, targets.labels[:, None], 1.0)
    else:
        shares = targets.shares.to(logits)[:, None]
        wanted.scatter_add_(1, targets.labels[:, None], shares)
        wanted.scatter_add_(1, targets.partners[:, None], 1 - shares)
        wanted = wanted if soft else (wanted > 0).to(logits)
    smoothing = targets.smoothing
    wanted = wanted * (1 - smoothing) + smoothing / logits.shape[1]
    return F.binary_cross_entropy_with_logits(logits, wanted)
