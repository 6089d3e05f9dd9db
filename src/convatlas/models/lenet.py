"""LeNet-5.

"Gradient-Based Learning Applied to Document Recognition", Yann LeCun, Léon Bottou,
Yoshua Bengio, Patrick Haffner, Proceedings of the IEEE, 1998.

Differences from the paper: C3 sees all six maps of S2 (the paper leaves connections out to
save parameters), S2 and S4 are plain averages (the paper gives each map a trained factor and
offset), and the output is linear (the paper measures distances to drawn digits). 61,706
parameters instead of the paper's 60,000.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from convatlas.layers.conv import named
from convatlas.layers.head import classifier
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["lenet"]


@dataclass(frozen=True, slots=True)
class Variant:
    """Channels of C1, C3, C5 and units of F6."""

    c1: int = 6
    c3: int = 16
    c5: int = 120
    f6: int = 84


VARIANTS = {"lenet5": Variant()}


@register(VARIANTS)
def lenet(variant: Variant, common: Common) -> ConvNet:
    """Build a LeNet-5; there is no stem: the first stage reads the image.

    ``stem="small"`` pads every 5×5 convolution by 2, so that inputs from 4 pixels up work.
    """
    padding = 2 if common.small else 0
    stages = [
        named(conv=nn.Conv2d(c_in, c_out, 5, padding=padding), act=nn.Tanh(), pool=nn.AvgPool2d(2))
        for c_in, c_out in ((common.in_channels, variant.c1), (variant.c1, variant.c3))
    ]
    head = named(
        c5=nn.Conv2d(variant.c3, variant.c5, 5, padding=padding),
        act5=nn.Tanh(),
        pool=nn.AdaptiveAvgPool2d(1),
        flatten=nn.Flatten(),
        f6=nn.Linear(variant.c5, variant.f6),
        act6=nn.Tanh(),
        dropout=nn.Dropout(common.dropout_or(0.0)),
        classifier=classifier(variant.f6, common.num_classes),
    )
    return ConvNet(
        nn.Identity(),
        stages,
        head,
        channels=(variant.c1, variant.c3),
        strides=(2, 2),
        in_channels=common.in_channels,
        min_input_size=4 if common.small else 32,
    )
