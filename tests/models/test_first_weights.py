"""First weights of nets without normalisation: their maps neither fade nor grow with depth.

He et al. 2015, equations 9 and 10: with a variance of 2 / fan_in, a rectified layer hands on the
mean square of its maps. Max pooling raises it, and local response normalisation lowers it.
"""

from __future__ import annotations

import pytest
import torch

from convatlas.models.registry import create_model


@pytest.mark.parametrize(
    "name",
    [
        *("alexnet", "alexnet_2012", "zfnet", "vgg19", "googlenet_2014"),
        *("nin_cifar10", "nin_imagenet", "squeezenet1_0", "squeezenet1_1"),
    ],
)
def test_maps_keep_the_size_of_the_image(name):
    torch.manual_seed(0)
    model = create_model(name, in_channels=1, num_classes=0, stem="small").eval()
    with torch.no_grad():
        maps = model.forward_features(torch.randn(8, 1, 16, 16))
    for stage in maps:
        assert 1 / 4 < stage.square().mean().sqrt().item() < 4
