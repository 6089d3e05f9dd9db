"""Xception: depthwise separable convolutions throughout.

"Xception: Deep Learning with Depthwise Separable Convolutions", François Chollet, 2016,
arXiv 1610.02357.

Differences from the paper: poolings pad symmetrically and batch normalisation has ε = 10⁻⁵, as
public PyTorch checkpoints do; the optional fully connected layers are left out.
"""

from __future__ import annotations

from torch import Tensor, nn

from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["XceptionBlock", "xception"]


def _separable(in_channels: int, out_channels: int) -> nn.Sequential:
    """Return 3×3 depthwise → 1×1 → norm, with nothing in between (figure 4, section 4.7)."""
    return named(
        depthwise=nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
        pointwise=nn.Conv2d(in_channels, out_channels, 1, bias=False),
        norm=nn.BatchNorm2d(out_channels),
    )


class XceptionBlock(nn.Module):
    """``shortcut(x) + f(x)``, f = separable convolutions, each after a ReLU (figure 5).

    Args:
        in_channels: Channels of the input.
        widths: Output channels of each separable convolution.
        stride: 2 ends f in a pooling and projects the shortcut; 1 leaves the shortcut as it is.
        first_act: Whether a ReLU comes before the first convolution.
    """

    def __init__(
        self, in_channels: int, widths: tuple[int, ...], stride: int = 1, *, first_act: bool = True
    ) -> None:
        super().__init__()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = named(
                conv=nn.Conv2d(in_channels, widths[-1], 1, stride, bias=False),
                norm=nn.BatchNorm2d(widths[-1]),
            )
        layers: list[nn.Module] = []
        for inputs, outputs in zip((in_channels, *widths), widths, strict=False):
            layers += [nn.ReLU(), _separable(inputs, outputs)]
        if stride > 1:
            layers.append(nn.MaxPool2d(3, stride, padding=1))
        self.body = nn.Sequential(*(layers if first_act else layers[1:]))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C_in, H, W) to (N, C_out, H / stride, W / stride)."""
        residual = self.body(x)
        return residual + self.shortcut(x)


# name → number of blocks of the middle flow
VARIANTS = {"xception": 8}

_MIDDLE = 728


def _stem(in_channels: int, small: bool) -> nn.Sequential:
    stride, padding = (1, 1) if small else (2, 0)
    return named(
        conv1=nn.Conv2d(in_channels, 32, 3, stride, padding, bias=False),
        norm1=nn.BatchNorm2d(32),
        act1=nn.ReLU(),
        conv2=nn.Conv2d(32, 64, 3, padding=padding, bias=False),
        norm2=nn.BatchNorm2d(64),
        act2=nn.ReLU(),
    )


def _stages(depth: int) -> list[nn.Module]:
    middle = [XceptionBlock(_MIDDLE, (_MIDDLE,) * 3) for _ in range(depth)]
    return [
        XceptionBlock(64, (128, 128), 2, first_act=False),
        XceptionBlock(128, (256, 256), 2),
        nn.Sequential(XceptionBlock(256, (_MIDDLE, _MIDDLE), 2), *middle),
        named(
            block=XceptionBlock(_MIDDLE, (_MIDDLE, 1024), 2),
            conv3=_separable(1024, 1536),
            act3=nn.ReLU(),
            conv4=_separable(1536, 2048),
            act4=nn.ReLU(),
        ),
    ]


@register(VARIANTS)
def xception(depth: int, common: Common) -> ConvNet:
    """Build an Xception; ``stem="small"`` pads the stem's convolutions and drops its stride."""
    model = ConvNet(
        _stem(common.in_channels, common.small),
        _stages(depth),
        pooled_classifier(2048, common.num_classes, common.dropout_or(0.5)),
        channels=(128, 256, _MIDDLE, 2048),
        strides=(2 if common.small else 4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=1 if common.small else 7,
    )
    he_normal(model)
    return model
