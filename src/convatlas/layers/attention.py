"""Squeeze-and-excitation: a gate per channel, computed from the whole map.

Source: Hu et al., "Squeeze-and-Excitation Networks", 2017, arXiv 1709.01507.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

__all__ = ["SqueezeExcite"]


class SqueezeExcite(nn.Module):
    """``x · gate(W2 act(W1 mean(x)))`` (equations 2–4).

    Args:
        channels: Channels of the map, C.
        reduced: Channels between W1 and W2; the paper's ratio 16 when None, and at least 1.
        act: Activation between them.
        gate: Activation that makes the gate.
    """

    def __init__(
        self,
        channels: int,
        reduced: int | None = None,
        *,
        act: Callable[[], nn.Module] = nn.ReLU,
        gate: Callable[[], nn.Module] = nn.Sigmoid,
    ) -> None:
        super().__init__()
        reduced = max(1, channels // 16) if reduced is None else reduced
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, reduced, 1)
        self.act = act()
        self.expand = nn.Conv2d(reduced, channels, 1)
        self.gate = gate()

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, H, W) with every channel scaled by its gate."""
        squeezed = self.pool(x)
        excited = self.expand(self.act(self.reduce(squeezed)))
        return x * self.gate(excited)
