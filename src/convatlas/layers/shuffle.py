"""Channel shuffle: lets the groups of one convolution see those of the next.

Source: Zhang, Zhou, Lin, Sun, "ShuffleNet", 2017, arXiv 1707.01083, section 3.1.
"""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["ChannelShuffle"]


class ChannelShuffle(nn.Module):
    """Channel ``i`` of group ``j`` becomes channel ``i · groups + j``.

    Args:
        groups: Number of groups; it divides the channels.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` (N, C, H, W) with its channels in the new order."""
        n, channels, height, width = x.shape
        grouped = x.reshape(n, self.groups, channels // self.groups, height, width)
        return grouped.transpose(1, 2).reshape(n, channels, height, width)

    def extra_repr(self) -> str:
        """Show the groups in the module's text."""
        return f"groups={self.groups}"
