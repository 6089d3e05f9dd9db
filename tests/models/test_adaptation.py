"""Another number of input channels: what the first convolution answers to a grey image."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from convatlas.models.pretrained.adaptation import adapt_channels


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("stored", [1, 2, 3, 4, 13])
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5, 6, 12])
def test_an_image_of_equal_channels_gets_the_same_answer(stored, channels, groups):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, stored, 3, 3, generator=generator, dtype=torch.float64)
    grey = torch.randn(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    adapted = adapt_channels(weight, channels)
    assert adapted.shape == (4, channels, 3, 3)
    before = F.conv2d(grey.expand(-1, stored * groups, -1, -1), weight, groups=groups)
    after = F.conv2d(grey.expand(-1, channels * groups, -1, -1), adapted, groups=groups)
    torch.testing.assert_close(after, before, rtol=1e-12, atol=1e-12)


def test_fewer_channels_are_sums():
    weight = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    assert adapt_channels(weight, 1).flatten().tolist() == [7.0]
    assert adapt_channels(weight, 2).flatten().tolist() == [5.0, 2.0]


def test_more_channels_are_shared_copies():
    weight = torch.tensor([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1)
    assert adapt_channels(weight, 4).flatten().tolist() == [0.5, 2.0, 4.0, 0.5]
    assert adapt_channels(weight, 6).flatten().tolist() == [0.5, 1.0, 2.0] * 2


def test_as_many_channels_stay_as_they_are():
    weight = torch.randn(2, 3, 5, 5)
    assert torch.equal(adapt_channels(weight, 3), weight)
