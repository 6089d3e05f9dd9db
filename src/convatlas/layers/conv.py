"""Convolution, normalisation, activation: the brick that most families are built of."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ConvNormAct", "EvenConv2d", "SameConv2d", "named", "overwriting"]


def named(**modules: nn.Module) -> nn.Sequential:
    """Return ``modules`` in order, each under its own name."""
    return nn.Sequential(OrderedDict(modules))


def overwriting(act: Callable[[], nn.Module]) -> nn.Module:
    """Return an activation that writes over its input, where torch's own can.

    It is for an input that nothing else reads, such as a norm's output: it spares a copy.
    """
    module: Any = act()
    if hasattr(module, "inplace"):
        module.inplace = True
    return module


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
            layers["act"] = overwriting(act)
        super().__init__(layers)


class EvenConv2d(nn.Conv2d):
    """Convolution of even kernel, padded further after the map so that stride 1 keeps its size."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``x`` (N, C, H, W); the first tap starts where ``padding`` puts it."""
        axes = zip(
            self.kernel_size, self.dilation, cast(tuple[int, int], self.padding), strict=True
        )
        down, right = (dilation * (kernel - 1) - 2 * pad for kernel, dilation, pad in axes)
        return super().forward(F.pad(x, (0, right, 0, down)))


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
