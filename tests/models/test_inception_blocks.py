"""The factorised blocks I, II, III and the nets built of them: the papers' tables and figures."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.branches import pooled
from convatlas.layers.factorised_inception import (
    inception_block_i,
    inception_block_ii,
    inception_block_iii,
    reduction,
)
from convatlas.models.auxiliary import Beside
from convatlas.models.inception_resnet import ScaledResidual
from convatlas.models.pretrained.alignment import align
from convatlas.models.registry import create_model


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _params(model):
    return sum(p.numel() for p in model.parameters())


def _kernels(module):
    return [tuple(m.kernel_size) for m in module.modules() if isinstance(m, nn.Conv2d)]


def _weights(module):
    return sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))


def _shapes(name, size, *paths):
    """Return channels and side of what the named modules put out."""
    model, seen = _meta(name), []
    for path in paths:
        model.get_submodule(path).register_forward_hook(
            lambda module, args, output: seen.append((output.shape[1], output.shape[2]))
        )
    model(torch.empty(2, 3, size, size, device="meta"))
    return seen


def test_block_i_replaces_five_by_five_by_18_25ths_of_its_weights():
    block = inception_block_i(8, 4, (4, 4), (6, 6, 6), pooled(8, 2))
    assert _kernels(block.deep)[1:] == [(3, 3), (3, 3)]
    assert _weights(block.deep[1:]) == 6 * 6 * 25 * 18 // 25
    assert block(torch.randn(2, 8, 9, 9)).shape == (2, 4 + 4 + 6 + 2, 9, 9)


@pytest.mark.parametrize(("side", "saved"), [(3, 1 / 3), (7, 5 / 7)])
def test_block_ii_saves_what_section_3_2_says(side, saved):
    """A 3×3 kernel as 3×1 and 1×3 is 33 % cheaper; in general 2n take the place of n²."""
    block = inception_block_ii(8, 4, (6, 6, 6), (6, 6, 6, 6, 6), pooled(8, 2), side=side)
    square = 6 * 6 * side * side
    assert _weights(block.once[1:]) == pytest.approx(square * (1 - saved))
    assert _weights(block.twice[1:]) == pytest.approx(2 * square * (1 - saved))
    assert block(torch.randn(2, 8, 9, 9)).shape == (2, 4 + 6 + 6 + 2, 9, 9)


def test_block_iii_splits_side_by_side():
    block = inception_block_iii(8, 4, 6, [(5, 1), (6, 3)], 7, pooled(8, 2))
    assert _kernels(block.three) == [(1, 1), (1, 3), (3, 1)]
    assert _kernels(block.deep) == [(1, 1), (3, 3), (1, 3), (3, 1)]
    assert block(torch.randn(2, 8, 9, 9)).shape == (2, 4 + 4 * 7 + 2, 9, 9)


@pytest.mark.parametrize(("before", "after"), [(35, 17), (17, 8)])
def test_a_reduction_keeps_all_channels_of_its_input(before, after):
    module = reduction(8, three=[(4, 3)], deep=[(2, 1), (3, 3), (5, 3)])
    image = torch.randn(1, 8, before, before)
    out = module.eval()(image)
    assert out.shape == (1, 4 + 5 + 8, after, after)
    assert torch.equal(out[:, 9:], nn.functional.max_pool2d(image, 3, 2))


def test_inception_v2_has_the_maps_of_table_1():
    stem = [f"stem.conv{i}" for i in (1, 2, 3)]
    first = ["stages.0.pool", "stages.0.conv", "stages.1.conv1", "stages.1.conv2"]
    ends = ["stages.1.d", "stages.2.shrink", "stages.2.module5", "stages.3.0", "stages.3.2"]
    assert _shapes("inception_v2", 299, *stem, *first, *ends) == [
        *((32, 149), (32, 147), (64, 147)),
        *((64, 73), (80, 71), (192, 35), (288, 35)),
        *((288, 35), (768, 17), (768, 17), (1280, 8), (2048, 8)),
    ]


def test_inception_v2_has_no_kernel_above_three_but_the_factorised_ones():
    model = _meta("inception_v2", auxiliary=False)
    assert set(_kernels(model)) == {(1, 1), (3, 3), (1, 7), (7, 1), (1, 3), (3, 1)}
    assert _kernels(model).count((1, 7)) == 5 * 3 + 1  # a reduction ends with one, too
    assert (5, 5) in _kernels(_meta("inception_v3", auxiliary=False))


def test_inception_v2_has_less_than_25_million_parameters():
    model = _meta("inception_v2")
    beside = next(m for m in model.modules() if isinstance(m, Beside))
    assert _params(model) - _params(beside) < 25e6
    assert _params(_meta("inception_v2", auxiliary=False)) == _params(model) - _params(beside)


# arXiv 1502.03167, figure 5: output channels of each module, summed over its columns
FIGURE_5 = {
    "1.module3a": (256, 28),
    "1.module3b": (320, 28),
    "2.module3c": (576, 14),
    "2.module4a": (576, 14),
    "2.module4b": (576, 14),
    "2.module4c": (608, 14),
    "2.module4d": (608, 14),
    "3.module4e": (1056, 7),
    "3.module5a": (1024, 7),
    "3.module5b": (1024, 7),
}


def test_bn_inception_has_the_maps_of_figure_5():
    paths = [f"stages.{path}" for path in FIGURE_5]
    assert _shapes("bn_inception", 224, *paths) == list(FIGURE_5.values())


def test_bn_inception_averages_but_in_the_last_module():
    model = _meta("bn_inception")
    pools = [
        m for m in model.modules() if getattr(m, "stride", None) == 1 and hasattr(m, "padding")
    ]
    kinds = [type(m) for m in pools if not isinstance(m, nn.Conv2d)]
    assert kinds == [nn.AvgPool2d] * 7 + [nn.MaxPool2d]


def test_bn_inception_takes_the_names_of_the_public_checkpoint():
    """Columns of figure 5 as the checkpoint lists them: input, then (name, channels, side)."""
    rows = [
        ("conv1_7x7_s2", 3, 64, 7),
        ("conv2_3x3_reduce", 64, 64, 1),
        ("conv2_3x3", 64, 192, 3),
        *_columns("3a", 192, 64, (64, 64), (64, 96), 32),
        *_columns("3b", 256, 64, (64, 96), (64, 96), 64),
        *_columns("3c", 320, 0, (128, 160), (64, 96), 0),
        *_columns("4a", 576, 224, (64, 96), (96, 128), 128),
        *_columns("4b", 576, 192, (96, 128), (96, 128), 128),
        *_columns("4c", 576, 160, (128, 160), (128, 160), 128),
        *_columns("4d", 608, 96, (128, 192), (160, 192), 128),
        *_columns("4e", 608, 0, (128, 192), (192, 256), 0),
        *_columns("5a", 1056, 352, (192, 320), (160, 224), 128),
        *_columns("5b", 1024, 352, (192, 320), (192, 224), 128),
    ]
    public = {}
    for name, inner, outer, side in rows:
        public[f"{name}.weight"] = torch.empty(outer, inner, side, side, device="meta")
        public[f"{name}.bias"] = torch.empty(outer, device="meta")
        for last in ("weight", "bias", "running_mean", "running_var"):
            public[f"{name}_bn.{last}"] = torch.empty(outer, device="meta")
    public["last_linear.weight"] = torch.empty(1000, 1024, device="meta")
    public["last_linear.bias"] = torch.empty(1000, device="meta")
    aligned = align(public, _meta("bn_inception").state_dict())
    assert aligned["stages.3.module5b.pool.project.conv.weight"].shape == (128, 1024, 1, 1)
    assert len(rows) == 3 + 8 * 7 + 2 * 5


def _columns(module, inner, one, three, double, pool):
    name = f"inception_{module}"
    if one:
        yield f"{name}_1x1", inner, one, 1
    yield f"{name}_3x3_reduce", inner, three[0], 1
    yield f"{name}_3x3", *three, 3
    yield f"{name}_double_3x3_reduce", inner, double[0], 1
    yield f"{name}_double_3x3_1", *double, 3
    yield f"{name}_double_3x3_2", double[1], double[1], 3
    if pool:
        yield f"{name}_pool_proj", inner, pool, 1


def test_bn_inception_pools_like_caffe_where_maps_are_even():
    pool = _meta("bn_inception").get_submodule("stages.2.module3c.pool")
    image = torch.rand(1, 2, 8, 8)
    assert torch.equal(pool(image), nn.functional.max_pool2d(image, 3, 2, ceil_mode=True))
    assert pool(torch.rand(1, 2, 7, 7)).shape[-1] == 4  # a padded 3×3 with stride 2 makes 4, too


@pytest.mark.parametrize("size", range(75, 107, 5))
def test_bn_inception_takes_images_of_any_size(size):
    model = _meta("bn_inception")
    assert model(torch.empty(2, 3, size, size, device="meta")).shape == (2, 1000)


def test_inception_resnet_v1_counts_as_the_public_face_model():
    """27,910,327 parameters, with a sixth 8×8 block, 512 features and 8,631 people."""
    model = _meta("inception_resnet_v1", num_classes=0)
    block = [m for m in model.modules() if isinstance(m, ScaledResidual)][-1]
    convolutions = 2 * 1792 * 192 + 2 * 3 * 192 * 192 + 384 * 1792 + 1792
    assert _params(block) == convolutions + 4 * 2 * 192
    features, people = 1792 * 512 + 2 * 512, 512 * 8631 + 8631
    assert _params(model) + _params(block) + features + people == 27_910_327


def test_inception_resnet_v1_has_the_maps_of_figure_14():
    ends = [f"stages.{i}" for i in (1, 2, 3)]
    paths = ["stem.conv3", "stages.0.reduce", "stages.0.conv", "stages.1.0", *ends]
    assert _shapes("inception_resnet_v1", 299, *paths) == [
        *((64, 147), (80, 73), (192, 71), (256, 35)),
        *((256, 35), (896, 17), (1792, 8)),
    ]


@pytest.mark.parametrize(
    ("name", "depths", "last"),
    [
        ("inception_resnet_v1", (5, 10, 5), (0.2, True)),
        ("inception_resnet_v2", (10, 20, 10), (1, 0)),
    ],
)
def test_residuals_are_scaled_between_a_tenth_and_three_tenths(name, depths, last):
    blocks = [m for m in _meta(name).modules() if isinstance(m, ScaledResidual)]
    scales = [block.scale for block in blocks]
    a, b, c = depths
    assert scales == [0.17] * a + [0.1] * b + [0.2] * (c - 1) + [last[0]]
    active = [isinstance(block.act, nn.ReLU) for block in blocks]
    assert active == [True] * (a + b + c - 1) + [last[1]]


def test_a_scaled_residual_is_what_it_says():
    stages = create_model("inception_resnet_v1", num_classes=2).eval().stages
    block, image = stages[1][1], torch.randn(1, 256, 5, 5)
    with torch.no_grad():
        residual = block.project(block.branches(image))
        torch.testing.assert_close(block(image), (image + 0.17 * residual).clamp(min=0))


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["bn_inception", "inception_v2", "inception_resnet_v1"])
def test_output_strides_are_refused_in_one_line(name, output_stride):
    with pytest.raises(OptionError, match="use output_stride=32") as caught:
        _meta(name, output_stride=output_stride)
    assert "\n" not in str(caught.value)
