"""ConvNeXt's parts: the response norm by hand, and what the second version costs more."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.layers.residual import DropPath
from convatlas.models.convnext import Block
from convatlas.models.convnextv2 import GlobalResponseNorm
from convatlas.models.registry import create_model


def test_the_response_norm_by_hand():
    """Channel norms 5 and 15 have the mean 10, so that the channels' contrasts are 0.5 and 1.5."""
    norm = GlobalResponseNorm(2)
    nn.init.constant_(norm.weight, 2.0)
    nn.init.constant_(norm.bias, 1.0)
    x = torch.tensor([[[[3.0, 0.0], [4.0, 15.0]]]])
    expected = torch.tensor([[[[7.0, 1.0], [9.0, 61.0]]]])
    torch.testing.assert_close(norm(x), expected, rtol=1e-6, atol=1e-5)


def test_the_response_norm_begins_as_the_identity():
    x = torch.randn(2, 3, 3, 8)
    assert torch.equal(GlobalResponseNorm(8)(x), x)


@pytest.mark.parametrize("size", ["tiny", "base", "large"])
def test_the_second_version_exchanges_the_layer_scale(size):
    """Per block, γ and β of the fourfold channels come and C layer scales go: 7C more."""
    with torch.device("meta"):
        first, second = create_model(f"convnext_{size}"), create_model(f"convnextv2_{size}")
    blocks = [module for module in first.modules() if isinstance(module, Block)]
    difference = sum(7 * block.depthwise.in_channels for block in blocks)
    counts = [sum(p.numel() for p in model.parameters()) for model in (first, second)]
    assert counts[1] - counts[0] == difference


def test_stochastic_depth_rises_to_the_last_block():
    with torch.device("meta"):
        model = create_model("convnext_tiny")
    rates = [module.probability for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * i / 17 for i in range(18)])


def test_a_layer_scale_begins_small():
    block = Block(4).eval()
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        change = (block(x) - x).abs().max()
    assert 0 < change < 1e-4
