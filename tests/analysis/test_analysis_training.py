"""Backward multiply-accumulates and bytes moved: closed formulas and torch's own counter."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from convatlas.analysis.cost import analyze
from convatlas.models.registry import create_model


def _meta(name):
    with torch.device("meta"):
        return create_model(name)


def _counted_step(model, shape):
    """Return the MACs of forward and backward as torch's counter sees them on meta tensors."""
    with FlopCounterMode(display=False) as counter:
        model.eval()(torch.empty(shape, device="meta")).sum().backward()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "vgg11", "densenet121", "inception_v4"])
def test_a_step_costs_what_torch_counts_where_no_convolution_is_grouped(name):
    model = _meta(name)
    report = analyze(model, {"lenet5": 32, "inception_v4": 299}.get(name, 224))
    assert report.macs + report.backward_macs == _counted_step(model, report.input_shape)


def test_a_depthwise_backward_is_twice_its_forward():
    """Torch's own counter forgets the groups in the weight's gradient."""
    model = nn.Sequential(nn.Conv2d(3, 96, 1), nn.Conv2d(96, 96, 3, padding=1, groups=96))
    depthwise = analyze(model, 14).layers[1]
    assert depthwise.macs == 96 * 14 * 14 * 9
    assert depthwise.backward_macs == 2 * depthwise.macs


def test_the_image_needs_no_gradient_and_a_frozen_layer_none_for_its_weight():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3))
    first, second, third = analyze(model, 16).layers
    assert [layer.backward_macs // layer.macs for layer in (first, second, third)] == [1, 2, 2]
    model[0].requires_grad_(False)
    assert [x.backward_macs // x.macs for x in analyze(model, 16).layers] == [0, 1, 2]
    model[1].requires_grad_(False)
    assert [x.backward_macs // x.macs for x in analyze(model, 16).layers] == [0, 0, 1]
    model[0].requires_grad_(True)
    assert [x.backward_macs // x.macs for x in analyze(model, 16).layers] == [1, 1, 2]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(32, 96)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v)


def test_attention_multiplies_twice_more_backwards():
    report = analyze(Attention(), inputs=[torch.empty(2, 5, 32)])
    attention = report.layers[-1]
    assert attention.macs == 2 * 4 * 5 * 5 * (8 + 8)
    assert attention.backward_macs == 2 * attention.macs


@pytest.mark.parametrize("cell", [nn.RNNCell, nn.GRUCell, nn.LSTMCell])
def test_recurrent_cells_are_two_products_per_gate(cell):
    gates = {nn.RNNCell: 1, nn.GRUCell: 3, nn.LSTMCell: 4}[cell]
    report = analyze(cell(10, 20), inputs=[torch.empty(3, 10)])
    assert report.macs == 3 * gates * 20 * (10 + 20)
    assert not report.is_lower_bound


@pytest.mark.parametrize(("bidirectional", "directions"), [(False, 1), (True, 2)])
def test_a_recurrent_layer_runs_its_cell_at_every_step(bidirectional, directions):
    lstm = nn.LSTM(10, 20, num_layers=2, bidirectional=bidirectional)
    report = analyze(lstm, inputs=[torch.empty(5, 3, 10)])
    second = 20 * directions
    assert report.macs == 5 * 3 * directions * 80 * ((10 + 20) + (second + 20))


def test_bytes_of_a_convolution_are_operands_and_result():
    (layer,) = analyze(nn.Conv2d(3, 8, 3, padding=1), 10).layers
    assert layer.read_bytes == 4 * (3 * 100 + 8 * 27 + 8)
    assert layer.written_bytes == 4 * 8 * 100
    assert layer.intensity == layer.flops / (layer.read_bytes + layer.written_bytes)


@pytest.mark.parametrize(
    ("function", "read", "written"),
    [
        (lambda x: x + x, 1, 1),
        (lambda x: x.relu_(), 1, 1),
        (lambda x: x.flatten(1), 0, 0),
        (lambda x: x[:, :1], 0, 0),
        (lambda x: F.dropout(x, training=False), 0, 0),
        (lambda x: torch.cat([x, x], 1), 2, 2),
        (lambda x: x.mean((2, 3), keepdim=True), 1, 1 / 36),
    ],
    ids=["add", "in place", "view", "slice", "dropout", "cat", "mean"],
)
def test_bytes_moved(function, read, written):
    class Call(nn.Module):
        def forward(self, x):
            return function(x)

    image = 4 * 2 * 4 * 36
    report = analyze(Call(), inputs=[torch.empty(2, 4, 6, 6)])
    assert (report.read_bytes, report.written_bytes) == (read * image, written * image)


def test_half_precision_moves_half_the_bytes():
    single, half = (analyze(nn.Conv2d(3, 8, 3).to(t), 32) for t in (torch.float32, torch.bfloat16))
    assert half.read_bytes * 2 == single.read_bytes
    assert half.macs == single.macs


def test_groups_add_up_to_the_whole():
    report = analyze(_meta("resnet18"))
    for groups in (report.by_stage(), report.by_operator(), report.by_size(), report.by_prefix(2)):
        for figure in ("macs", "backward_macs", "read_bytes", "written_bytes", "params"):
            assert sum(getattr(g, figure) for g in groups) == getattr(report, figure)
    sides = [group.name for group in report.by_size()]
    assert sides == ["112×112", "56×56", "28×28", "14×14", "7×7", "1×1", "vectors"]
