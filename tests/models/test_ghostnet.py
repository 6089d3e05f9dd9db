"""GhostNet: equation 4's count, the second half made of the first, and table 1."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.models.ghostnet import GhostBottleneck, GhostModule
from convatlas.models.registry import create_model


def test_a_module_costs_what_equation_4_says():
    """c·n/s for the 1×1, (s - 1)·n/s·d² for the cheap filters: 16·24 + 24·9 with s = 2, d = 3."""
    convs = [m for m in GhostModule(16, 48).modules() if isinstance(m, nn.Conv2d)]
    assert [conv.weight.numel() for conv in convs] == [16 * 24, 24 * 9]


def test_each_ghost_is_made_of_one_map():
    module = GhostModule(4, 6).eval()
    nn.init.constant_(module.primary.norm.bias, 3.0)  # keeps the maps above ReLU's zero
    x = torch.rand(1, 4, 5, 5)
    with torch.no_grad():
        before = module(x)
        module.primary.norm.bias[1] += 1
        changed = (module(x) - before).abs().amax(dim=(0, 2, 3)) > 0
    assert changed.tolist() == [False, True, False, False, True, False]


def test_table_1():
    with torch.device("meta"):
        model = create_model("ghostnet_100")
        maps = model.forward_features(torch.empty(1, 3, 224, 224))
    sizes = [(16, 112), (24, 56), (40, 28), (112, 14), (160, 7)]
    assert [(x.shape[1], x.shape[2]) for x in maps] == sizes
    blocks = [m for m in model.modules() if isinstance(m, GhostBottleneck)]
    # Expanded width and whether squeezed and excited, row by row.
    expanded = [16, 48, 72, 72, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960, 960, 960]
    assert [2 * block.expand.primary.conv.out_channels for block in blocks] == expanded
    excited = [not isinstance(block.attention, nn.Identity) for block in blocks]
    assert [i for i, yes in enumerate(excited) if yes] == [3, 4, 9, 10, 11, 13, 15]


@pytest.mark.parametrize(("name", "widths"), [("ghostnet_050", (8, 12, 20, 56, 80))])
def test_half_the_width(name, widths):
    with torch.device("meta"):
        model = create_model(name)
    assert tuple(feature.channels for feature in model.feature_info) == widths
