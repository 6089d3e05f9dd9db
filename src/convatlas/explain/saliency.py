"""Saliency: which pixels the class score reacts to, by the gradient at the image.

Works on any classifier of images; maps are numbers, not pictures.

Sources: Simonyan, Vedaldi, Zisserman, "Deep Inside Convolutional Networks", 2013,
arXiv 1312.6034, section 3; Smilkov et al., "SmoothGrad", 2017, arXiv 1706.03825.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.explain.scores import (
    class_scores,
    differentiating,
    graph_leaf,
    scaled,
    target_classes,
)

__all__ = ["gradient_saliency", "input_gradient", "smooth_grad"]


def input_gradient(model: nn.Module, images: Tensor, target: int | Tensor | None = None) -> Tensor:
    """Return the gradient of each image's class score at the image, shape ``(N, C, H, W)``.

    Args:
        model: Gives logits; its mode, gradients and parameters stay as they are.
        images: Preprocessed images, shape ``(N, C, H, W)``.
        target: Class to explain, one for all or one per image; None explains the prediction.

    Raises:
        OptionError: No such class.
    """
    with differentiating(model):
        leaf = graph_leaf(model, images)
        (gradient,) = torch.autograd.grad(class_scores(model(leaf), target).sum(), leaf)
    return gradient.float().to(images.device)


def gradient_saliency(
    model: nn.Module, images: Tensor, target: int | Tensor | None = None
) -> Tensor:
    """Return the gradient's largest magnitude over channels, shape ``(N, H, W)``, in [0, 1].

    Arguments and errors are those of ``input_gradient``.
    """
    return _magnitude(input_gradient(model, images, target))


def smooth_grad(
    model: nn.Module,
    images: Tensor,
    target: int | Tensor | None = None,
    *,
    samples: int = 25,
    noise: float = 0.15,
    seed: int = 0,
) -> Tensor:
    """Return the saliency of the gradient averaged over noisy copies, ``(N, H, W)`` in [0, 1].

    Args:
        model: Gives logits; its mode, gradients and parameters stay as they are.
        images: Preprocessed images, shape ``(N, C, H, W)``.
        target: Class to explain; None explains the prediction for the image without noise.
        samples: Number of noisy copies of each image.
        noise: Standard deviation of the noise, as a fraction of the image's range.
        seed: Decides the noise; torch's own generators are not used.

    Raises:
        OptionError: No such class, no samples, or negative noise.
    """
    if samples < 1 or noise < 0:
        raise OptionError(
            f"smooth_grad needs samples ≥ 1 and noise ≥ 0, got samples={samples}, noise={noise}"
        )
    with differentiating(model), torch.no_grad():
        classes = target_classes(model(graph_leaf(model, images)), target)
    generator = torch.Generator().manual_seed(seed)
    sigma = noise * (images.amax((1, 2, 3), True) - images.amin((1, 2, 3), True))
    total = torch.zeros(images.shape, device=images.device)
    for _ in range(samples):
        step = torch.randn(images.shape, generator=generator).to(images.device)
        total += input_gradient(model, images + sigma * step, classes)
    return _magnitude(total / samples)


def _magnitude(gradient: Tensor) -> Tensor:
    return scaled(gradient.abs().amax(dim=1))
