"""Residual nets against their papers' tables, worked by hand, and against each other."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from convatlas.models.registry import create_model
from convatlas.models.resnet import PaddedShortcut
from convatlas.models.resnetv2 import Preactivated


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _params(model):
    return sum(p.numel() for p in model.parameters())


def _shapes(model, size):
    image = torch.empty(2, model.in_channels, size, size, device="meta")
    return [tuple(f.shape[1:]) for f in model.forward_features(image)]


def _layers(model):
    """Count weighted layers as the papers do: without the convolutions of the shortcuts."""
    return sum(
        isinstance(m, nn.Conv2d | nn.Linear) and "shortcut" not in name
        for name, m in model.named_modules()
    )


@pytest.mark.parametrize(
    "name",
    [
        "cifar_resnet1202",
        "resnetv2_18",
        "resnetv2_34",
        "resnetv2_50",
        "resnetv2_101",
        "resnetv2_152",
        "resnetv2_200",
        "cifar_resnetv2_110",
        "cifar_resnetv2_164",
        "cifar_resnetv2_1001",
        "resnet101_v1",
    ],
)
def test_a_net_has_as_many_layers_as_its_name_says(name):
    assert f"{_layers(_meta(name))}" in name.removesuffix("_v1")


@pytest.mark.parametrize(
    ("name", "layers"), [("wrn_16_8", 16), ("wrn_28_10", 28), ("wrn_40_4", 40)]
)
def test_a_wide_net_counts_its_projections(name, layers):
    """6n + 4 = stem, 6n in the blocks and three projections; the classifier is not counted."""
    model = _meta(name)
    projections = [m for n, m in model.named_modules() if n.endswith("shortcut") and _params(m)]
    assert len(projections) == 3
    assert _layers(model) - 1 + len(projections) == layers


@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("wrn_16_8", (128, 256, 512)),
        ("wrn_28_10", (160, 320, 640)),
        ("wrn_40_4", (64, 128, 256)),
        ("cifar_resnetv2_110", (16, 32, 64)),
        ("cifar_resnetv2_1001", (64, 128, 256)),
    ],
)
def test_maps_on_cifar_are_those_of_the_papers(name, widths):
    assert _shapes(_meta(name), 32) == [(c, 32 >> i, 32 >> i) for i, c in enumerate(widths)]


def test_the_params_of_a_wide_net_follow_the_formula():
    """WRN-16-8 from table 1: two blocks a stage, every norm 2 parameters a channel."""
    expected, inputs = 3 * 16 * 9, 16
    for width in (128, 256, 512):
        first = 2 * inputs + 9 * inputs * width + 2 * width + 9 * width**2 + inputs * width
        expected += first + 2 * (2 * width + 9 * width**2)
        inputs = width
    expected += 2 * 512 + 512 * 10 + 10
    assert _params(_meta("wrn_16_8")) == expected


def test_a_bottleneck_costs_about_what_two_wide_convolutions_do():
    """Section 2 of the v2 paper: 16·16·9·2 against 16·64·2 + 16·16·9 weights in stage one."""
    basic, thin = _meta("cifar_resnetv2_110").stages[0][1], _meta("cifar_resnetv2_164").stages[0][1]
    assert _params(basic) == 2 * 16 * 16 * 9 + 2 * 2 * 16
    assert _params(thin) == 64 * 16 + 16 * 16 * 9 + 16 * 64 + 2 * (64 + 16 + 16)


def test_sums_of_a_preactivated_net_are_joined_by_identities():
    """With silent branches the first stage hands on its input as it is, negative values too."""
    model = create_model("cifar_resnetv2_110").eval()
    for name, module in model.stages[0].named_modules():
        if name.endswith("conv1"):
            nn.init.zeros_(module.weight)
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(model.stages[0](x), x)


def test_a_projection_reads_the_activation_and_an_identity_does_not():
    x = -torch.rand(1, 8, 4, 4)
    projecting, padding = Preactivated(8, 16, 2), Preactivated(8, 16, 2, shortcut=PaddedShortcut)
    for block in (projecting, padding):
        block.eval()
        nn.init.zeros_(block.convs.conv1.weight)
    assert not projecting(x).any()
    assert (padding(x) < 0).sum() == 8 * 2 * 2


def test_dropout_stands_before_the_last_convolution_of_a_block():
    model = create_model("wrn_16_8", block=partial(Preactivated, dropout=0.3))
    drops = [m.p for m in model.stages.modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.3] * 6
    assert [name for name, _ in model.stages[0][1].convs.named_children()] == [
        "conv0",
        "norm1",
        "dropout",
        "conv1",
    ]
    block = Preactivated(4, 4, 1, dropout=0.5)
    x = torch.randn(2, 4, 8, 8)
    assert not torch.equal(block(x), block(x))
    assert torch.equal(block.eval()(x), block(x))


@pytest.mark.parametrize("layers", [50, 101, 152])
def test_v1_strides_in_the_first_convolution_and_has_the_same_parameters(layers):
    published, usual = _meta(f"resnet{layers}_v1"), _meta(f"resnet{layers}")
    named = {n: tuple(p.shape) for n, p in usual.named_parameters()}
    assert {n: tuple(p.shape) for n, p in published.named_parameters()} == named
    for stage in published.stages[1:]:
        assert [stage[0].conv1.conv.stride, stage[0].conv2.conv.stride] == [(2, 2), (1, 1)]


def test_a_shortcut_of_resnet_d_drops_no_pixel():
    """Every pixel of a halving block's input reaches the shortcut; a strided 1×1 sees a quarter."""
    for name, seen in (("resnet18d", 64), ("resnet18", 16)):
        shortcut = create_model(name).stages[1][0].shortcut.eval()
        x = torch.randn(1, 64, 8, 8, requires_grad=True)
        shortcut(x).sum().backward()
        assert (x.grad.abs().sum(dim=1) > 0).sum() == seen


def test_the_deep_stem_has_the_widths_of_figure_2():
    stem = [m for m in _meta("resnet50d").stem.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels, m.stride[0]) for m in stem] == [
        (3, 32, 2),
        (32, 32, 1),
        (32, 64, 1),
    ]


def test_senet_154_halves_its_first_convolutions():
    block = _meta("senet154").stages[2][1]
    convs = [m for n, m in block.named_modules() if isinstance(m, nn.Conv2d) and "att" not in n]
    assert [(m.in_channels, m.out_channels, m.groups) for m in convs] == [
        (1024, 512, 1),
        (512, 1024, 64),
        (1024, 1024, 1),
    ]
    assert _layers(_meta("senet154")) == 154 + 2 * 50  # two more in each gate
