"""Layer normalisation of a feature map, and how long batch normalisation remembers.

Source: Ba, Kiros, Hinton, "Layer Normalization", 2016, arXiv 1607.06450.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

__all__ = ["LayerNorm2d", "span_statistics"]

_USUAL_MOMENTUM = 0.1  # torch's own: the last ten steps count most


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation of each pixel over its channels.

    Args:
        channels: Channels of the map.
        eps: What is added to the variance.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(channels, eps=eps)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x`` (N, C, H, W) over C."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


def span_statistics(model: nn.Module, steps: int) -> None:
    """Let the running statistics of batch normalisation span at most so many training steps.

    Networks that were published with a momentum of 0.01 or 0.0003 remember hundreds or thousands
    of steps. Where a training has fewer, the statistics would still be the initial ones when it
    ends, and the network would be right in training and wrong in evaluation.

    Args:
        model: Its momenta are raised in place to 1/``steps``, none above torch's 0.1.
        steps: Training steps, such as those of an epoch.
    """
    least = min(_USUAL_MOMENTUM, 1 / steps)
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.momentum is not None:
            module.momentum = max(module.momentum, least)
