"""ShuffleNet by hand: the paper's table 1, the shapes of one unit, and the shuffle itself."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.layers.shuffle import ChannelShuffle
from convatlas.models.registry import create_model
from convatlas.models.shufflenetv1 import GroupedUnit

# groups → (channels of stages 2 to 4, millions of multiply-adds): table 1
TABLE_1 = {
    1: ((144, 288, 576), 143),
    2: ((200, 400, 800), 140),
    3: ((240, 480, 960), 137),
    4: ((272, 544, 1088), 133),
    8: ((384, 768, 1536), 137),
}


def _counted(groups):
    """Return (params, macs without classifier) at 224 pixels, from the table's text alone."""
    widths = TABLE_1[groups][0]
    params = 24 * 27 + 2 * 24
    macs = 112 * 112 * 24 * 27
    inputs, side = 24, 56
    for stage, (outputs, repeats) in enumerate(zip(widths, (3, 7, 3), strict=True)):
        width, smaller = outputs // 4, side // 2
        first = inputs * width // (groups if stage else 1)
        last = width * (outputs - inputs) // groups
        params += first + 9 * width + last + 2 * (width + width + outputs - inputs)
        macs += side**2 * first + smaller**2 * (9 * width + last)
        unit = 2 * width * outputs // groups + 9 * width
        params += repeats * (unit + 2 * (width + width + outputs))
        macs += repeats * smaller**2 * unit
        inputs, side = outputs, smaller
    return params + 1000 * inputs + 1000, macs


@pytest.mark.parametrize("groups", TABLE_1)
def test_a_network_counts_as_its_table_says(groups):
    widths, published = TABLE_1[groups]
    params, macs = _counted(groups)
    with torch.device("meta"):
        model = create_model(f"shufflenet_v1_x1_0_g{groups}")
    assert tuple(feature.channels for feature in model.feature_info) == widths
    assert sum(p.numel() for p in model.parameters()) == params
    assert round(macs / 1e6) == published


def test_shuffling_deals_the_groups_like_cards():
    x = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert ChannelShuffle(2)(x).flatten().tolist() == [0, 3, 1, 4, 2, 5]
    assert ChannelShuffle(3)(x).flatten().tolist() == [0, 2, 4, 1, 3, 5]


def test_two_shuffles_of_complementary_groups_undo_each_other():
    x = torch.randn(2, 12, 3, 3)
    assert torch.equal(ChannelShuffle(4)(ChannelShuffle(3)(x)), x)
    assert torch.equal(ChannelShuffle(3)(x), nn.ChannelShuffle(3)(x))


def test_a_strided_unit_keeps_the_averaged_input_in_front():
    unit = GroupedUnit(24, 240, 2, groups=3, first_groups=1).eval()
    x = torch.rand(1, 24, 8, 8)
    y = unit(x)
    assert y.shape == (1, 240, 4, 4)
    assert torch.equal(y[:, :24], nn.AvgPool2d(3, 2, padding=1)(x))
    shapes = [tuple(m.weight.shape) for m in unit.modules() if isinstance(m, nn.Conv2d)]
    assert shapes == [(60, 24, 1, 1), (60, 1, 3, 3), (216, 20, 1, 1)]


def test_the_shuffle_lets_every_output_group_see_every_input_group():
    unit = GroupedUnit(36, 36, 1, groups=3, first_groups=3).eval()
    unit.reduce.act = nn.Identity()
    x = torch.ones(1, 36, 5, 5, requires_grad=True)

    def seen():
        branch = unit.expand(unit.depthwise(unit.shuffle(unit.reduce(x))))
        (gradient,) = torch.autograd.grad(branch[:, 0].sum(), x)
        return [bool((gradient[:, 12 * g : 12 * g + 12] != 0).any()) for g in range(3)]

    assert seen() == [True, True, True]
    unit.shuffle = nn.Identity()
    assert seen() == [True, False, False]
