"""BN-Inception, which later papers call Inception v2.

"Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift",
Sergey Ioffe, Christian Szegedy, 2015, arXiv 1502.03167.

Differences from the paper: as in the public Caffe and PyTorch checkpoints, the first
convolution is a plain one, not separable, and convolutions keep a bias, although the
normalisation cancels it (section 3.2). Where the sums of figure 5 do not match its own columns
(4c, 4d and 4e), the columns count. The ends of 3c and 4e take maps of any size.
"""

from __future__ import annotations

from torch import nn

from convatlas.layers.branches import Branches, chain, pooled
from convatlas.layers.conv import named
from convatlas.layers.factorised_inception import inception_block_i
from convatlas.layers.head import pooled_classifier
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["bn_inception"]

# name → (1×1, (reduce, 3×3), (reduce, 3×3, 3×3), pooling's 1×1): figure 5.
# Without 1×1 (3c and 4e) the module halves the map and its pooling hands on all channels.
_MODULES = {
    "3a": (64, (64, 64), (64, 96, 96), 32),
    "3b": (64, (64, 96), (64, 96, 96), 64),
    "3c": (0, (128, 160), (64, 96, 96), 0),
    "4a": (224, (64, 96), (96, 128, 128), 128),
    "4b": (192, (96, 128), (96, 128, 128), 128),
    "4c": (160, (128, 160), (128, 160, 160), 128),
    "4d": (96, (128, 192), (160, 192, 192), 128),
    "4e": (0, (128, 192), (192, 256, 256), 0),
    "5a": (352, (192, 320), (160, 224, 224), 128),
    "5b": (352, (192, 320), (192, 224, 224), 128),
}
_WIDTHS = (192, 320, 608, 1024)


def _conv(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, *, pad: bool = True
) -> nn.Sequential:
    padding = kernel_size // 2 if pad else 0
    return named(
        conv=nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding=padding),
        norm=nn.BatchNorm2d(out_channels),
        act=nn.ReLU(),
    )


def _module(name: str, in_channels: int) -> Branches:
    one, three, deep, pool = _MODULES[name]
    if one:
        kind = nn.MaxPool2d if name == "5b" else nn.AvgPool2d
        branch = pooled(in_channels, pool, kind(3, 1, padding=1), conv=_conv)
        return inception_block_i(in_channels, one, three, deep, branch, conv=_conv)
    return Branches(
        three=chain(in_channels, (three[0], 1), (three[1], 3), stride=2, pad=True, conv=_conv),
        deep=chain(
            in_channels, (deep[0], 1), (deep[1], 3), (deep[2], 3), stride=2, pad=True, conv=_conv
        ),
        # Caffe's ceiling on even maps, and as large as the convolutions' maps on odd ones.
        pool=nn.Sequential(nn.ZeroPad2d((0, 2, 0, 2)), nn.MaxPool2d(3, 2)),
    )


def _stage(names: tuple[str, ...], in_channels: int, **first: nn.Module) -> nn.Sequential:
    for name in names:
        one, three, deep, pool = _MODULES[name]
        first[f"module{name}"] = _module(name, in_channels)
        in_channels = one + three[1] + deep[2] + (pool or in_channels)
    return named(**first)


# name → the modules of each stage
VARIANTS = {"bn_inception": (("3a", "3b"), ("3c", "4a", "4b", "4c", "4d"), ("4e", "5a", "5b"))}


@register(VARIANTS)
def bn_inception(modules: tuple[tuple[str, ...], ...], common: Common) -> ConvNet:
    """Build a BN-Inception; ``stem="small"`` makes the stem 3×3, stride 1, without its pooling."""
    small = common.small
    halve = nn.MaxPool2d(3, 2, ceil_mode=True)
    first = named(
        pool=nn.Identity() if small else halve, reduce=_conv(64, 64), conv=_conv(64, 192, 3)
    )
    model = ConvNet(
        _conv(common.in_channels, 64, *((3, 1) if small else (7, 2))),
        [
            first,
            _stage(modules[0], _WIDTHS[0], pool=nn.MaxPool2d(3, 2, ceil_mode=True)),
            _stage(modules[1], _WIDTHS[1]),
            _stage(modules[2], _WIDTHS[2]),
        ],
        pooled_classifier(_WIDTHS[-1], common.num_classes, common.dropout_or(0.0)),
        channels=_WIDTHS,
        strides=(1, 2, 2, 2) if small else (4, 2, 2, 2),
        in_channels=common.in_channels,
        min_input_size=2 if small else 7,
    )
    he_normal(model)
    return model
