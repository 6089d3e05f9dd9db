"""Output stride: a dilated net computes the same features, only more densely."""

from __future__ import annotations

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.models.registry import create_model

# Padding that leaves the first tap in place: the dense map holds the sparse one from its first
# pixel on.
EXACT = ["vgg11", "resnet18", "resnet50", "plain18", "mobilenetv2_035", "efficientnet_b0"]
EXACT += ["convnext_tiny", "convnextv2_atto", "repvgg_a0"]


def _pair(name, output_stride):
    models = []
    for stride in (32, output_stride):
        torch.manual_seed(0)
        models.append(create_model(name, num_classes=3, output_stride=stride).eval())
    return models


def _last_features(models, size=128):
    image = torch.randn(1, 3, size, size)
    with torch.no_grad():
        return [model.forward_features(image)[-1] for model in models]


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", EXACT)
def test_the_dense_map_holds_the_sparse_one(name, output_stride):
    models = _pair(name, output_stride)
    sparse, dense = _last_features(models)
    step = 32 // output_stride
    assert models[1].feature_info[-1].stride == output_stride
    assert dense.shape[-1] == 128 // output_stride
    torch.testing.assert_close(
        dense[..., ::step, ::step], sparse, rtol=1e-4, atol=1e-5 * sparse.abs().max().item()
    )


def test_tensorflow_padding_starts_one_pixel_later():
    sparse, dense = _last_features(_pair("efficientnet_lite0", 16))
    torch.testing.assert_close(
        dense[..., 1::2, 1::2], sparse, rtol=1e-4, atol=1e-5 * sparse.abs().max().item()
    )


def test_unpadded_poolings_agree_away_from_the_far_border():
    sparse, dense = _last_features(_pair("alexnet", 8), size=224)
    step = dense.shape[-1] // sparse.shape[-1]
    torch.testing.assert_close(
        dense[..., ::step, ::step][..., :4, :4], sparse[..., :4, :4], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", ["googlenet", "xception"])
def test_padded_poolings_can_be_dilated(name):
    model = create_model(name, num_classes=3, output_stride=8).eval()
    with torch.no_grad():
        shape = model.forward_features(torch.randn(1, 3, 320, 320))[-1].shape
    assert abs(shape[-1] - 40) <= 1


@pytest.mark.parametrize("name", ["inception_resnet_v2", "shufflenet_v1_x1_0_g3"])
def test_a_net_that_cannot_be_dilated_says_so(name):
    with torch.device("meta"), pytest.raises(OptionError, match="use output_stride=32"):
        create_model(name, output_stride=16)


def test_parameters_keep_their_names_and_values():
    plain, dilated = _pair("resnet18", 8)
    assert plain.state_dict().keys() == dilated.state_dict().keys()
    assert all(torch.equal(plain.state_dict()[k], v) for k, v in dilated.state_dict().items())


def test_a_net_of_small_stride_stays_as_it_is():
    assert create_model("cifar_resnet20", output_stride=8).feature_info[-1].stride == 4


@pytest.mark.parametrize("output_stride", [8, 16])
def test_an_even_kernel_loses_no_pixel(output_stride):
    """A 2×2 of stride 2 ends one pixel early when it slides by 1, and by its dilation later."""
    for name in ("convnext_tiny", "convnextv2_atto"):
        with torch.device("meta"):
            model = create_model(name, output_stride=output_stride)
            maps = model.forward_features(torch.empty(1, 3, 96, 160))
        assert [f.stride for f in model.feature_info][-1] == output_stride
        for feature, x in zip(model.feature_info, maps, strict=True):
            assert x.shape[-2:] == (96 // feature.stride, 160 // feature.stride)


def test_patches_that_are_merged_cannot_be_dilated():
    with torch.device("meta"), pytest.raises(OptionError, match=r"other means.*output_stride=32"):
        create_model("swin_t", output_stride=16)
