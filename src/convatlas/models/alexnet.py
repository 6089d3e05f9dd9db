"""AlexNet, in one tower and as the two-group net of 2012.

"ImageNet Classification with Deep Convolutional Neural Networks", Alex Krizhevsky,
Ilya Sutskever, Geoffrey Hinton, NeurIPS 2012; the one-tower net: Alex Krizhevsky, "One weird
trick for parallelizing convolutional neural networks", 2014, arXiv 1404.5997.

Differences from the papers: ``alexnet`` has the widths of public checkpoints (64-192-384-256-256,
no normalisation, padding 2 in the first layer). ``alexnet_2012`` is the paper's at 227 pixels; its
224 does not give the 55×55 map that it states. An adaptive average pooling to 6×6 before the
first fully connected layer lets other input sizes in; at the paper's size it does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from convatlas.layers.conv import named
from convatlas.layers.head import classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["alexnet"]

_HIDDEN = 4096


@dataclass(frozen=True, slots=True)
class Variant:
    """The five convolutions.

    Attributes:
        widths: Output channels of each.
        groups: Channel groups of the second, fourth and fifth (the two GPUs of 2012).
        padding: Padding of the first.
        normalise: Whether local response normalisation follows the first two.
        dropout_first: Whether dropout stands before fc6 and fc7, or after them.
        min_input_size: Smallest input, in pixels.
    """

    widths: tuple[int, int, int, int, int]
    groups: int
    padding: int
    normalise: bool
    dropout_first: bool
    min_input_size: int


_WIDE = (96, 256, 384, 384, 256)

VARIANTS = {
    "alexnet": Variant((64, 192, 384, 256, 256), 1, 2, False, True, 63),
    "alexnet_2012": Variant(_WIDE, 2, 0, True, False, 67),
    "alexnet_2012_one_tower": Variant(_WIDE, 1, 0, True, False, 67),
}


def _norm(variant: Variant) -> list[nn.Module]:
    """Return the normalisation of section 3.3, whose alpha torch divides by the size, or none."""
    return [nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0)] if variant.normalise else []


def _stages(variant: Variant, in_channels: int, small: bool) -> list[nn.Module]:
    c1, c2, c3, c4, c5 = variant.widths
    first = (
        nn.Conv2d(in_channels, c1, 3, padding=1)
        if small
        else nn.Conv2d(in_channels, c1, 11, 4, padding=variant.padding)
    )
    groups = variant.groups
    second = nn.Conv2d(c1, c2, 5, padding=2, groups=groups)
    return [
        nn.Sequential(first, nn.ReLU(), *_norm(variant), *([] if small else [nn.MaxPool2d(3, 2)])),
        nn.Sequential(second, nn.ReLU(), *_norm(variant), nn.MaxPool2d(3, 2)),
        nn.Sequential(
            nn.Conv2d(c2, c3, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(c3, c4, 3, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(c4, c5, 3, padding=1, groups=groups),
            nn.ReLU(),
            nn.MaxPool2d(3, 2),
        ),
    ]


def _head(features: int, side: int, num_classes: int, dropout: float, first: bool) -> nn.Sequential:
    pool = (nn.AdaptiveAvgPool2d(side), nn.Flatten())
    fc6 = (nn.Linear(features * side * side, _HIDDEN), nn.ReLU())
    fc7 = (nn.Linear(_HIDDEN, _HIDDEN), nn.ReLU())
    drop6, drop7 = nn.Dropout(dropout), nn.Dropout(dropout)
    hidden = (drop6, *fc6, drop7, *fc7) if first else (*fc6, drop6, *fc7, drop7)
    layers = {str(i): layer for i, layer in enumerate((*pool, *hidden))}
    return named(**layers, classifier=classifier(_HIDDEN, num_classes))


@register(VARIANTS)
def alexnet(variant: Variant, common: Common) -> ConvNet:
    """Build an AlexNet; there is no stem: the first stage reads the image.

    ``stem="small"`` makes the first convolution 3×3 with stride 1 and leaves out its pooling.
    """
    model = ConvNet(
        nn.Identity(),
        _stages(variant, common.in_channels, common.small),
        _head(
            variant.widths[-1],
            1 if common.small else 6,
            common.num_classes,
            common.dropout_or(0.5),
            variant.dropout_first,
        ),
        channels=(variant.widths[0], variant.widths[1], variant.widths[4]),
        strides=(1, 2, 2) if common.small else (8, 2, 2),
        in_channels=common.in_channels,
        min_input_size=7 if common.small else variant.min_input_size,
    )
    he_normal(model, "fan_in")
    return model
