"""Inception-ResNet v1 and v2.

"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alex Alemi, 2016, arXiv 1602.07261.

Differences from the paper: v1 has its figures (14, 10, 7, 11, 12, 13); the paper asks for scales
between 0.1 and 0.3 (section 3.3) without naming them, and both nets take those of the released
v2: 0.17, 0.1 and 0.2. Public face recognition models add a sixth block on the 8×8 map, with
scale 1 and no activation, and a layer of 512 features. Stem, widths and depths (10, 20, 10) of
v2 are those of the authors' released model, whose last block has scale 1 and no activation; the
paper's figure 15 has another stem and (5, 10, 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from convatlas.layers.branches import (
    Branches,
    Step,
    chain,
    inception_conv,
    inception_stem,
    inception_stem_end,
    pooled,
)
from convatlas.layers.factorised_inception import inception_block_i, reduction
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["ScaledResidual", "inception_resnet"]


class ScaledResidual(nn.Module):
    """``act(x + scale · conv(branches(x)))``: section 3.3's remedy against dying nets.

    Args:
        branches: The Inception module, whose outputs are concatenated.
        inner: Channels that it makes.
        channels: Channels of x.
        scale: Factor of the residual.
        act: Whether a ReLU follows the sum.
    """

    def __init__(
        self, branches: Branches, inner: int, channels: int, scale: float, *, act: bool = True
    ) -> None:
        super().__init__()
        self.branches = branches
        self.project = nn.Conv2d(inner, channels, 1)
        self.scale = scale
        self.act = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of ``x``, (N, C, H, W)."""
        return self.act(x + self.scale * self.project(self.branches(x)))


@dataclass(frozen=True, slots=True)
class Variant:
    """Depths and widths; the channels of a branch are in the order of its convolutions.

    Attributes:
        depths: Blocks on the 35×35, 17×17 and 8×8 maps.
        widths: Channels of these maps.
        deep_35: Deepest branch of the blocks on the 35×35 map: figures 10, 16.
        seven_17: Branch with 1×7 and 7×1 on the 17×17 map: figures 11, 17.
        three_8: Branch with 1×3 and 3×1 on the 8×8 map: figures 13, 19.
        k_l_m: Deepest branch of the reduction to 17×17: figure 7, table 1.
        deep_b: Deepest branch of the reduction to 8×8: figures 12, 18.
        released: Whether the net begins and ends as the released v2.
    """

    depths: tuple[int, int, int]
    widths: tuple[int, int, int]
    deep_35: tuple[int, int, int]
    seven_17: tuple[int, int, int]
    three_8: tuple[int, int, int]
    k_l_m: tuple[int, int, int]
    deep_b: tuple[int, int, int]
    released: bool


VARIANTS = {
    "inception_resnet_v1": Variant(
        depths=(5, 10, 5),
        widths=(256, 896, 1792),
        deep_35=(32, 32, 32),
        seven_17=(128, 128, 128),
        three_8=(192, 192, 192),
        k_l_m=(192, 192, 256),
        deep_b=(256, 256, 256),
        released=False,
    ),
    "inception_resnet_v2": Variant(
        depths=(10, 20, 10),
        widths=(320, 1088, 2080),
        deep_35=(32, 48, 64),
        seven_17=(128, 160, 192),
        three_8=(192, 224, 256),
        k_l_m=(256, 256, 384),
        deep_b=(256, 288, 320),
        released=True,
    ),
}


def _residual(
    channels: int, scale: float, *branches: Sequence[Step], act: bool = True
) -> ScaledResidual:
    chains = {f"branch{i}": chain(channels, *steps) for i, steps in enumerate(branches)}
    inner = sum(steps[-1][0] for steps in branches)
    return ScaledResidual(Branches(**chains), inner, channels, scale, act=act)


def _begin_35(variant: Variant, small: bool) -> list[nn.Module]:
    """Return the layers between the 71×71 map of 192 channels and the 35×35 blocks."""
    if not variant.released:
        return [inception_conv(192, variant.widths[0], 3, 1 if small else 2, pad=small)]
    average = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
    # The released model's module 5b, which has no residual and keeps a 5×5 kernel.
    widen = inception_block_i(
        192, 96, (48, 64), (64, 96, 96), pooled(192, 64, average), kernel_size=5
    )
    return [nn.Identity() if small else nn.MaxPool2d(3, 2), widen]


def _stage_35(v: Variant, small: bool) -> nn.Sequential:
    a, b, c = v.deep_35
    three, deep = [(32, 1), (32, 3)], [(a, 1), (b, 3), (c, 3)]
    blocks = (_residual(v.widths[0], 0.17, [(32, 1)], three, deep) for _ in range(v.depths[0]))
    return nn.Sequential(*_begin_35(v, small), *blocks)


def _stage_17(v: Variant) -> nn.Sequential:
    a, b, c = v.seven_17
    d, e, f = v.k_l_m
    seven: list[Step] = [(a, 1), (b, (1, 7)), (c, (7, 1))]
    shrink = reduction(v.widths[0], three=[(384, 3)], deep=[(d, 1), (e, 3), (f, 3)])
    blocks = (_residual(v.widths[1], 0.1, [(c, 1)], seven) for _ in range(v.depths[1]))
    return nn.Sequential(shrink, *blocks)


def _stage_8(v: Variant) -> nn.Sequential:
    a, b, c = v.three_8
    d, e, f = v.deep_b
    channels = v.widths[2]
    three: list[Step] = [(a, 1), (b, (1, 3)), (c, (3, 1))]
    shrink = reduction(
        v.widths[1],
        three=[(256, 1), (384, 3)],
        other=[(256, 1), (e, 3)],
        deep=[(d, 1), (e, 3), (f, 3)],
    )
    blocks = [_residual(channels, 0.2, [(192, 1)], three) for _ in range(v.depths[2] - v.released)]
    if not v.released:
        return nn.Sequential(shrink, *blocks)
    last = _residual(channels, 1.0, [(192, 1)], three, act=False)
    return nn.Sequential(shrink, *blocks, last, inception_conv(channels, 1536))


@register(VARIANTS)
def inception_resnet(variant: Variant, common: Common) -> ConvNet:
    """Build an Inception-ResNet.

    ``stem="small"`` pads every convolution before the 35×35 blocks and leaves out strides and
    poolings there.
    """
    small = common.small
    channels = (192, *variant.widths[:2], 1536 if variant.released else variant.widths[2])
    model = ConvNet(
        inception_stem(common.in_channels, small=small),
        [
            inception_stem_end(small=small),
            _stage_35(variant, small),
            _stage_17(variant),
            _stage_8(variant),
        ],
        pooled_classifier(channels[-1], common.num_classes, common.dropout_or(0.2)),
        channels=channels,
        strides=(1, 1, 2, 2) if small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if small else 75,
    )
    he_normal(model)
    return model
