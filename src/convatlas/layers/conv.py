"""Convolution, normalisation, activation: the brick that most families are built of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvNormAct", "SameConv2d", "named"]


def named(**modules: nn.Module) -> nn.Sequential:
    """Return ``modules`` in order, each under its own name."""
    return nn.Sequential(OrderedDict(modules))


class ConvNormAct(nn.Sequential):
    """``act(norm(conv(x)))`` without bias, padded so that stride 1 keeps the size.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Side of the square kernel, odd.
        stride: Step of the kernel.
        groups: Number of channel groups; ``in_channels`` makes it depthwise.
        conv: Convolution class, such as ``SameConv2d``.
        norm: Normalisation of ``out_channels``.
        act: Activation, or None for a linear output.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        groups: int = 1,
        *,
        conv: Callable[..., nn.Conv2d] = nn.Conv2d,
        norm: Callable[[int], nn.Module] = nn.BatchNorm2d,
        act: Callable[[], nn.Module] | None = nn.ReLU,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["conv"] = conv(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=kernel_size // 2,
            groups=groups,
            bias=False,
        )
        layers["norm"] = norm(out_channels)
        if act is not None:
            layers["act"] = act()
        super().__init__(layers)


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's ``SAME`` padding: output size ``ceil(input / stride)``.

    The padding depends on the input's size, and an odd one puts the extra row and
    column after the image; ``padding`` is therefore ignored.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Pad ``x`` (N, C, H, W) as TensorFlow would, then convolve."""
        top, bottom = self._padding_of(x.shape[-2], 0)
        left, right = self._padding_of(x.shape[-1], 1)
        padding = (top, left)
        if top != bottom or left != right:
            x = F.pad(x, (left, right, top, bottom))
            padding = (0, 0)
        return F.conv2d(x, self.weight, self.bias, self.stride, padding, self.dilation, self.groups)

    def _padding_of(self, size: int, axis: int) -> tuple[int, int]:
        stride = self.stride[axis]
        window = (self.kernel_size[axis] - 1) * self.dilation[axis] + 1
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        return total // 2, total - total // 2
