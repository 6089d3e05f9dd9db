"""Class activation maps: where in the image a class finds its evidence.

Works on every ``ConvNet``: the anatomy names the feature maps, so no hooks are set.
Colours and overlays are not drawn here.

Sources: Zhou et al., "Learning Deep Features for Discriminative Localization", 2016,
arXiv 1512.04150; Selvaraju et al., "Grad-CAM", 2017, arXiv 1610.02391.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.explain.scores import (
    class_scores,
    differentiating,
    graph_leaf,
    heatmap,
    target_classes,
)
from convatlas.models.anatomy import ConvNet

__all__ = [
    "class_activation_map",
    "class_activation_scores",
    "default_stage",
    "grad_cam",
    "grad_cam_scores",
]

_SMALLEST_MAP = 4
_PER_POSITION = (nn.Flatten, nn.Dropout, nn.Identity)


def grad_cam(
    model: ConvNet,
    images: Tensor,
    target: int | Tensor | None = None,
    *,
    stage: str | None = None,
) -> Tensor:
    """Return Grad-CAM heat maps in [0, 1], shape ``(N, H, W)``, as large as the images.

    Each map is divided by its maximum; a map without positive evidence is zero everywhere.

    Args:
        model: The network; its mode, gradients and parameters stay as they are.
        images: Preprocessed images, shape ``(N, C, H, W)``.
        target: Class to explain, one for all or one per image; None explains the prediction.
        stage: A name in ``model.feature_info``; by default the last stage whose map is at
            least 4×4, or the last one when none is.

    Raises:
        OptionError: No such class or stage.
        InputSizeError: Images that the network does not take.
    """
    scores = grad_cam_scores(model, images, target, stage=stage)
    return heatmap(scores, _size(images)).to(images.device)


def grad_cam_scores(
    model: ConvNet,
    images: Tensor,
    target: int | Tensor | None = None,
    *,
    stage: str | None = None,
) -> Tensor:
    """Return Grad-CAM before its ReLU and at the stage's own size, shape ``(N, h, w)``.

    With α the class score's gradient averaged over positions (equation 1), the sum over
    channels of α times the feature map (inside equation 2). Arguments and errors are those
    of ``grad_cam``.
    """
    with differentiating(model):
        features = model.forward_features(graph_leaf(model, images))
        feature = features[_stage_index(model, features, stage)]
        score = class_scores(model.head(features[-1]), target)
        (gradient,) = torch.autograd.grad(score.sum(), feature)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        return (weights * feature).sum(dim=1).detach().float()


def class_activation_map(
    model: ConvNet, images: Tensor, target: int | Tensor | None = None
) -> Tensor:
    """Return class activation maps in [0, 1], shape ``(N, H, W)``, as large as the images.

    Negative evidence is shown as 0 and each map is divided by its maximum, as in ``grad_cam``.

    Args:
        model: A network whose head ends in global average pooling and one linear layer.
        images: Preprocessed images, shape ``(N, C, H, W)``.
        target: Class to explain, one for all or one per image; None explains the prediction.

    Raises:
        OptionError: A head of another kind, or no such class.
        InputSizeError: Images that the network does not take.
    """
    scores = class_activation_scores(model, images, target)
    return heatmap(scores, _size(images)).to(images.device)


def class_activation_scores(
    model: ConvNet, images: Tensor, target: int | Tensor | None = None
) -> Tensor:
    """Return Zhou's equation 2, ``Σ_k w_k f_k(x, y)``, at the last map's size, shape ``(N, h, w)``.

    Its mean over positions, plus the classifier's bias, is the logit. Arguments and errors
    are those of ``class_activation_map``.
    """
    before_pool, classifier = _pooled_linear(model.head)
    with differentiating(model), torch.no_grad():
        features = model.forward_features(graph_leaf(model, images))[-1]
        classes = target_classes(model.head(features), target)
        weights = classifier.weight[classes]
        return torch.einsum("nchw,nc->nhw", before_pool(features), weights).float()


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


def default_stage(model: ConvNet, images: Tensor) -> str:
    """Return the name of the last stage whose map is at least 4×4 for ``images``, or the last."""
    with differentiating(model), torch.no_grad():
        features = model.forward_features(graph_leaf(model, images))
    return model.feature_info[_stage_index(model, features, None)].name


def _stage_index(model: ConvNet, features: list[Tensor], stage: str | None) -> int:
    if stage is None:
        large = [i for i, f in enumerate(features) if min(f.shape[-2:]) >= _SMALLEST_MAP]
        return large[-1] if large else len(features) - 1
    names = [feature.name for feature in model.feature_info]
    if stage not in names:
        raise OptionError(f"stage must be one of {', '.join(names)}, got {stage!r}")
    return names.index(stage)


def _pooled_linear(head: nn.Module) -> tuple[nn.Sequential, nn.Linear]:
    """Return what the head does before its global pooling, and its linear classifier."""
    layers = list(head.children()) if isinstance(head, nn.Sequential) else []
    pools = [i for i, layer in enumerate(layers) if isinstance(layer, nn.AdaptiveAvgPool2d)]
    if pools and layers[pools[-1]].output_size in (1, (1, 1)):
        rest = [layer for layer in layers[pools[-1] + 1 :] if not isinstance(layer, _PER_POSITION)]
        if len(rest) == 1 and isinstance(rest[0], nn.Linear):
            return nn.Sequential(*layers[: pools[-1]]), rest[0]
    raise OptionError(
        "class activation maps need a head of global average pooling and one linear layer, "
        f"got {', '.join(type(m).__name__ for m in head.children()) or type(head).__name__}: "
        "use grad_cam"
    )
