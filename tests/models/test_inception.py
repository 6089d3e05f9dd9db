"""Inception modules and auxiliary classifiers: the papers' and the lectures' arithmetic."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.inception import inception, naive_inception
from convatlas.models.registry import create_model


def _macs(module, channels, side):
    macs = 0

    def count(conv, args, output):
        nonlocal macs
        macs += output.numel() * conv.weight[0].numel()

    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            conv.register_forward_hook(count)
    shape = module.to("meta")(torch.empty(1, channels, side, side, device="meta")).shape
    return macs, tuple(shape)


def _params(model):
    return sum(p.numel() for p in model.parameters())


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def test_the_naive_module_takes_854_million_operations():
    macs, shape = _macs(naive_inception(256, 128, 192, 96), 256, 28)
    assert shape == (1, 128 + 192 + 96 + 256, 28, 28)
    assert macs == 28 * 28 * 256 * (128 + 9 * 192 + 25 * 96) == 854_196_224


def test_reducing_first_takes_a_third_of_that():
    macs, shape = _macs(inception(256, 128, (64, 192), (64, 96), 64), 256, 28)
    assert shape == (1, 128 + 192 + 96 + 64, 28, 28)
    assert macs == 28 * 28 * (256 * (128 + 3 * 64) + 64 * (9 * 192 + 25 * 96)) == 271_351_808


# Paper, table 1, in units of 1,024 parameters; the rows that agree with their own widths.
@pytest.mark.parametrize(("path", "thousands"), [("1.a", 159), ("1.b", 380), ("2.b", 437)])
def test_the_modules_of_the_paper_have_its_parameters(path, thousands):
    module = _meta("googlenet_2014").get_submodule(f"stages.{path}")
    weights = sum(m.weight.numel() for m in module.modules() if isinstance(m, nn.Conv2d))
    assert weights / 1024 == pytest.approx(thousands, rel=5e-3)


def test_the_stem_has_124_thousand_weights():
    model = _meta("googlenet_2014")
    convs = [m for part in (model.stem, model.stages[0]) for m in part.modules()]
    weights = sum(m.weight.numel() for m in convs if isinstance(m, nn.Conv2d))
    assert weights == 7 * 7 * 3 * 64 + 64 * 64 + 9 * 64 * 192 == 124_096


def test_the_papers_kernel_is_an_option():
    grown = _params(_meta("googlenet", large_kernel=5)) - _params(_meta("googlenet"))
    pairs = ((16, 32), (32, 96), (16, 48), (24, 64), (24, 64), (32, 64), *[(32, 128)] * 2)
    assert grown == (25 - 9) * sum(a * b for a, b in (*pairs, (48, 128)))
    with pytest.raises(OptionError, match="large_kernel must be 3 or 5, got 4"):
        _meta("googlenet", large_kernel=4)


@pytest.mark.parametrize(
    ("name", "classifiers"), [("googlenet", 2), ("inception_v2", 1), ("inception_v3", 1)]
)
def test_auxiliary_classifiers_stand_beside_the_path(name, classifiers):
    model = create_model(name, num_classes=5, stem="small").eval()
    images = torch.randn(2, 3, 40, 40)
    with torch.no_grad():
        logits, auxiliary = model.forward_with_auxiliary(images)
        assert torch.equal(logits, model(images))
    assert [tuple(a.shape) for a in auxiliary] == [(2, 5)] * classifiers


@pytest.mark.parametrize("options", [{"auxiliary": False}, {"num_classes": 0}])
@pytest.mark.parametrize(
    ("name", "params"), [("googlenet", 6_624_904), ("googlenet_2014", 6_998_552)]
)
def test_auxiliary_classifiers_can_be_left_out(name, params, options):
    model = _meta(name, **options)
    _, auxiliary = model.forward_with_auxiliary(torch.empty(2, 3, 224, 224, device="meta"))
    assert auxiliary == ()
    without = 1024 * 1000 + 1000 if "num_classes" in options else 0
    assert _params(model) == params - without


def test_the_auxiliary_classifiers_read_the_maps_of_the_papers():
    seen = []
    for name, size in (("googlenet_2014", 224), ("inception_v3", 299)):
        model = _meta(name)
        for tap in model.taps:
            model.get_submodule(tap).register_forward_hook(
                lambda module, args, output: seen.append(tuple(output.shape[1:]))
            )
        model.forward_with_auxiliary(torch.empty(2, 3, size, size, device="meta"))
    assert seen == [(512, 14, 14), (528, 14, 14), (768, 17, 17)]


def test_the_auxiliary_pooling_is_the_papers_where_the_map_allows():
    shrink = _meta("inception_v3").get_submodule("stages.2.auxiliary.classifiers.0.shrink")
    image = torch.randn(1, 1, 17, 17)
    torch.testing.assert_close(shrink(image)[0, 0, 1, 2], image[0, 0, 3:8, 6:11].mean())
    assert shrink(torch.randn(1, 1, 3, 3)).shape == (1, 1, 5, 5)


def test_averages_that_cannot_be_dilated_are_named():
    with pytest.raises(OptionError, match="average pooling"):
        _meta("inception_v3", output_stride=16)
