"""What the explanations share: the score of a class, and the model left as it was found.

Knows the anatomy only; no method of explanation and no colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError

__all__ = ["class_scores", "differentiating", "graph_leaf", "heatmap", "scaled", "target_classes"]


@contextmanager
def differentiating(model: nn.Module) -> Iterator[None]:
    """Run ``model`` in evaluation mode with gradients on; give every module its mode back."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def graph_leaf(model: nn.Module, images: Tensor) -> Tensor:
    """Return ``images`` as a copy beside the model's weights, ready to be differentiated."""
    weight = next(model.parameters(), images)
    return images.detach().to(weight.device, weight.dtype, copy=True).requires_grad_()


def target_classes(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """Return the class to explain per image, shape ``(N,)``.

    Args:
        logits: Shape ``(N, num_classes)``.
        target: One class for all images, one per image (shape ``(N,)``), or None for each
            image's highest logit.

    Raises:
        OptionError: No such class, not one class per image, or logits that are not finite.
    """
    count, num_classes = logits.shape
    if not torch.isfinite(logits).all():
        raise OptionError(
            "expected finite logits, got NaN or infinity: the weights or the images are broken, "
            "check the training log"
        )
    if target is None:
        return logits.argmax(dim=1)
    classes = torch.as_tensor(target, device=logits.device)
    if classes.dtype.is_floating_point or classes.shape not in ((), (count,)):
        raise OptionError(
            f"target must be one class number, or {count} of them for {count} images, "
            f"got {tuple(classes.shape)} of {classes.dtype}"
        )
    classes = classes.long().expand(count)
    if ((classes < 0) | (classes >= num_classes)).any():
        raise OptionError(
            f"target must be in 0…{num_classes - 1} for {num_classes} classes, got {target}"
        )
    return classes


def class_scores(logits: Tensor, target: int | Tensor | None) -> Tensor:
    """Return each image's logit of its target class, shape ``(N,)``."""
    classes = target_classes(logits, target)
    return logits.gather(1, classes[:, None]).squeeze(1)


def heatmap(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the positive part of ``scores`` (N, h, w), enlarged bilinearly and in [0, 1]."""
    positive = scores.relu()[:, None]
    enlarged = nn.functional.interpolate(positive, size, mode="bilinear", align_corners=False)
    return scaled(enlarged.squeeze(1))


def scaled(maps: Tensor) -> Tensor:
    """Divide each map (N, H, W) by its maximum; a map of zeros stays zero."""
    largest = maps.amax(dim=(1, 2), keepdim=True)
    return torch.where(largest > 0, maps / largest, torch.zeros_like(maps))
