"""Inception-ResNet v2.

"Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning",
Christian Szegedy, Sergey Ioffe, Vincent Vanhoucke, Alex Alemi, 2016, arXiv 1602.07261.

Differences from the paper: stem, widths and depths (10, 20, 10) are those of the authors'
released model; the paper's figure 15 has another stem and (5, 10, 5).
"""

from __future__ import annotations

from torch import Tensor, nn

from convatlas.layers.branches import Branches, chain, inception_conv, inception_stem, pooled
from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["ScaledResidual", "inception_resnet_v2"]

_WIDTHS = (192, 320, 1088, 1536)
_LAST = 2080
_WIDE, _TALL = (1, 3), (3, 1)
_WIDE7, _TALL7 = (1, 7), (7, 1)


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


def _block_35() -> ScaledResidual:
    """Return figure 16, on the 35×35 map."""
    branches = Branches(
        one=inception_conv(320, 32),
        three=chain(320, (32, 1), (32, 3)),
        deep=chain(320, (32, 1), (48, 3), (64, 3)),
    )
    return ScaledResidual(branches, 128, 320, 0.17)


def _block_17() -> ScaledResidual:
    """Return figure 17, on the 17×17 map."""
    branches = Branches(
        one=inception_conv(1088, 192), seven=chain(1088, (128, 1), (160, _WIDE7), (192, _TALL7))
    )
    return ScaledResidual(branches, 384, 1088, 0.1)


def _block_8(scale: float = 0.2, *, act: bool = True) -> ScaledResidual:
    """Return figure 19, on the 8×8 map."""
    branches = Branches(
        one=inception_conv(_LAST, 192), three=chain(_LAST, (192, 1), (224, _WIDE), (256, _TALL))
    )
    return ScaledResidual(branches, 448, _LAST, scale, act=act)


def _widening() -> Branches:
    """Return the released model's module 5b, which has no residual: 192 channels to 320."""
    return Branches(
        one=inception_conv(192, 96),
        five=chain(192, (48, 1), (64, 5)),
        deep=chain(192, (64, 1), (96, 3), (96, 3)),
        pool=pooled(192, 64, count_padding=False),
    )


def _reduction_a() -> Branches:
    """Return figure 7 with k, l, m, n = 256, 256, 384, 384: 35×35 to 17×17."""
    return Branches(
        three=chain(320, (384, 3), stride=2),
        deep=chain(320, (256, 1), (256, 3), (384, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def _reduction_b() -> Branches:
    """Return figure 18: 17×17 to 8×8."""
    return Branches(
        three=chain(1088, (256, 1), (384, 3), stride=2),
        other=chain(1088, (256, 1), (288, 3), stride=2),
        deep=chain(1088, (256, 1), (288, 3), (320, 3), stride=2),
        pool=nn.MaxPool2d(3, 2),
    )


def _stages(depths: tuple[int, int, int], small: bool) -> list[nn.Module]:
    pool = nn.Identity if small else lambda: nn.MaxPool2d(3, 2)
    last = [*(_block_8() for _ in range(depths[2] - 1)), _block_8(1.0, act=False)]
    return [
        named(
            pool=pool(),
            reduce=inception_conv(64, 80),
            conv=inception_conv(80, _WIDTHS[0], 3, pad=small),
        ),
        nn.Sequential(pool(), _widening(), *(_block_35() for _ in range(depths[0]))),
        nn.Sequential(_reduction_a(), *(_block_17() for _ in range(depths[1]))),
        nn.Sequential(_reduction_b(), *last, inception_conv(_LAST, _WIDTHS[-1])),
    ]


# name → blocks on the 35×35, 17×17 and 8×8 maps
VARIANTS = {"inception_resnet_v2": (10, 20, 10)}


@register(VARIANTS)
def inception_resnet_v2(depths: tuple[int, int, int], common: Common) -> ConvNet:
    """Build an Inception-ResNet v2.

    ``stem="small"`` pads every convolution before the 35×35 blocks and leaves out strides and
    poolings there.
    """
    small = common.small
    model = ConvNet(
        inception_stem(common.in_channels, small=small),
        _stages(depths, small),
        pooled_classifier(_WIDTHS[-1], common.num_classes, common.dropout_or(0.2)),
        channels=_WIDTHS,
        strides=(1, 1, 2, 2) if small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if small else 75,
    )
    he_normal(model)
    return model
