"""Network in Network: each convolution is followed by a small perceptron at every pixel.

"Network In Network", Min Lin, Qiang Chen, Shuicheng Yan, 2013, arXiv 1312.4400.

Differences from the paper: it gives the widths of no net; those of ``nin_cifar10`` and of
``nin_imagenet`` are the authors' released models'. The last layer of the last perceptron makes
the class maps and belongs to the head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import nn

from convatlas.layers.conv import named
from convatlas.layers.head import convolved_classifier
from convatlas.layers.init import faint_class_maps, he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import Common, register

__all__ = ["mlpconv", "nin"]


def mlpconv(in_channels: int, conv: nn.Conv2d, *widths: int) -> nn.Sequential:
    """Return ``conv`` and the 1×1 convolutions that are its perceptron, each with a ReLU.

    Args:
        in_channels: Output channels of ``conv``.
        conv: The convolution that gathers the patch.
        *widths: Output channels of the perceptron's layers.
    """
    layers: list[nn.Module] = [conv, nn.ReLU()]
    for width in widths:
        layers += [nn.Conv2d(in_channels, width, 1), nn.ReLU()]
        in_channels = width
    return nn.Sequential(*layers)


@dataclass(frozen=True, slots=True)
class Block:
    """One mlpconv layer.

    Attributes:
        kernel_size: Side of its convolution's kernel.
        widths: Output channels of the convolution and of the perceptron's layers.
        pool: The pooling that ends the stage, if any.
        dropout: Whether dropout follows.
        stride: Step of the convolution, which is unpadded when this is not 1.
    """

    kernel_size: int
    widths: tuple[int, ...]
    pool: Callable[..., nn.Module] | None = None
    dropout: bool = False
    stride: int = 1


@dataclass(frozen=True, slots=True)
class Variant:
    """The blocks, less the last layer of the last, which is the classifier."""

    blocks: tuple[Block, ...]
    min_input_size: int


VARIANTS = {
    "nin_cifar10": Variant(
        (
            Block(5, (192, 160, 96), nn.MaxPool2d, dropout=True),
            Block(5, (192, 192, 192), nn.AvgPool2d, dropout=True),
            Block(3, (192, 192)),
        ),
        min_input_size=4,
    ),
    "nin_imagenet": Variant(
        (
            Block(11, (96, 96, 96), nn.MaxPool2d, stride=4),
            Block(5, (256, 256, 256), nn.MaxPool2d),
            Block(3, (384, 384, 384), nn.MaxPool2d, dropout=True),
            Block(3, (1024, 1024)),
        ),
        min_input_size=39,
    ),
}


def _stage(in_channels: int, block: Block, dropout: float) -> nn.Sequential:
    first, *widths = block.widths
    size = block.kernel_size
    padding = size // 2 if block.stride == 1 else 0
    conv = nn.Conv2d(in_channels, first, size, block.stride, padding=padding)
    stage = named(mlp=mlpconv(first, conv, *widths))
    if block.pool is not None:
        stage.add_module("pool", block.pool(3, 2, ceil_mode=True))
    if block.dropout:
        stage.add_module("dropout", nn.Dropout(dropout))
    return stage


def _small(block: Block) -> Block:
    """Return ``block`` for small images: one that strides and pools does neither."""
    return block if block.stride == 1 else replace(block, kernel_size=3, stride=1, pool=None)


@register(VARIANTS)
def nin(variant: Variant, common: Common) -> ConvNet:
    """Build a Network in Network; there is no stem: the first stage reads the image.

    ``stem="small"`` makes the 11×11 convolution 3×3 with stride 1 and leaves out its pooling; the
    CIFAR net stays as it is. ``dropout`` holds between the stages and before the class maps,
    where the released nets have none.
    """
    blocks = [_small(block) if common.small else block for block in variant.blocks]
    widths = [block.widths[-1] for block in blocks]
    dropout = common.dropout_or(0.5)
    inputs = (common.in_channels, *widths)
    classifier = convolved_classifier(widths[-1], common.num_classes)
    head = named(dropout=nn.Dropout(common.dropout_or(0.0)), classifier=classifier)
    model = ConvNet(
        nn.Identity(),
        [_stage(c, block, dropout) for c, block in zip(inputs, blocks, strict=False)],
        head,
        channels=widths,
        strides=[block.stride * (1 if block.pool is None else 2) for block in blocks],
        in_channels=common.in_channels,
        min_input_size=4 if common.small else variant.min_input_size,
    )
    he_normal(model, "fan_in")
    faint_class_maps(classifier)
    return model
