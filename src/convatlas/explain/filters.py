"""The first layer's filters as small pictures: the only ones that see the image itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import nn

from convatlas.errors import OptionError

__all__ = ["first_layer_filters"]

_GREY = 128


def first_layer_filters(model: nn.Module) -> npt.NDArray[np.uint8]:
    """Return the first convolution's filters, shape ``(n, height, width, 3 or 1)``.

    Each filter is stretched on its own so that its smallest weight is 0 and its largest 255;
    a filter of equal weights is grey.

    Raises:
        OptionError: No convolution, one that does not see 1 or 3 channels, or broken weights.
    """
    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    first = next(convs, None)
    if first is None:
        raise OptionError(f"expected a network with a Conv2d, got {type(model).__name__}")
    weights = first.weight.detach().float().cpu().numpy().transpose(0, 2, 3, 1)
    if weights.shape[-1] not in (1, 3):
        raise OptionError(
            f"filters are pictures for images of 1 or 3 channels, got {weights.shape[-1]}"
        )
    if not np.isfinite(weights).all():
        raise OptionError(
            "expected finite weights in the first layer, got NaN or infinity: "
            "the training diverged, lower its learning rate"
        )
    axes = (1, 2, 3)
    low, high = weights.min(axes, keepdims=True), weights.max(axes, keepdims=True)
    span = np.where(high > low, high - low, 1)
    stretched = np.rint((weights - low) / span * 255)
    return np.where(high > low, stretched, _GREY).astype(np.uint8)
