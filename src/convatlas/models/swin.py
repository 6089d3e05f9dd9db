"""Swin Transformer: attention within windows that shift from layer to layer.

"Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", Ze Liu, Yutong Lin,
Yue Cao, Han Hu, Yixuan Wei, Zheng Zhang, Stephen Lin, Baining Guo, 2021, arXiv 2103.14030.

Differences from the paper: as in torchvision, maps that windows do not divide are padded with
zeros that take part in the attention, and an axis that one window covers is not shifted. A patch
merging belongs to the stage that it opens.
"""

from __future__ import annotations

from itertools import cycle

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import truncated_normal
from convatlas.layers.norm import LayerNorm2d
from convatlas.layers.residual import DropPath, drop_path_rates
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["PatchMerging", "SwinBlock", "WindowAttention", "swin"]

_WINDOW = 7
_PIXELS = _WINDOW**2
_HEAD = 32


class WindowAttention(nn.Module):
    """Multi-head ``softmax(q·kᵀ / √d + B)·v`` in windows of 7×7 pixels, d = 32 (equation 4).

    The windows are shifted down and right by ``shift`` pixels.
    """

    index: Tensor

    def __init__(self, channels: int, shift: int = 0) -> None:
        super().__init__()
        self.heads, self.shift = channels // _HEAD, shift
        table = torch.zeros((2 * _WINDOW - 1) ** 2, self.heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        self.register_buffer("index", _relative_positions(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, H, W, C) to the same shape."""
        height, width, channels = x.shape[1:]
        x = F.pad(x, (0, 0, 0, -width % _WINDOW, 0, -height % _WINDOW))
        # Where one window covers an axis there is no neighbour to shift towards.
        shifts = tuple(self.shift if size > _WINDOW else 0 for size in x.shape[1:3])
        x = x.roll((-shifts[0], -shifts[1]), (1, 2))
        rows, columns = x.shape[1] // _WINDOW, x.shape[2] // _WINDOW
        windows = x.view(-1, rows, _WINDOW, columns, _WINDOW, channels).transpose(2, 3)
        qkv = self.qkv(windows.reshape(-1, _PIXELS, channels))
        windows = self.project(self._attend(qkv, _regions(rows, columns, shifts).to(x.device)))
        windows = windows.view(-1, rows, columns, _WINDOW, _WINDOW, channels).transpose(2, 3)
        return windows.reshape(x.shape).roll(shifts, (1, 2))[:, :height, :width]

    def _attend(self, qkv: Tensor, regions: Tensor) -> Tensor:
        """Return (N·windows, 49, C); pixels see those of their own region (windows, 49) alone."""
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        apart = regions[:, None, :, None] != regions[:, None, None, :]
        # All windows' heads side by side, so that one mask serves the whole batch.
        mask = torch.where(apart, -torch.inf, bias).flatten(0, 1)
        qkv = qkv.view(-1, len(regions), _PIXELS, 3, self.heads, _HEAD)
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).flatten(2, 3)
        y = F.scaled_dot_product_attention(q, k, v, mask)
        return y.view(-1, self.heads, _PIXELS, _HEAD).transpose(1, 2).flatten(2)


def _relative_positions() -> Tensor:
    """Return which row of the bias table belongs to each pair of a window's pixels (49, 49)."""
    row, column = torch.arange(_PIXELS) // _WINDOW, torch.arange(_PIXELS) % _WINDOW
    down, right = (place[:, None] - place + _WINDOW - 1 for place in (row, column))
    return down * (2 * _WINDOW - 1) + right


def _regions(rows: int, columns: int, shifts: tuple[int, ...]) -> Tensor:
    """Number what a shift leaves together in each window: (windows, 49) (figure 4)."""
    down, right = (
        (torch.arange(count * _WINDOW) >= count * _WINDOW - shift).view(-1, _WINDOW)
        for count, shift in zip((rows, columns), shifts, strict=True)
    )
    return (2 * down[:, None, :, None] + right[:, None, :]).view(-1, _PIXELS)


class SwinBlock(nn.Module):
    """``y = x + attention(norm(x))``, then ``y + mlp(norm(y))`` (equation 3, figure 3b).

    ``drop_path`` is the probability of leaving out each of the two branches while training.
    """

    def __init__(self, channels: int, shift: int = 0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels)
        self.attention = WindowAttention(channels, shift)
        self.norm2 = nn.LayerNorm(channels)
        expand, project = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.mlp = named(expand=expand, act=nn.GELU(), project=project)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to the same shape."""
        x = x.permute(0, 2, 3, 1)
        x = x + self.drop_path(self.attention(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.permute(0, 3, 1, 2)


class PatchMerging(nn.Module):
    """The four pixels of each 2×2 patch side by side, normalised, reduced to 2C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, 2C, H / 2, W / 2), rounded up."""
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2)).permute(0, 2, 3, 1)
        patches = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(patches, dim=3))).permute(0, 3, 1, 2)


# name → channels of the first stage, layers per stage (section 3.3), stochastic depth
VARIANTS = {
    "swin_t": (96, (2, 2, 6, 2), 0.2),
    "swin_s": (96, (2, 2, 18, 2), 0.3),
    "swin_b": (128, (2, 2, 18, 2), 0.5),
}


@register(VARIANTS)
def swin(variant: tuple[int, tuple[int, ...], float], common: Common) -> ConvNet:
    """Build a Swin Transformer; ``stem="small"`` makes its patches single pixels."""
    first, depths, drop_path = variant
    patch = 1 if common.small else 4
    channels = [first << i for i in range(4)]
    stages: list[nn.Module] = []
    for i, rates in enumerate(drop_path_rates(depths, drop_path)):
        shifts = cycle((0, _WINDOW // 2))
        blocks = [SwinBlock(channels[i], next(shifts), rate) for rate in rates]
        merging = {"merge": PatchMerging(channels[i - 1])} if i else {}
        stages.append(named(**merging, blocks=nn.Sequential(*blocks)))
    embed = nn.Conv2d(common.in_channels, first, patch, patch)
    norm, dropout = LayerNorm2d(channels[-1]), common.dropout_or(0.0)
    model = ConvNet(
        named(embed=embed, norm=LayerNorm2d(first)),
        stages,
        pooled_classifier(channels[-1], common.num_classes, dropout, norm=norm),
        channels=channels,
        strides=(patch, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=patch,
    )
    truncated_normal(model, nn.Linear)
    return model
