"""Shapes and costs of single operators: hand-worked numbers, closed formulas, torch itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convatlas.analysis.cost import analyze
from convatlas.analysis.formulas import FORMULAS
from convatlas.analysis.shapes import SHAPES


class Call(nn.Module):
    """A network that is one function."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs):
        return self.function(*inputs)


def run(function, *shapes, dtype=torch.float32):
    inputs = [torch.empty(shape, dtype=dtype, device="meta") for shape in shapes]
    return analyze(Call(function), inputs=inputs)


def only(report):
    (layer,) = report.layers
    return layer


@pytest.mark.parametrize(
    ("conv", "size", "macs"),
    [
        (nn.Conv1d(4, 6, 5), (4, 32), 6 * 28 * 4 * 5),
        (nn.Conv2d(3, 8, 3, padding=1), (3, 10, 12), 8 * 10 * 12 * 27),
        (nn.Conv2d(8, 8, 3, groups=8, bias=False), (8, 10, 10), 8 * 64 * 9),
        (nn.Conv2d(8, 4, 3, groups=2, stride=2, dilation=2), (8, 11, 11), 4 * 16 * 4 * 9),
        (nn.Conv2d(2, 2, (1, 7), padding="same"), (2, 9, 9), 2 * 81 * 14),
        (nn.Conv3d(2, 4, 3), (2, 5, 6, 7), 4 * 3 * 4 * 5 * 54),
        (nn.ConvTranspose1d(3, 4, 4, 2, 1), (3, 8), 3 * 8 * 4 * 4),
        (nn.ConvTranspose2d(4, 6, 3, 2, groups=2, output_padding=1), (4, 5, 5), 4 * 25 * 3 * 9),
        (nn.ConvTranspose3d(2, 2, 2, 2), (2, 3, 3, 3), 2 * 27 * 2 * 8),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else "",
)
def test_convolutions(conv, size, macs):
    layer = only(analyze(conv, size))
    with torch.no_grad():
        output = conv(torch.zeros(1, *size))
    bias = output.numel() if conv.bias is not None else 0
    assert layer.output_shape == tuple(output.shape)
    assert (layer.macs, layer.flops) == (macs, 2 * macs + bias)
    assert layer.params == sum(p.numel() for p in conv.parameters())
    assert layer.activation_bytes == 4 * output.numel()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        conv(torch.zeros(1, *size))
    assert counter.get_total_flops() == 2 * macs


@pytest.mark.parametrize(("c_in", "c_out", "k"), [(3, 64, 7), (16, 16, 1), (5, 9, 3)])
def test_parameters_of_a_convolution(c_in, c_out, k):
    assert analyze(nn.Conv2d(c_in, c_out, k), 16).params == (c_in * k * k + 1) * c_out


@pytest.mark.parametrize(
    ("function", "flops"),
    [
        (lambda x: x + x, 2 * 4 * 6 * 6),
        (lambda x: 1 - x, 288),
        (F.relu, 288),
        (F.relu6, 2 * 288),
        (F.hardswish, 5 * 288),
        (lambda x: x.sigmoid(), 4 * 288),
        (lambda x: x.softmax(1), 5 * 288),
        (lambda x: F.max_pool2d(x, 2), 3 * 2 * 4 * 9),
        (lambda x: F.max_pool2d(x, 3, 1, return_indices=True)[0], 8 * 2 * 4 * 16),
        (lambda x: F.avg_pool2d(x, (2, 3)), 6 * 2 * 4 * 6),
        (lambda x: F.adaptive_avg_pool2d(x, 1), 288),
        (lambda x: x.mean((2, 3)), 288),
        (lambda x: x.sum(1), 288 - 72),
        (lambda x: torch.max(x, x), 288),
        (lambda x: x.max(1)[0], 288 - 72),
        (lambda x: x.amax(dim=(2, 3), keepdim=True), 288 - 8),
        (lambda x: F.layer_norm(x, (6,)), 5 * 288),
        (lambda x: F.group_norm(x, 2), 5 * 288),
        (lambda x: F.local_response_norm(x, 5), 9 * 288),
        (lambda x: F.interpolate(x, scale_factor=2.0), 0),
        (lambda x: F.interpolate(x, (12, 9), mode="bilinear"), 7 * 2 * 4 * 108),
        (lambda x: F.interpolate(x, (3, 3), mode="bicubic"), 31 * 2 * 4 * 9),
        (lambda x: F.pad(x, (1, 2, 3, 4)), 0),
        (lambda x: torch.cat([x, x], 1), 0),
        (lambda x: x.reshape(2, -1), 0),
        (lambda x: x[:, 1:3, ::2], 0),
        (lambda x: F.pixel_shuffle(x, 2), 0),
        (lambda x: x.clamp(0, 1), 2 * 288),
        (lambda x: F.normalize(x), 2 * 288 + 72 + 288),
    ],
)
def test_flops_and_shapes_of_functions(function, flops):
    x = torch.rand(2, 4, 6, 6)
    report = run(function, x.shape)
    assert (report.macs, report.flops) == (0, flops)
    assert report.output_shape == tuple(function(x).shape)
    assert not report.uncounted


UNUSUAL = [
    lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True),
    lambda x: F.max_pool2d(x, kernel_size=(2, 3), stride=[1, 2], padding=(1, 0)),
    lambda x: F.max_pool2d(x, 2, dilation=2),
    lambda x: F.avg_pool2d(x, 2, 2, 1, True, False),
    lambda x: F.avg_pool2d(input=x, kernel_size=2, stride=7, ceil_mode=True),
    lambda x: F.adaptive_avg_pool2d(x, (None, 3)),
    lambda x: F.adaptive_max_pool2d(x, (2, 1)),
    lambda x: F.interpolate(x, scale_factor=(1.5, 0.7)),
    lambda x: F.interpolate(x, scale_factor=1.9, recompute_scale_factor=True),
    lambda x: F.conv2d(input=x, weight=torch.zeros(2, 4, 3, 3), stride=[2], padding="valid"),
    lambda x: F.conv2d(x[0], torch.zeros(2, 4, 3, 3), torch.zeros(2)),
    lambda x: F.max_pool2d(x[0], 2),
    lambda x: F.conv_transpose2d(x, torch.zeros(4, 3, 3, 3), stride=3, dilation=2),
    lambda x: torch.cat((x, x), dim=-2),
    lambda x: torch.cat([x, x.double()]),
    lambda x: x * torch.ones(4, 1, 1),
    lambda x: x + torch.ones(1, dtype=torch.float64),
    lambda x: x.int() / 2,
    lambda x: x.int() * 1.5,
    lambda x: x.sum(),
    lambda x: x.sum((0, -1), True),
    lambda x: x.mean(dim=1, keepdim=True, dtype=torch.float64),
    lambda x: x.max(1)[0],
    lambda x: x @ x.mT,
    lambda x: x.softmax(1, dtype=torch.float64),
    lambda x: torch.softmax(x, 1, torch.float64),
    lambda x: x.flatten(2) @ x.flatten(2).transpose(1, 2),
    lambda x: 2**x - x / 3,
    lambda x: x.transpose(1, 2).unflatten(1, (3, 3)),
    lambda x: (
        F.conv2d(x.to(memory_format=torch.channels_last), torch.zeros(2, 4, 1, 1))
        .permute(0, 2, 3, 1)
        .view(2, -1)
    ),
    lambda x: x.chunk(3, 1)[-1],
]


@pytest.mark.parametrize("function", UNUSUAL)
def test_unusual_arguments_give_what_torch_gives(function):
    x, captured = torch.rand(2, 4, 9, 9), []
    expected, report = function(x), run(lambda x: captured.append(function(x)), x.shape)
    (output,) = captured
    assert (output.shape, output.dtype) == (expected.shape, expected.dtype)
    assert output.stride() == expected.stride(), "views of it work as in torch"
    assert not report.uncounted


def test_every_operator_with_a_shape_has_a_formula():
    assert set(SHAPES) <= set(FORMULAS)


def test_dtypes_follow_torch():
    def function(x):
        return x.half() * 2, x > 0, x.half() + x, x.double().relu()

    expected = sum(t.numel() * t.element_size() for t in function(torch.rand(2, 3)))
    layers = run(function, (2, 3)).layers
    counted = [layer for layer in layers if layer.operator in ("mul", "gt", "add", "relu")]
    assert sum(layer.activation_bytes for layer in counted) == expected


def test_linear_and_products():
    linear = only(analyze(nn.Linear(10, 5), (7, 10)))
    assert (linear.macs, linear.flops, linear.params) == (350, 735, 55)
    assert run(lambda a, b: a @ b, (4, 3, 5), (4, 5, 6)).macs == 4 * 3 * 5 * 6
    assert run(torch.mm, (3, 5), (5, 6)).macs == 90
    assert run(torch.bmm, (2, 3, 5), (2, 5, 6)).macs == 180
    assert run(torch.addmm, (6,), (3, 5), (5, 6)).macs == 90
    assert run(torch.addmm, (6,), (3, 5), (5, 6)).flops == 180 + 18
    assert run(torch.mv, (3, 5), (5,)).macs == 15
    einsum = run(lambda a, b: torch.einsum("nchw,ncd->nhwd", a, b), (2, 3, 4, 5), (2, 3, 6))
    assert (einsum.macs, only(einsum).operator) == (2 * 3 * 20 * 6, "einsum")
    assert einsum.output_shape == (2, 4, 5, 6)


def test_attention():
    layer = only(run(F.scaled_dot_product_attention, (2, 8, 16, 4), (2, 8, 20, 4), (2, 8, 20, 6)))
    scores = 2 * 8 * 16 * 20
    assert (layer.macs, layer.flops) == (scores * 10, 2 * scores * 10 + 6 * scores)
    assert layer.output_shape == (2, 8, 16, 6)


def test_multi_head_attention_and_its_parameters():
    model = nn.MultiheadAttention(16, 4, batch_first=True)
    x = torch.empty(2, 9, 16, device="meta")
    report = analyze(
        Call(lambda q: model(q, q, q, need_weights=False)[0], attention=model), inputs=[x]
    )
    projections, products = 4 * 2 * 9 * 16 * 16, 2 * 2 * 9 * 9 * 16
    assert report.macs == projections + products
    assert report.params == sum(layer.params for layer in report.layers) == 4 * 16 * 16 + 4 * 16
    assert not report.uncounted


def test_recurrent_layers_are_counted_through_their_parts():
    model = nn.LSTM(8, 16, batch_first=True)
    report = analyze(model, inputs=[torch.zeros(3, 5, 8)])
    assert report.macs == 3 * 5 * 4 * 16 * (8 + 16)
    assert report.params == sum(layer.params for layer in report.layers)


def test_batch_norm_in_training_mode_is_two_flops():
    norm = nn.BatchNorm2d(6).train()
    layer = only(analyze(norm, (6, 5, 5)))
    assert (layer.macs, layer.flops, layer.params) == (0, 2 * 150, 12)


def test_affine_norms_pay_for_scale_and_shift():
    assert analyze(nn.LayerNorm(8), (4, 8)).flops == 7 * 32
    assert analyze(nn.GroupNorm(2, 8), (8, 4)).flops == 7 * 32
    assert analyze(nn.LayerNorm(8, bias=False), (4, 8)).flops == 6 * 32


def test_dropout_views_and_in_place_operators_need_no_memory():
    def function(x):
        x = F.dropout(x, 0.5, training=True)
        x = F.relu(x, inplace=True)
        x += 1
        return x.view(2, -1).transpose(0, 1)

    report = run(function, (2, 3, 4))
    assert report.activation_bytes == 0
    assert [layer.operator for layer in report.layers] == [
        *("dropout", "relu", "add", "view", "transpose")
    ]
    assert report.flops == 48


def test_layers_called_twice_cost_twice_and_weigh_once():
    conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    report = analyze(Call(lambda x: conv(conv(x)), conv=conv), inputs=[torch.zeros(1, 4, 5, 5)])
    assert [layer.name for layer in report.layers] == ["conv", "conv#2"]
    assert [layer.params for layer in report.layers] == [144, 0]
    assert (report.params, report.macs) == (144, 2 * 4 * 25 * 36)


def test_a_shared_weight_weighs_once():
    first, second = nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False)
    second.weight = first.weight
    assert analyze(nn.Sequential(first, second), 6).params == 36


def test_parameters_reach_the_layer_that_uses_what_was_made_of_them():
    class Standardised(nn.Conv2d):
        def forward(self, x):
            flat = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(flat, None, None, training=True).reshape_as(self.weight)
            return F.conv2d(x, weight, self.bias)

    layers = {row.operator: row for row in analyze(Standardised(3, 4, 3), 8).layers}
    assert set(layers) == {"batch_norm", "conv2d"}
    assert (layers["conv2d"].params, layers["batch_norm"].params) == (112, 0)


def test_unused_parameters_count_in_the_total_only():
    model = nn.Sequential(nn.Linear(3, 3))
    model.auxiliary = nn.Linear(3, 5)
    model.forward = model[0].forward
    report = analyze(model, 3)
    assert (report.params, sum(layer.params for layer in report.layers)) == (32, 12)


def test_frozen_parameters_are_not_trainable():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2))
    model[0].requires_grad_(False)
    assert analyze(model, 3).trainable_params == 8


def test_numbers_written_in_forward_can_be_read():
    report = run(lambda x: x * torch.tensor([2.0, 3.0]).sum().item(), (4, 4))
    assert [layer.operator for layer in report.layers] == ["mul"]


def test_devices_named_in_forward_do_not_matter():
    def function(x):
        position = torch.arange(4, device="cuda") + torch.zeros(4).to("cuda")
        return (x.cuda() + position).cpu()

    assert run(function, (2, 4)).output_shape == (2, 4)


def test_random_numbers_are_uncounted():
    report = run(lambda x: x + torch.randn_like(x), (2, 4))
    assert [(each.operator, each.count) for each in report.uncounted] == [("randn_like", 1)]
    assert report.is_lower_bound


def test_custom_autograd_functions_are_seen_through():
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x, x * x

    report = run(lambda x: torch.add(*Square.apply(x)), (2, 4))
    assert (report.flops, report.uncounted) == (16, ())


def test_checkpointed_blocks_are_seen_through():
    checkpoint = torch.utils.checkpoint.checkpoint
    assert run(lambda x: checkpoint(F.relu, x, use_reentrant=False), (2, 4)).flops == 8
