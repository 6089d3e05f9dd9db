"""GoogLeNet (Inception v1), with and without batch normalisation.

"Going Deeper with Convolutions", Christian Szegedy, Wei Liu, Yangqing Jia, Pierre Sermanet,
Scott Reed, Dragomir Anguelov, Dumitru Erhan, Vincent Vanhoucke, Andrew Rabinovich, 2014,
arXiv 1409.4842.

Differences from the paper: ``googlenet`` is the net of public PyTorch checkpoints. It has batch
normalisation instead of local response normalisation, a 3×3 kernel where the paper has the 5×5,
a 2×2 pooling before the last stage, and drops 20 % instead of 40 %; ``large_kernel=5`` gives
the 5×5 back. ``googlenet_2014`` is the paper's table 1. In both, the auxiliary classifiers pool
to 4×4 whatever the map's size, which is the paper's 5×5 pooling with stride 3 at 224 pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.branches import inception_conv
from convatlas.layers.conv import named
from convatlas.layers.head import pooled_classifier
from convatlas.layers.inception import inception
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.auxiliary import AuxiliaryConvNet, Beside
from convatlas.models.registry import Common, register

__all__ = ["googlenet"]

# name → (1×1, (reduce, 3×3), (reduce, 5×5), pooling's 1×1): table 1
_MODULES = {
    "3a": (64, (96, 128), (16, 32), 32),
    "3b": (128, (128, 192), (32, 96), 64),
    "4a": (192, (96, 208), (16, 48), 64),
    "4b": (160, (112, 224), (24, 64), 64),
    "4c": (128, (128, 256), (24, 64), 64),
    "4d": (112, (144, 288), (32, 64), 64),
    "4e": (256, (160, 320), (32, 128), 128),
    "5a": (256, (160, 320), (32, 128), 128),
    "5b": (384, (192, 384), (48, 128), 128),
}
_WIDTHS = (192, 480, 832, 1024)
_AUXILIARY_DROPOUT = 0.7


def _conv_act(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1) -> nn.Module:
    return named(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2),
        act=nn.ReLU(),
    )


@dataclass(frozen=True, slots=True)
class Variant:
    """What the paper's net and the normalised one differ in.

    Attributes:
        conv: Convolution with its activation, and its normalisation if any.
        large_kernel: Side of the "5×5" branch's kernel.
        last_pool: Side of the pooling before the last stage.
        normalise: Whether local response normalisation surrounds the second stage.
        dropout: Probability before the classifier.
        min_input_size: Smallest input in pixels.
        min_small_size: The same with the small stem.
    """

    conv: Callable[..., nn.Module]
    large_kernel: int
    last_pool: int
    normalise: bool
    dropout: float
    min_input_size: int
    min_small_size: int


VARIANTS = {
    "googlenet": Variant(inception_conv, 3, 2, False, 0.2, 15, 4),
    "googlenet_2014": Variant(_conv_act, 5, 3, True, 0.4, 31, 8),
}


def _norm() -> nn.Module:
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)


def _pool(kernel_size: int = 3) -> nn.MaxPool2d:
    return nn.MaxPool2d(kernel_size, 2, ceil_mode=True)


def _first_stage(variant: Variant, small: bool) -> nn.Sequential:
    norm1 = {"norm1": _norm()} if variant.normalise else {}
    norm2 = {"norm2": _norm()} if variant.normalise else {}
    return named(
        pool=nn.Identity() if small else _pool(),
        **norm1,
        reduce=variant.conv(64, 64, 1),
        conv=variant.conv(64, 192, 3),
        **norm2,
    )


def _stage(variant: Variant, number: int, in_channels: int, large_kernel: int) -> nn.Sequential:
    blocks: dict[str, nn.Module] = {"pool": _pool(variant.last_pool if number == 5 else 3)}
    for name, (one, three, five, pool) in _MODULES.items():
        if name.startswith(str(number)):
            blocks[name[1:]] = inception(
                in_channels,
                one,
                three,
                five,
                pool,
                conv=variant.conv,
                large_kernel=large_kernel,
            )
            in_channels = one + three[1] + five[1] + pool
    return named(**blocks)


def _auxiliary(conv: Callable[..., nn.Module], in_channels: int, num_classes: int) -> nn.Module:
    return named(
        pool=nn.AdaptiveAvgPool2d(4),
        conv=conv(in_channels, 128, 1),
        flatten=nn.Flatten(),
        hidden=nn.Linear(128 * 4 * 4, 1024),
        act=nn.ReLU(),
        dropout=nn.Dropout(_AUXILIARY_DROPOUT),
        classifier=nn.Linear(1024, num_classes),
    )


@register(VARIANTS)
def googlenet(
    variant: Variant,
    common: Common,
    *,
    large_kernel: int | None = None,
    auxiliary: bool = True,
) -> ConvNet:
    """Build a GoogLeNet; ``stem="small"`` makes the stem 3×3 with stride 1 and drops its pooling.

    Args:
        variant: Row of the table.
        common: The options that every family takes.
        large_kernel: Side of the "5×5" branch's kernel, 3 or 5; the variant's when None.
        auxiliary: Whether the two classifiers beside 4a and 4d are there.

    Raises:
        OptionError: Another side.
    """
    kernel = variant.large_kernel if large_kernel is None else large_kernel
    if kernel not in (3, 5):
        raise OptionError(f"large_kernel must be 3 or 5, got {kernel}")
    stages = [_first_stage(variant, common.small)]
    stages += [_stage(variant, n, _WIDTHS[n - 3], kernel) for n in (3, 4, 5)]
    aux = partial(_auxiliary, variant.conv, num_classes=common.num_classes)
    beside = Beside(*map(aux, (512, 528) if auxiliary and common.num_classes else ()))
    dropout = common.dropout_or(variant.dropout)
    model = AuxiliaryConvNet(
        variant.conv(common.in_channels, 64, *((3, 1) if common.small else (7, 2))),
        stages,
        pooled_classifier(_WIDTHS[-1], common.num_classes, dropout, auxiliary=beside),
        taps=("stages.2.a", "stages.2.d"),
        beside=beside,
        channels=_WIDTHS,
        strides=(1, 2, 2, 2) if common.small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=variant.min_small_size if common.small else variant.min_input_size,
    )
    he_normal(model, "fan_in" if variant.normalise else "fan_out")
    return model
