"""ZFNet: AlexNet with a finer first layer.

"Visualizing and Understanding Convolutional Networks", Matthew D. Zeiler, Rob Fergus, 2013,
arXiv 1311.2901.

Differences from the paper: the maps are normalised across channels as in AlexNet, since the paper
gives no formula of its own. An adaptive average pooling to 6×6 before the first fully connected
layer lets other input sizes in; at 224 it does nothing.
"""

from __future__ import annotations

from torch import nn

from convatlas.layers.conv import named
from convatlas.layers.head import classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["zfnet"]

Widths = tuple[int, int, int, int, int]

_HIDDEN = 4096

# name → output channels of the five convolutions: figure 3, and table 2's widened layers 3 to 5
VARIANTS: dict[str, Widths] = {
    "zfnet": (96, 256, 384, 384, 256),
    "zfnet_wide": (96, 256, 512, 1024, 512),
}


def _pool() -> nn.MaxPool2d:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def _norm() -> nn.LocalResponseNorm:
    """Return AlexNet's normalisation (section 3.3 there), whose alpha torch divides by the size."""
    return nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)


def _stages(widths: Widths, in_channels: int, small: bool) -> list[nn.Module]:
    c1, c2, c3, c4, c5 = widths
    first = (
        nn.Conv2d(in_channels, c1, 3, padding=1) if small else nn.Conv2d(in_channels, c1, 7, 2, 1)
    )
    second = nn.Conv2d(c1, c2, 5, padding=2) if small else nn.Conv2d(c1, c2, 5, 2)
    return [
        named(conv=first, act=nn.ReLU(), pool=nn.Identity() if small else _pool(), norm=_norm()),
        named(conv=second, act=nn.ReLU(), pool=_pool(), norm=_norm()),
        named(
            conv3=nn.Conv2d(c2, c3, 3, padding=1),
            act3=nn.ReLU(),
            conv4=nn.Conv2d(c3, c4, 3, padding=1),
            act4=nn.ReLU(),
            conv5=nn.Conv2d(c4, c5, 3, padding=1),
            act5=nn.ReLU(),
            pool=_pool(),
        ),
    ]


def _head(features: int, side: int, num_classes: int, dropout: float) -> nn.Sequential:
    return named(
        pool=nn.AdaptiveAvgPool2d(side),
        flatten=nn.Flatten(),
        fc6=nn.Linear(features * side * side, _HIDDEN),
        act6=nn.ReLU(),
        dropout6=nn.Dropout(dropout),
        fc7=nn.Linear(_HIDDEN, _HIDDEN),
        act7=nn.ReLU(),
        dropout7=nn.Dropout(dropout),
        classifier=classifier(_HIDDEN, num_classes),
    )


@register(VARIANTS)
def zfnet(widths: Widths, common: Common) -> ConvNet:
    """Build a ZFNet; there is no stem: the first stage reads the image.

    ``stem="small"`` makes the first convolution 3×3, gives the first two stride 1 and leaves out
    the first pooling; the head sees a 1×1 map.
    """
    small = common.small
    model = ConvNet(
        nn.Identity(),
        _stages(widths, common.in_channels, small),
        _head(widths[-1], 1 if small else 6, common.num_classes, common.dropout_or(0.5)),
        channels=(widths[0], widths[1], widths[-1]),
        strides=(1, 2, 2) if small else (4, 4, 2),
        in_channels=common.in_channels,
        min_input_size=4 if small else 47,
    )
    he_normal(model, "fan_in")
    return model
