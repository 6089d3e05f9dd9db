"""VGG: 3×3 convolutions only.

"Very Deep Convolutional Networks for Large-Scale Image Recognition", Karen Simonyan,
Andrew Zisserman, 2014, arXiv 1409.1556.

Differences from the paper: an adaptive average pooling to 7×7 stands before the first
fully connected layer, so that any input from 32 pixels up works; at 224 it does nothing.
The ``_bn`` variants add batch normalisation after every convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.conv import named
from convatlas.layers.head import classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["grow", "vgg"]

_WIDTHS = (64, 128, 256, 512, 512)
_HIDDEN = 4096


@dataclass(frozen=True, slots=True)
class Variant:
    """One column of the paper's table 1: convolutions per stage, and their normalisation."""

    depths: tuple[int, int, int, int, int]
    norm: bool = False


VARIANTS = {
    "vgg11": Variant((1, 1, 2, 2, 2)),
    "vgg13": Variant((2, 2, 2, 2, 2)),
    "vgg16": Variant((2, 2, 3, 3, 3)),
    "vgg19": Variant((2, 2, 4, 4, 4)),
    "vgg11_bn": Variant((1, 1, 2, 2, 2), norm=True),
    "vgg13_bn": Variant((2, 2, 2, 2, 2), norm=True),
    "vgg16_bn": Variant((2, 2, 3, 3, 3), norm=True),
    "vgg19_bn": Variant((2, 2, 4, 4, 4), norm=True),
}


def _stage(in_channels: int, out_channels: int, depth: int, *, norm: bool, pool: bool) -> nn.Module:
    layers: list[nn.Module] = []
    for i in range(depth):
        layers.append(nn.Conv2d(out_channels if i else in_channels, out_channels, 3, padding=1))
        if norm:
            layers.append(nn.BatchNorm2d(out_channels))
        layers.append(nn.ReLU())
    if pool:
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers)


def _head(side: int, num_classes: int, dropout: float) -> nn.Sequential:
    return named(
        pool=nn.AdaptiveAvgPool2d(side),
        flatten=nn.Flatten(),
        fc6=nn.Linear(_WIDTHS[-1] * side * side, _HIDDEN),
        relu6=nn.ReLU(),
        dropout6=nn.Dropout(dropout),
        fc7=nn.Linear(_HIDDEN, _HIDDEN),
        relu7=nn.ReLU(),
        dropout7=nn.Dropout(dropout),
        classifier=classifier(_HIDDEN, num_classes),
    )


@register(VARIANTS)
def vgg(variant: Variant, common: Common) -> ConvNet:
    """Build a VGG; there is no stem: the first stage reads the image.

    ``stem="small"`` leaves out the first two poolings, and the head sees a 1×1 map.
    """
    first_pool = 2 if common.small else 0
    inputs = (common.in_channels, *_WIDTHS)
    stages = [
        _stage(c_in, c_out, depth, norm=variant.norm, pool=i >= first_pool)
        for i, (c_in, c_out, depth) in enumerate(zip(inputs, _WIDTHS, variant.depths, strict=False))
    ]
    model = ConvNet(
        nn.Identity(),
        stages,
        _head(1 if common.small else 7, common.num_classes, common.dropout_or(0.5)),
        channels=_WIDTHS,
        strides=[2 if i >= first_pool else 1 for i in range(len(stages))],
        in_channels=common.in_channels,
        min_input_size=8 if common.small else 32,
    )
    he_normal(model, "fan_out" if variant.norm else "fan_in")
    return model


# The first four convolutions of net A are its first three stages; its three last layers the head.
_SEEDS = ("stages.0.", "stages.1.", "stages.2.", "head.")


def grow(shallow: ConvNet, name: str) -> tuple[ConvNet, list[str]]:
    """Build a deeper VGG that begins its training where a trained VGG-11 is (section 3.1).

    The first four convolutions and the fully connected layers are copied, each to its place in
    the stage of equal width, with their norms; the layers in between are drawn anew. Return the
    network, which takes the options of ``shallow``, and the names of the tensors copied.

    Raises:
        OptionError: ``shallow`` is no VGG-11, ``name`` no deeper VGG, or only one has norms.
    """
    variant, first = VARIANTS.get(name), VARIANTS["vgg11"].depths
    if variant is None or variant.depths == first:
        raise OptionError(f"expected vgg13, vgg16 or vgg19, with or without _bn, got {name!r}")
    state = shallow.state_dict()
    depths = [sum(isinstance(m, nn.Conv2d) for m in stage.modules()) for stage in shallow.stages]
    normed = any(key.endswith("running_mean") for key in state)
    if (*depths, normed) != (*first, variant.norm) or "head.fc6.weight" not in state:
        raise OptionError(
            f"{name} grows from vgg11{'_bn' * variant.norm}, got a network of {depths} "
            f"convolutions with{'' if normed else 'out'} batch norms: build that one first"
        )
    last = shallow.get_submodule("head.classifier")
    common = Common(
        num_classes=last.out_features if isinstance(last, nn.Linear) else 0,
        in_channels=shallow.in_channels,
        stem="small" if shallow.feature_info[0].stride == 1 else None,
        dropout=next(m.p for m in shallow.head.modules() if isinstance(m, nn.Dropout)),
    )
    deep = vgg(variant, common).to(state["head.fc6.weight"])
    seeds = {key: value for key, value in state.items() if key.startswith(_SEEDS)}
    deep.load_state_dict(seeds, strict=False)
    return deep, list(seeds)
