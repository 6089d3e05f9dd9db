"""EfficientNetV2: early stages with whole convolutions, for they train faster.

"EfficientNetV2: Smaller Models and Faster Training", Mingxing Tan, Quoc Le, 2021,
arXiv 2104.00298.

Differences from the paper: paddings are symmetric, as public PyTorch checkpoints have them;
progressive learning is a matter of the recipe, not of the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.layers.inverted_residual import InvertedResidual
from convatlas.layers.residual import DropPath
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["FusedMBConv", "efficientnetv2"]

_conv = partial(ConvNormAct, norm=partial(nn.BatchNorm2d, eps=1e-3), act=nn.SiLU)
_LAST = 1280
_DROP_PATH = 0.2


class FusedMBConv(nn.Module):
    """``x + f(x)``, f = 3×3 expand → 1×1 linear (figure 2).

    The sum is there only where the shape stays; an expansion of 1 is a single 3×3 with its
    activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, *, expansion: int, drop_path: float
    ) -> None:
        super().__init__()
        width = in_channels * expansion if expansion > 1 else out_channels
        self.expand = _conv(in_channels, width, 3, stride)
        self.project = _conv(width, out_channels, act=None) if expansion > 1 else nn.Identity()
        self.residual = stride == 1 and in_channels == out_channels
        self.drop_path = DropPath(drop_path) if self.residual else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        y = self.project(self.expand(x))
        return x + self.drop_path(y) if self.residual else y


@dataclass(frozen=True, slots=True)
class Stage:
    """One row of table 4; a fused stage has no squeeze-and-excitation."""

    fused: bool
    expansion: int
    stride: int
    channels: int
    depth: int


@dataclass(frozen=True, slots=True)
class Variant:
    """The stages, the stem's channels and the dropout (tables 4 and 6)."""

    stem: int
    dropout: float
    stages: tuple[Stage, ...]


_S = (
    Stage(True, 1, 1, 24, 2),
    Stage(True, 4, 2, 48, 4),
    Stage(True, 4, 2, 64, 4),
    Stage(False, 4, 2, 128, 6),
    Stage(False, 6, 1, 160, 9),
    Stage(False, 6, 2, 256, 15),
)
_M = (
    Stage(True, 1, 1, 24, 3),
    Stage(True, 4, 2, 48, 5),
    Stage(True, 4, 2, 80, 5),
    Stage(False, 4, 2, 160, 7),
    Stage(False, 6, 1, 176, 14),
    Stage(False, 6, 2, 304, 18),
    Stage(False, 6, 1, 512, 5),
)
_L = (
    Stage(True, 1, 1, 32, 4),
    Stage(True, 4, 2, 64, 7),
    Stage(True, 4, 2, 96, 7),
    Stage(False, 4, 2, 192, 10),
    Stage(False, 6, 1, 224, 19),
    Stage(False, 6, 2, 384, 25),
    Stage(False, 6, 1, 640, 7),
)

VARIANTS = {
    "efficientnetv2_s": Variant(24, 0.2, _S),
    "efficientnetv2_m": Variant(24, 0.3, _M),
    "efficientnetv2_l": Variant(32, 0.4, _L),
}


def _block(stage: Stage, in_channels: int, stride: int, drop_path: float) -> nn.Module:
    if stage.fused:
        return FusedMBConv(
            in_channels, stage.channels, stride, expansion=stage.expansion, drop_path=drop_path
        )
    return InvertedResidual(
        in_channels,
        stage.channels,
        stride,
        width=stage.expansion * in_channels,
        conv=_conv,
        attention=partial(SqueezeExcite, reduced=in_channels // 4, act=nn.SiLU),
        drop_path=drop_path,
    )


@register(VARIANTS)
def efficientnetv2(variant: Variant, common: Common) -> ConvNet:
    """Build an EfficientNetV2; ``stem="small"`` gives its stem stride 1."""
    stem_stride = 1 if common.small else 2
    stages: list[nn.Module] = []
    channels, built = variant.stem, 0
    total = sum(stage.depth for stage in variant.stages)
    for stage in variant.stages:
        blocks = []
        for i in range(stage.depth):
            stride = 1 if i else stage.stride
            blocks.append(_block(stage, channels, stride, _DROP_PATH * built / total))
            channels = stage.channels
            built += 1
        stages.append(nn.Sequential(*blocks))
    dropout, last = common.dropout_or(variant.dropout), _conv(channels, _LAST)
    model = ConvNet(
        _conv(common.in_channels, variant.stem, 3, stem_stride),
        stages,
        pooled_classifier(_LAST, common.num_classes, dropout, conv=last),
        channels=[stage.channels for stage in variant.stages],
        strides=[stem_stride, *(stage.stride for stage in variant.stages[1:])],
        in_channels=common.in_channels,
    )
    he_normal(model)
    return model
