"""ZFNet and Network in Network: shapes of the paper's figures, parameters and MACs by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.models.registry import create_model


def _shapes(name, size, kinds):
    """Return (channels, height) after every module of ``kinds``, in order of execution."""
    with torch.device("meta"):
        model = create_model(name).eval()
    shapes = []
    for module in model.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(lambda m, args, y: shapes.append(tuple(y.shape[1:3])))
    model(torch.empty(1, 3, size, size, device="meta"))
    return shapes


def _conv(in_channels, out_channels, side, map_side):
    """Return the parameters and MACs of a convolution with bias."""
    weights = in_channels * out_channels * side * side
    return weights + out_channels, weights * map_side**2


def _linear(inputs, outputs):
    return inputs * outputs + outputs, inputs * outputs


def _totals(layers):
    return tuple(sum(column) for column in zip(*layers, strict=True))


def _counted(name, size):
    with torch.device("meta"):
        model = create_model(name).eval()
    macs = 0

    def count(module, args, output):
        nonlocal macs
        macs += output.numel() * module.weight[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model(torch.empty(1, 3, size, size, device="meta"))
    return sum(p.numel() for p in model.parameters()), macs


def test_zfnet_has_the_maps_of_figure_3():
    assert _shapes("zfnet", 224, nn.Conv2d | nn.MaxPool2d) == [
        (96, 110),
        (96, 55),
        (256, 26),
        (256, 13),
        (384, 13),
        (384, 13),
        (256, 13),
        (256, 6),
    ]


@pytest.mark.parametrize(
    ("name", "c3", "c4", "c5"), [("zfnet", 384, 384, 256), ("zfnet_wide", 512, 1024, 512)]
)
def test_zfnet_counts_as_by_hand(name, c3, c4, c5):
    convs = [_conv(3, 96, 7, 110), _conv(96, 256, 5, 26)]
    convs += [_conv(256, c3, 3, 13), _conv(c3, c4, 3, 13), _conv(c4, c5, 3, 13)]
    linears = [_linear(6 * 6 * c5, 4096), _linear(4096, 4096), _linear(4096, 1000)]
    assert _counted(name, 224) == _totals(convs + linears)


def test_nin_for_cifar_counts_as_by_hand():
    first = [_conv(3, 192, 5, 32), _conv(192, 160, 1, 32), _conv(160, 96, 1, 32)]
    second = [_conv(96, 192, 5, 16), _conv(192, 192, 1, 16), _conv(192, 192, 1, 16)]
    third = [_conv(192, 192, 3, 8), _conv(192, 192, 1, 8), _conv(192, 10, 1, 8)]
    assert _counted("nin_cifar10", 32) == _totals(first + second + third) == (966_986, 222_486_528)


def test_nin_for_imagenet_counts_as_by_hand():
    layers = []
    sides = ((3, 96, 11, 54), (96, 256, 5, 27), (256, 384, 3, 13))
    for in_channels, channels, side, map_side in sides:
        layers.append(_conv(in_channels, channels, side, map_side))
        layers += [_conv(channels, channels, 1, map_side)] * 2
    layers += [_conv(384, 1024, 3, 6), _conv(1024, 1024, 1, 6), _conv(1024, 1000, 1, 6)]
    assert _counted("nin_imagenet", 224) == _totals(layers)


def test_nin_ends_in_one_rectified_map_per_class():
    head = create_model("nin_cifar10").head
    features = torch.randn(2, 192, 8, 8)
    maps = nn.functional.conv2d(features, *head.classifier.conv.parameters()).relu()
    torch.testing.assert_close(head.eval()(features), maps.mean(dim=(2, 3)))
