"""Networks that were not made here: closed formulas, and the counts of other people."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convatlas.analysis.cost import analyze
from convatlas.models.registry import create_model

STRANGERS = Path(__file__).parents[1] / "fixtures" / "strangers.csv"


class Function(nn.Module):
    """A network that is one function of its input and its modules."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function = function
        self.parts = nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.parts)


def test_a_net_of_sound():
    net = nn.Sequential(
        nn.Conv1d(1, 8, 9, stride=4, padding=4),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3, padding=2, dilation=2, groups=8),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(8, 5),
    )
    report = analyze(net, 1000)
    assert report.macs == 250 * 8 * 9 + 250 * 8 * 3 + 8 * 5
    assert report.layers[2].receptive_field.size == (9 + 4 * 4,)
    assert not report.is_lower_bound


def test_a_net_of_clips():
    net = nn.Sequential(nn.Conv3d(3, 4, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(4, 6, (3, 1, 1)))
    report = analyze(net, (3, 8, 10, 12))
    assert report.macs == 4 * 8 * 10 * 12 * 81 + 6 * 2 * 5 * 6 * 4 * 3


def test_a_generator():
    """The inputs of a transposed convolution, times the taps that each is spread over."""
    net = nn.Sequential(
        nn.ConvTranspose2d(100, 64, 4, 1, 0, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False),
        nn.Tanh(),
    )
    report = analyze(net, (100, 1, 1))
    assert report.output_shape == (1, 3, 8, 8)
    assert report.macs == 100 * 64 * 16 + 16 * 64 * 3 * 16
    assert report.flops == 2 * report.macs + 2 * 1024 + 1024 + 192


def test_attention_written_with_einsum():
    def attend(x, qkv):
        q, k, v = qkv(x.flatten(2).transpose(1, 2)).chunk(3, -1)
        weights = torch.einsum("bld,bsd->bls", q, k).softmax(-1)
        return torch.einsum("bls,bsd->bld", weights, v)

    report = analyze(Function(attend, nn.Linear(8, 24, bias=False)), (8, 4, 5))
    assert report.macs == 20 * 8 * 24 + 2 * 20 * 20 * 8
    assert not report.is_lower_bound


def test_a_recurrent_net():
    """Per step and direction: three gates, each from the input and from the state."""
    net = Function(lambda x, gru: gru(x)[0], nn.GRU(8, 4, 2, bidirectional=True, batch_first=True))
    report = analyze(net, (5, 8))
    assert report.macs == 2 * (2 * 5 * 3 * 4 * (8 + 4))


@pytest.mark.parametrize(
    ("function", "macs", "flops"),
    [
        # 3 × 5 × 6 outputs, 4 taps: 4 products and 3 sums each
        (lambda x: F.grid_sample(x, torch.zeros(1, 5, 6, 2), align_corners=False), 0, 90 * 7),
        (lambda x: F.grid_sample(x, torch.zeros(1, 5, 6, 2), "nearest", align_corners=False), 0, 0),
        (
            lambda x: F.grid_sample(x, torch.zeros(1, 5, 6, 2), "bicubic", align_corners=False),
            0,
            90 * 31,
        ),
        # 4 × 5 places, two coordinates each, from three numbers of theta
        (lambda x: F.affine_grid(x[:, :2, 0, :3], (1, 1, 4, 5), False), 120, 240),
        # columns of 27 × 64 are added up
        (lambda x: F.fold(F.unfold(x, 3, padding=1), (8, 8), 3, padding=1), 0, 27 * 64),
        # 3 × 16 maxima of 4: three comparisons each; they go back for nothing
        (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), 0, 48 * 3),
        (lambda x: x[0, 0].new_zeros(8, 8).index_add(0, torch.arange(3), x[0, 0, :3]), 0, 24),
        (lambda x: torch.roll(x, (1, 2), (2, 3)), 0, 0),
    ],
)
def test_operators_of_other_peoples_networks(function, macs, flops):
    report = analyze(Function(function), (3, 8, 8))
    assert (report.macs, report.flops) == (macs, flops)
    assert not report.is_lower_bound


def test_a_bilinear_layer():
    net = Function(lambda x, layer: layer(x, x.square()), nn.Bilinear(4, 4, 3))
    report = analyze(net, (4,))
    # per output: x W is 4 × 4, and its product with y is 4 more; then the bias, and the squares
    assert (report.macs, report.flops) == (3 * (16 + 4), 2 * 60 + 3 + 4)


def test_an_operator_nobody_can_price_makes_the_total_a_lower_bound():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), Function(torch.fft.rfft2))
    report = analyze(net, 10)
    assert report.macs == 4 * 64 * 27
    assert [each.operator for each in report.uncounted] == ["fft_rfft2"]


def _rows():
    with STRANGERS.open(encoding="utf-8") as file:
        return {row["network"]: row for row in csv.DictReader(file)}


OURS = {
    "alexnet": "alexnet",
    "vgg16": "vgg16",
    "googlenet": "googlenet",
    "inception_v3": "inception_v3",
    "resnet50": "resnet50",
    "resnext50_32x4d": "resnext50_32x4d",
    "densenet121": "densenet121",
    "mobilenet_v2": "mobilenetv2_100",
    "efficientnet_b0": "efficientnet_b0",
    "regnet_y_400mf": "regnet_y_400mf",
    "convnext_tiny": "convnext_tiny",
    "swin_t": "swin_t",
}


@pytest.mark.parametrize("theirs", OURS)
def test_our_networks_cost_what_torchvision_publishes_for_its_own(theirs):
    row = _rows()[theirs]
    with torch.device("meta"):
        model = create_model(OURS[theirs])
    report = analyze(model, tuple(map(int, row["input_size"].split("x"))))
    assert abs(report.macs / 1e9 - float(row["published_gmacs"])) <= 0.0005 + 1e-9
    assert report.macs == int(row["macs"])  # exactly what their own module costs


def test_every_network_of_torchvision_costs_what_it_publishes():
    """The table that ``tools/oracles/write_strangers.py`` writes."""
    rows = _rows().values()
    assert len(rows) > 90
    for row in rows:
        assert abs(int(row["macs"]) / 1e9 - float(row["published_gmacs"])) <= 0.0005 + 1e-9
        assert row["params"] == row["published_params"], row["network"]
        assert row["is_lower_bound"] == "False"
