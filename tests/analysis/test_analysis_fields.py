"""Receptive fields: hand-worked numbers, and gradients of random nets as the oracle."""

from __future__ import annotations

import random

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.analysis.cost import analyze
from convatlas.analysis.receptive_field import Axis, identity_axis, slide, slide_transposed, union


class Call(nn.Module):
    """A network whose forward is one function of its modules."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.modules_used = nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.modules_used)


def last(model, size=32):
    return analyze(model, size).layers[-1]


def field_of(model, size=32):
    return last(model, size).receptive_field


def observed(model, size, output):
    """Return first and last input pixel, per axis, with a gradient from one output position."""
    model = model.double().eval()
    for parameter in model.parameters():
        nn.init.constant_(parameter, 1.0)
    shape = analyze(model, size).input_shape
    x = torch.rand(shape, dtype=torch.float64) + 0.5
    x.requires_grad_()
    y = model(x)
    y[0, :, output[0], output[1]].sum().backward()
    seen = x.grad[0].ne(0).any(0)
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return (rows[0].item(), columns[0].item()), (rows[-1].item(), columns[-1].item())


def conv(kernel, stride=1, padding=0, dilation=1, channels=2):
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, bias=False)


class Branches(nn.Module):
    """Several paths of one resolution, joined by addition or concatenation."""

    def __init__(self, join, *paths):
        super().__init__()
        self.join, self.paths = join, nn.ModuleList(paths)

    def forward(self, x):
        maps = [path(x) for path in self.paths]
        if self.join == "cat":
            return sum(torch.cat(maps, 1).chunk(len(maps), 1))
        return torch.stack(maps).sum(0) if self.join == "stack" else sum(maps)


def random_layer(pick):
    kernel = pick.choice([1, 2, 3, 5, (1, 7), (5, 1), (3, 2)])
    kind = pick.choice(["conv", "conv", "dilated", "pool", "pad", "branches", "focus", "norm"])
    if kind == "conv":
        return conv(kernel, pick.choice([1, 1, 2, 3]), pick.choice([0, 0, 1, 2]))
    if kind == "dilated":
        return conv(pick.choice([2, 3]), 1, pick.choice([0, 2]), pick.choice([2, 3]))
    if kind == "pool":
        return nn.AvgPool2d(pick.choice([2, 3]), pick.choice([1, 2]), pick.choice([0, 1]))
    if kind == "pad":
        return nn.ZeroPad2d((pick.randint(0, 3), 0, pick.randint(0, 3), 1))
    if kind == "focus":
        return Call(lambda x: x[..., 1::2, 1:])
    if kind == "norm":
        return nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Dropout(), nn.GELU())
    sides = [pick.choice([1, 3, 5, (1, 5), (7, 3)]) for _ in range(pick.randint(2, 3))]
    paths = [conv(side, padding="same", dilation=pick.choice([1, 2])) for side in sides]
    return Branches(pick.choice(["add", "cat", "stack"]), *paths)


@pytest.mark.parametrize("seed", range(25))
def test_gradients_reach_exactly_the_field(seed):
    pick = random.Random(seed)  # noqa: S311  # shapes of test nets, no secrets
    layers = [random_layer(pick) for _ in range(pick.randint(2, 5))]
    model, size = nn.Sequential(conv(1), *layers), 160
    report = analyze(model, size)
    field, shape = report.layers[-1].receptive_field, report.output_shape
    output = (shape[2] // 2, shape[3] // 2)
    first = tuple(
        start + stride * at
        for start, stride, at in zip(field.start, field.stride, output, strict=True)
    )
    last_pixel = tuple(a + n - 1 for a, n in zip(first, field.size, strict=True))
    assert observed(model, size, output) == (first, last_pixel)


UPSAMPLING = [
    nn.ConvTranspose2d(2, 2, 4, 2, 1, bias=False),
    nn.ConvTranspose2d(2, 2, 3, 2, 1, 1, bias=False),
    nn.ConvTranspose2d(2, 2, 3, 3, 0, dilation=2, bias=False),
    nn.Upsample(scale_factor=2),
    nn.Upsample(scale_factor=3),
    nn.Upsample(scale_factor=2, mode="bilinear"),
    nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
    nn.Upsample(scale_factor=1.5, mode="nearest-exact"),
    Call(
        lambda x: F.interpolate(
            x, [2 * n - 1 for n in x.shape[2:]], mode="bilinear", align_corners=True
        )
    ),
    Call(lambda x: F.interpolate(x, scale_factor=1.5, recompute_scale_factor=True)),
    Call(lambda x: F.pixel_shuffle(torch.cat([x, x, x, x], 1), 2)),
    Call(lambda x: sum(F.pixel_unshuffle(x, 2).chunk(4, 1))),
]


@pytest.mark.parametrize("layer", UPSAMPLING, ids=lambda layer: type(layer).__name__)
@pytest.mark.parametrize("before", [conv(3, 2, 1), nn.AvgPool2d(2)])
@pytest.mark.parametrize("after", [conv(1), conv(3, 1, 1), conv(2, 2)], ids=["1", "3", "2s2"])
def test_fields_after_upsampling_are_exact(before, layer, after):
    model, size = nn.Sequential(before, layer, after), 96
    report = analyze(model, size)
    field, shape = report.layers[-1].receptive_field, report.output_shape
    middle = range(shape[2] // 2 - 3, shape[2] // 2 + 4)
    seen = [observed(model, size, (at, at)) for at in middle]
    for axis in (0, 1):
        assert field.size[axis] == max(b[axis] - a[axis] + 1 for a, b in seen)
        advance = seen[-1][0][axis] - seen[0][0][axis]
        assert abs(advance - field.stride[axis] * (len(seen) - 1)) <= 4


def test_unet_joins_an_upsampled_path_with_a_skip():
    down, up, deep = conv(3, 2, 1), nn.ConvTranspose2d(2, 2, 2, 2), conv(3, 1, 1)
    model = Call(lambda x, a, b, c: torch.cat([x, c(b(a(x)))], 1), down, deep, up)
    field = field_of(model)
    assert (field.size, field.stride) == ((7, 7), (1, 1))
    assert observed(model, 32, (16, 17)) == ((13, 13), (19, 19))


@pytest.mark.parametrize(
    ("layers", "size", "stride", "start"),
    [
        ([conv(3)] * 5, 11, 1, 0),  # 1 + L(K − 1)
        ([conv(7, 2, 3), nn.MaxPool2d(3, 2, 1)], 11, 4, -5),
        ([conv(3, dilation=2), conv(3, dilation=4)], 13, 1, 0),
        ([conv(1), nn.AdaptiveAvgPool2d(8)], 4, 4, 0),
        ([nn.ZeroPad2d(2), conv(5)], 5, 1, -2),
        ([nn.ZeroPad2d(-1), conv(3)], 3, 1, 1),
        ([conv(5, padding="same")], 5, 1, -2),
        ([conv(4, padding="same")], 4, 1, -1),
    ],
)
def test_hand_worked_fields(layers, size, stride, start):
    field = field_of(nn.Sequential(*layers))
    assert (field.size, field.stride, field.start) == ((size,) * 2, (stride,) * 2, (start,) * 2)


def test_axes_are_height_then_width():
    field = field_of(nn.Sequential(conv((1, 7), (1, 2)), conv((3, 1))))
    assert (field.size, field.stride) == ((3, 7), (1, 2))


def test_one_and_three_axes():
    assert field_of(nn.Conv1d(2, 2, 3, 2)).size == (3,)
    field = field_of(nn.Sequential(nn.Conv3d(2, 2, (1, 3, 5)), nn.MaxPool3d(2)), 16)
    assert (field.size, field.stride) == ((2, 4, 6), (2, 2, 2))


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (nn.AdaptiveAvgPool2d(1), "whole map"),
        (nn.AdaptiveAvgPool2d(5), "uneven"),
        (nn.Flatten(), "positions"),
        (nn.Linear(32, 2), "positions"),
        (Call(lambda x: x.mean((2, 3))), "whole map"),
        (Call(lambda x: x.mean()), "whole map"),
        (Call(lambda x: x.softmax(-1)), "whole map"),
        (Call(lambda x: x @ x), "positions"),
        (Call(lambda x: F.scaled_dot_product_attention(x, x, x)), "positions"),
        (Call(lambda x: torch.cat([x, x], 3)), "positions"),
        (Call(lambda x: x.chunk(2, 2)[1]), "apart"),
        (Call(lambda x: x.select(2, 0)), "apart"),
        (Call(lambda x: x[:, :, 0]), "positions"),
        (Call(lambda x: x.view(1, 2, 16, 2, 32)), "positions"),
        (Call(lambda x: x.roll(1, 2)), "no receptive field rule"),
        (Call(lambda x: x + x.mean(3, keepdim=True)), "whole map"),
    ],
)
def test_what_mixes_positions_ends_the_field_and_says_why(tail, reason):
    layer = last(nn.Sequential(conv(1), tail))
    assert layer.receptive_field is None
    assert reason in layer.receptive_field_note


def test_the_reason_travels_and_the_report_keeps_the_last_local_field():
    model = nn.Sequential(conv(3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 5))
    report = analyze(model, 32)
    assert report.layers[-1].receptive_field_note == report.layers[1].receptive_field_note
    assert report.receptive_field.size == (3, 3)


@pytest.mark.parametrize(
    "gate",
    [
        lambda x: x.mean((2, 3), keepdim=True).sigmoid(),
        lambda x: F.adaptive_avg_pool2d(x, 1).flatten(1)[:, :, None, None],
        lambda x: x.mean((2, 3)).view(1, 2, 1, 1).expand_as(x),
    ],
)
def test_a_gate_keeps_the_local_field_and_is_noted(gate):
    layer = last(nn.Sequential(conv(3), Call(lambda x: x * gate(x)), conv(3)))
    assert layer.receptive_field.size == (5, 5)
    assert "share" in layer.receptive_field_note


def test_global_context_spread_over_the_map_is_no_gate():
    spread = Call(lambda x: x + F.interpolate(F.adaptive_avg_pool2d(x, 1), x.shape[2:]))
    assert last(nn.Sequential(conv(3), spread)).receptive_field is None


def test_norms_over_the_map_are_noted():
    for norm in (nn.GroupNorm(1, 2), nn.InstanceNorm2d(2), nn.LayerNorm((2, 30, 30))):
        layer = last(nn.Sequential(conv(3), norm))
        assert layer.receptive_field.size == (3, 3)
        assert "statistics" in layer.receptive_field_note
    assert last(nn.Sequential(conv(3), nn.BatchNorm2d(2))).receptive_field_note == ""


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: F.layer_norm(x.permute(0, 2, 3, 1), (2,)).permute(0, 3, 1, 2),
        lambda x: x.view(1, 2, 1, 30, 30).transpose(1, 2).contiguous().view(1, 2, 30, 30),
        lambda x: torch.cat(x.chunk(2, 1)[::-1], 1),
        lambda x: torch.stack([x.amax(1), x.mean(1)], 1),
        lambda x: x.unsqueeze(2).movedim(2, 0).squeeze(0),
        lambda x: torch.cat([x.narrow(1, 0, 1), x[:, 1:]], 1),
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: F.normalize(x, dim=1),
        lambda x: x[:, None].expand(1, 3, 2, 30, 30).sum(1),
    ],
)
def test_layout_changes_keep_the_field(layout):
    layer = last(nn.Sequential(conv(3), Call(layout), conv(3)))
    assert layer.receptive_field.size == (5, 5)


def test_branches_with_different_strides_do_not_meet():
    def forward(x):
        return F.avg_pool2d(x, 2) + x[:, :, :16, :16]

    layer = last(nn.Sequential(conv(1), Call(forward)))
    assert layer.receptive_field is None
    assert "different strides" in layer.receptive_field_note


def test_inputs_without_axes_have_no_field():
    layer = last(nn.Linear(4, 2), 4)
    assert (layer.receptive_field, layer.receptive_field_note) == (
        None,
        "the input has no spatial axes",
    )


def test_axis_algebra():
    axis = slide(identity_axis(), 3, 2, 1, 1)
    assert axis == Axis(2, (-1,), (1,))
    assert slide(axis, 3, 2, 1, 1) == Axis(4, (-3,), (3,))
    doubled = slide_transposed(axis, 2, 2, 0, 1)
    assert doubled == Axis(2, (-1, -1), (1, 1))
    assert doubled.sees(5) == (3, 5)
    assert slide(doubled, 2, 2, 0, 1) == axis
    assert union(doubled, identity_axis()) == Axis(2, (-1, -1), (1, 1))
    assert union(axis, identity_axis()) is None
