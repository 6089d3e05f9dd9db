"""The exponential moving average of a network's parameters and buffers.

The averaged copy is what gets evaluated and shipped when a recipe has an ``ema_decay``
(Polyak & Juditsky 1992; Szegedy et al. 2016, arXiv:1512.00567, section 8).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

__all__ = ["EMA"]


class EMA:
    """A copy of ``model`` whose tensors follow the model's with a lag.

    The model's parameters and buffers must be changed in place, as optimizers and norms do.

    Args:
        model: The network that trains; its device and memory format must be settled.
        decay: Share of the average that each update keeps. Early updates keep
            ``(1 + n) / (10 + n)`` after *n* of them, when that is less, so that the random
            first weights are forgotten soon.

    Attributes:
        model: The averaged network, in evaluation mode and without gradients.
        updates: Number of updates so far.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = deepcopy(model).eval().requires_grad_(False)
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        floats = [(mean, value) for mean, value in pairs if mean.is_floating_point()]
        self._means = [mean for mean, _ in floats]
        self._values = [value for _, value in floats]
        self._counters = [pair for pair in pairs if not pair[0].is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """Move every tensor of the average towards the model's."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(self._means, self._values, None)  # type: ignore[no-untyped-call]  # public, but untyped in torch
        for mean, value in self._counters:
            mean.copy_(value)


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
