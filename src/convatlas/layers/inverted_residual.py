"""The inverted residual: wide inside, thin and linear at its ends.

Sources: Sandler et al., "MobileNetV2", 2018, arXiv 1801.04381, figure 4d; with attention, Tan
et al., "MnasNet", 2018, arXiv 1807.11626, figure 7, where it is called MBConv.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from torch import Tensor, nn

from convatlas.layers.conv import ConvNormAct
from convatlas.layers.residual import DropPath

__all__ = ["ConvBrick", "InvertedResidual", "StageRow", "inverted_stages"]

ConvBrick = Callable[..., ConvNormAct]


class InvertedResidual(nn.Module):
    """``x + f(x)``, f = 1×1 expand → k×k depthwise → attention → 1×1 linear.

    The sum is there only where the shape stays; without expansion there is no first 1×1.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        stride: Stride of the depthwise convolution.
        width: Channels between the two 1×1.
        kernel_size: Side of the depthwise kernel, k.
        conv: Convolution with norm and activation; the last one is told to have none.
        attention: Makes the attention of ``width`` channels, or None for none.
        drop_path: Probability of leaving out f while training.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        width: int,
        kernel_size: int = 3,
        conv: ConvBrick = ConvNormAct,
        attention: Callable[[int], nn.Module] | None = None,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.expand = conv(in_channels, width) if width != in_channels else nn.Identity()
        self.depthwise = conv(width, width, kernel_size, stride, groups=width)
        self.attention = attention(width) if attention else nn.Identity()
        self.project = conv(width, out_channels, act=None)
        self.residual = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path) if self.residual else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.project(self.attention(self.depthwise(self.expand(x))))
        return x + self.drop_path(y) if self.residual else y


class StageRow(NamedTuple):
    """One stage as the papers' tables print it: expansion t, channels c, blocks n, stride s, k."""

    expansion: int
    channels: int
    depth: int
    stride: int
    kernel_size: int = 3


def inverted_stages(
    rows: Iterable[StageRow], in_channels: int, conv: ConvBrick, scaled: Callable[[int], int]
) -> tuple[list[nn.Module], list[int]]:
    """Return the stages of a table and their output channels; first blocks have the stride.

    Args:
        rows: The table.
        in_channels: Channels of the stem's output.
        conv: Convolution with norm and activation.
        scaled: Channels of the table → channels to build.
    """
    stages: list[nn.Module] = []
    widths: list[int] = []
    for row in rows:
        out_channels = scaled(row.channels)
        inputs = (in_channels, *[out_channels] * (row.depth - 1))
        blocks = [
            InvertedResidual(
                channels,
                out_channels,
                1 if i else row.stride,
                width=row.expansion * channels,
                kernel_size=row.kernel_size,
                conv=conv,
            )
            for i, channels in enumerate(inputs)
        ]
        stages.append(nn.Sequential(*blocks))
        widths.append(out_channels)
        in_channels = out_channels
    return stages, widths
