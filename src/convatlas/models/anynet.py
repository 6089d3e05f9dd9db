"""AnyNet: the design space whose every net is a table of depths, widths and groups.

"Designing Network Design Spaces", Ilija Radosavovic, Raj Prateek Kosaraju, Ross Girshick,
Kaiming He, Piotr Dollár, 2020, arXiv 2003.13678: figure 3 and figure 4. It knows no way
to choose the numbers.

Differences from the paper: none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from convatlas.errors import OptionError
from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common
from convatlas.models.resnet import projection

__all__ = ["Design", "YBlock", "anynet"]

_STEM_CHANNELS = 32


@dataclass(frozen=True, slots=True)
class Design:
    """One net of the design space, a value per stage.

    Attributes:
        depths: Blocks per stage, d_i.
        widths: Output channels per stage, w_i.
        group_widths: Channels of each group of the 3×3, g_i.
        bottleneck_ratios: Output channels per channel of the 3×3, b_i.
        squeeze_ratio: Channels inside the squeeze-and-excitation per input channel of the
            block; 0 for the X nets, which have none.

    Raises:
        OptionError: Rows of different lengths, or a 3×3 that its groups do not divide.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...]
    group_widths: tuple[int, ...]
    bottleneck_ratios: tuple[float, ...]
    squeeze_ratio: float = 0.0

    def __post_init__(self) -> None:
        rows = (self.depths, self.widths, self.group_widths, self.bottleneck_ratios)
        if not self.depths or len({len(row) for row in rows}) > 1:
            raise OptionError(
                f"a design needs as many values in each row, got {[len(row) for row in rows]}: "
                "give depths, widths, group_widths and bottleneck_ratios one value per stage"
            )
        for width, group_width, ratio in zip(*rows[1:], strict=True):
            if round(width / ratio) % group_width:
                raise OptionError(
                    f"expected a width that groups of {group_width} divide, got "
                    f"{round(width / ratio)}: change the stage's width or its group width"
                )


class YBlock(nn.Module):
    """``relu(x + f(x))``, f = 1×1 → grouped 3×3 → attention → 1×1 (figure 4)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        *,
        width: int,
        groups: int,
        attention: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.shortcut = projection(in_channels, out_channels, stride)
        self.conv1 = ConvNormAct(in_channels, width)
        self.conv2 = ConvNormAct(width, width, 3, stride, groups)
        self.attention = attention(width) if attention else nn.Identity()
        self.conv3 = ConvNormAct(width, out_channels, act=None)
        self.branch_end = nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        shortcut = self.shortcut(x)
        y = self.conv3(self.attention(self.conv2(self.conv1(x))))
        return self.act(shortcut + self.branch_end(y))


def _stage(design: Design, i: int) -> nn.Sequential:
    out_channels = design.widths[i]
    width = round(out_channels / design.bottleneck_ratios[i])
    blocks = []
    for j in range(design.depths[i]):
        in_channels = out_channels if j else (_STEM_CHANNELS, *design.widths)[i]
        squeezed = round(design.squeeze_ratio * in_channels)
        blocks.append(
            YBlock(
                in_channels,
                out_channels,
                1 if j else 2,
                width=width,
                groups=width // design.group_widths[i],
                attention=partial(SqueezeExcite, reduced=squeezed) if squeezed else None,
            )
        )
    return nn.Sequential(*blocks)


def anynet(design: Design, common: Common) -> ConvNet:
    """Build the net of a design; ``stem="small"`` gives its stem stride 1."""
    stem_stride = 1 if common.small else 2
    model = ConvNet(
        ConvNormAct(common.in_channels, _STEM_CHANNELS, 3, stem_stride),
        [_stage(design, i) for i in range(len(design.depths))],
        pooled_classifier(design.widths[-1], common.num_classes, common.dropout_or(0.0)),
        channels=design.widths,
        strides=[2 * stem_stride] + [2] * (len(design.depths) - 1),
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
