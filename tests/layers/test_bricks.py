"""The bricks, against torch's own functions and closed formulas."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import ConvNormAct, SameConv2d, named, overwriting
from convatlas.layers.head import classifier, convolved_classifier, pooled_classifier
from convatlas.layers.init import faint_class_maps, he_normal
from convatlas.layers.norm import span_statistics
from convatlas.layers.residual import DropPath
from convatlas.layers.rounding import efficientnet_depth, mobilenet_width


def test_conv_norm_act_has_the_closed_number_of_parameters():
    brick = ConvNormAct(6, 10, 3, stride=2, groups=2)
    assert sum(p.numel() for p in brick.parameters()) == 6 // 2 * 9 * 10 + 2 * 10
    assert brick(torch.randn(1, 6, 9, 9)).shape == (1, 10, 5, 5)
    assert brick(torch.randn(1, 6, 9, 9)).min() >= 0
    assert [name for name, _ in ConvNormAct(3, 4, act=None).named_children()] == ["conv", "norm"]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [7, 8, 224])
def test_same_padding_is_tensorflows(kernel, stride, size):
    """TensorFlow's guide: output ceil(n / s), the extra pixel after the image."""
    conv = SameConv2d(2, 3, kernel, stride, bias=False)
    x = torch.randn(1, 2, size, size)
    out = -(-size // stride)
    total = max((out - 1) * stride + kernel - size, 0)
    padded = F.pad(x, (total // 2, total - total // 2) * 2)
    expected = F.conv2d(padded, conv.weight, stride=stride)
    assert conv(x).shape[-1] == out
    torch.testing.assert_close(conv(x), expected)


def test_squeeze_excite_is_a_gate_per_channel():
    block = SqueezeExcite(32)
    assert sum(p.numel() for p in block.parameters()) == 32 * 2 + 2 + 2 * 32 + 32
    with torch.no_grad():
        block.expand.weight.zero_()
        block.expand.bias.copy_(torch.linspace(-2, 2, 32))
    x = torch.randn(2, 32, 5, 5)
    gate = torch.linspace(-2, 2, 32).sigmoid()
    torch.testing.assert_close(block(x), x * gate[:, None, None])


def test_drop_path_keeps_the_expectation_and_whole_samples():
    torch.manual_seed(0)
    x = torch.ones(20_000, 3)
    dropped = DropPath(0.25)(x)
    kept = dropped[:, 0] > 0
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / 0.75))
    assert torch.equal(dropped[~kept], torch.zeros_like(dropped[~kept]))
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert torch.equal(DropPath(0.25).eval()(x), x)
    assert repr(DropPath(0.25)) == "DropPath(probability=0.25)"


@pytest.mark.parametrize(
    ("width", "rounded"), [(32 * 0.35, 16), (24 * 0.35, 8), (16 * 1.4, 24), (1280 * 1.3, 1664)]
)
def test_mobilenet_widths_are_the_reference_implementations(width, rounded):
    """Widths of the public MobileNetV2 checkpoints."""
    assert mobilenet_width(width) == rounded
    assert mobilenet_width(width) >= 0.9 * width


def test_depth_is_rounded_up():
    assert [efficientnet_depth(n, 1.1) for n in (1, 2, 3, 4)] == [2, 3, 4, 5]
    assert efficientnet_depth(4, 1.0) == 4


def test_heads_end_in_a_classifier():
    head = pooled_classifier(8, 5, 0.5)
    assert head(torch.randn(2, 8, 3, 3)).shape == (2, 5)
    x = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(head.eval()(x), head.classifier(x.mean((2, 3))))
    assert isinstance(classifier(8, 0), nn.Identity)


def test_he_initialisation_has_the_paper_s_deviation():
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, 3)
    he_normal(conv)
    assert conv.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)
    assert torch.equal(conv.bias, torch.zeros(256))


def test_named_keeps_order_and_names():
    model = named(b=nn.ReLU(), a=nn.Identity())
    assert [name for name, _ in model.named_children()] == ["b", "a"]


def test_an_activation_overwrites_its_input_where_it_can():
    x = torch.tensor([-1.0, 2.0])
    assert overwriting(nn.ReLU)(x) is x
    assert x.tolist() == [0, 2]
    assert overwriting(nn.Tanh)(x) is not x


@pytest.mark.parametrize(("mode", "fan"), [("fan_in", 64 * 9), ("fan_out", 256 * 9)])
def test_he_initialisation_keeps_the_side_that_is_asked_for(mode, fan):
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 256, 3)
    he_normal(conv, mode)
    assert conv.weight.std().item() == pytest.approx((2 / fan) ** 0.5, rel=0.02)


def test_rectified_class_maps_begin_faint():
    torch.manual_seed(0)
    maps = convolved_classifier(512, 10)
    faint_class_maps(maps)
    assert maps.conv.weight.std().item() == pytest.approx(0.01, rel=0.05)
    faint_class_maps(convolved_classifier(512, 0))


def test_not_all_rectified_class_maps_can_sink():
    """Softmax's gradients add up to 0 over the classes: above zero, the mean logit stays 1."""
    torch.manual_seed(0)
    maps = convolved_classifier(64, 10)
    faint_class_maps(maps)
    features, labels = torch.rand(10, 64, 2, 2), torch.arange(10)
    start = maps(features).mean().item()
    optimiser = torch.optim.SGD(maps.parameters(), 0.05, momentum=0.9)
    for _ in range(20):
        logits = maps(features)
        assert logits.mean().item() == pytest.approx(start, abs=1e-4)
        optimiser.zero_grad()
        F.cross_entropy(logits, labels).backward()
        optimiser.step()
    assert start == pytest.approx(1, abs=0.1)
    assert (maps(features) > 0).all()


@pytest.mark.parametrize(
    ("published", "steps", "expected"),
    [
        (0.0003, 45, 1 / 45),
        (0.0003, 5, 0.1),
        (0.0003, 5000, 0.0003),
        (0.1, 45, 0.1),
        (None, 5, None),
    ],
)
def test_running_statistics_span_no_more_steps_than_told(published, steps, expected):
    norm = nn.BatchNorm2d(2, momentum=published)
    span_statistics(nn.Sequential(norm), steps)
    assert norm.momentum == expected


def test_running_statistics_have_arrived_after_some_spans():
    norm = nn.BatchNorm2d(1, momentum=0.0003)
    span_statistics(norm, 50)
    images = torch.full((4, 1, 2, 2), 5.0)
    for _ in range(3 * 50):
        norm(images)
    assert norm.running_mean.item() == pytest.approx(5 * (1 - (1 - 1 / 50) ** 150))
