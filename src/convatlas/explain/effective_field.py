"""The effective receptive field: which pixels an output really listens to.

The theoretical field says which pixels can matter; the gradient of one output says how much
each does. With depth it becomes a bell, far narrower than the theoretical square.

Source: Luo, Li, Urtasun, Zemel, "Understanding the Effective Receptive Field in Deep
Convolutional Neural Networks", NeurIPS 2016, arXiv 1701.04128.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.errors import OptionError, nearest
from convatlas.explain.scores import differentiating, graph_leaf

__all__ = ["EffectiveField", "Sight", "effective_field"]

_TWO_SIGMA = 1 - 0.9545


@dataclass(frozen=True, slots=True)
class EffectiveField:
    """What the centre of one layer listens to, in pixels of the input.

    Attributes:
        layer: Path of the module.
        position: The output, as (row, column) of the layer's map.
        heat: Mean size of the gradient at each pixel, its maximum 1, shape (H, W).
        centre: Centre of gravity of the heat, (y, x).
        size: Height and width of the bell between two standard deviations on either side.
        area_side: Side of a square with as many pixels as those with at least 4.55 % of the
            largest gradient, the paper's measure.
    """

    layer: str
    position: tuple[int, int]
    heat: Tensor
    centre: tuple[float, float]
    size: tuple[float, float]
    area_side: float


@dataclass(frozen=True, slots=True)
class Sight:
    """What a layer sees of one photo, in pixels of the network's input.

    Attributes:
        pixels: The photo as the network gets it, uint8 (H, W, C).
        effective: The measured field.
        theoretical: The computed field, or None.
        theoretical_note: Why there is none, such as a global operation before the layer.
    """

    pixels: NDArray[np.uint8]
    effective: EffectiveField
    theoretical: ReceptiveField | None
    theoretical_note: str


def effective_field(
    model: nn.Module,
    images: Tensor,
    layer: str,
    position: tuple[int, int] | None = None,
) -> EffectiveField:
    """Differentiate one output of ``layer``, summed over its channels, by the images.

    The model runs in evaluation mode; its mode, gradients and parameters stay as they are.

    Args:
        model: Any network of images.
        images: Preprocessed images, shape (N, C, H, W); the field is their mean.
        layer: Path of a module with a map as output, such as ``"stages.3"``.
        position: Row and column of the output; the middle of the map when None.

    Raises:
        OptionError: No such layer or position, a layer without a map, or one whose gradient
            is zero everywhere.
    """
    module = _module(model, layer)
    outputs: list[Tensor] = []
    hook = module.register_forward_hook(lambda _m, _i, output: outputs.append(output))
    try:
        with differentiating(model):
            leaf = graph_leaf(model, images)
            model(leaf)
            place = _checked(outputs, layer, position)
            row, column = place
            (gradient,) = torch.autograd.grad(outputs[-1][:, :, row, column].sum(), leaf)
    finally:
        hook.remove()
    return _described(layer, place, gradient.abs().mean(dim=(0, 1)))


def _module(model: nn.Module, layer: str) -> nn.Module:
    modules = dict(model.named_modules())
    if not layer or layer not in modules:
        raise OptionError(
            f"expected the path of a module, got {layer!r}{nearest(layer, list(modules)[1:])}"
        )
    return modules[layer]


def _checked(
    outputs: Sequence[object], layer: str, position: tuple[int, int] | None
) -> tuple[int, int]:
    if not outputs:
        raise OptionError(f"expected a layer that runs, got {layer}, which the forward never calls")
    output = outputs[-1]
    if not isinstance(output, Tensor):
        raise OptionError(
            f"expected a layer with a map (N, C, H, W), got a {type(output).__name__} from "
            f"{layer}: take a layer inside of it, or the one after it"
        )
    if output.dim() != 4:
        raise OptionError(
            f"expected a layer with a map (N, C, H, W), got {tuple(output.shape)} from {layer}: "
            "take a layer before the pooling"
        )
    height, width = output.shape[-2:]
    row, column = position or (height // 2, width // 2)
    if not (0 <= row < height and 0 <= column < width):
        raise OptionError(
            f"expected a position within {height}×{width}, got {row},{column}: "
            "leave it out for the middle"
        )
    return row, column


def _described(layer: str, position: tuple[int, int], heat: Tensor) -> EffectiveField:
    total = heat.sum()
    if not total > 0:
        raise OptionError(
            f"the output {position} of {layer} does not depend on this image (its gradient is 0): "
            "take another position"
        )
    centres, sizes = zip(*(_bell(heat.sum(1 - axis) / total) for axis in (0, 1)), strict=True)
    heat = heat / heat.max()
    return EffectiveField(
        layer=layer,
        position=position,
        heat=heat,
        centre=(centres[0], centres[1]),
        size=(sizes[0], sizes[1]),
        area_side=float((heat >= _TWO_SIGMA).sum()) ** 0.5,
    )


def _bell(mass: Tensor) -> tuple[float, float]:
    """Return the mean of a distribution over pixels, and four standard deviations."""
    pixels = torch.arange(len(mass), dtype=mass.dtype, device=mass.device)
    mean = (mass * pixels).sum()
    deviation = (mass * (pixels - mean).square()).sum().sqrt()
    return float(mean), float(4 * deviation)
