"""RepVGG: one 3×3 convolution computes what three branches did, at the published cost."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.models.registry import create_model
from convatlas.models.repvgg import RepBlock, reparameterise

# open-mmlab/mmpretrain configs/repvgg/README.md @ 09352a813dcb32dc664a6e6c94dcaf0914525e9c:
# millions of parameters and billions of operations after the re-parameterisation, where a
# multiply-accumulate, a bias and a ReLU are one operation each; two are 0.1 and 1.2 M below ours.
DEPLOYED = [
    ("repvgg_a0", 8.31, 1.36),
    ("repvgg_a1", 12.79, 2.37),
    ("repvgg_a2", 25.50, 5.12),
    ("repvgg_b0", 14.34, 3.06),
    ("repvgg_b1", 51.83, 11.82),
    ("repvgg_b1g4", 36.13, 7.32),
    ("repvgg_b2", 80.32, 18.39),
    ("repvgg_b2g4", 55.78, 11.34),
    ("repvgg_b3", 110.96, 26.22),
    ("repvgg_b3g4", 75.63, 16.08),
]


def _trained(model):
    """Give every norm statistics and factors of its own, as training would."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.3, 0.9)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model.eval()


@pytest.mark.parametrize(
    ("channels", "stride", "groups"), [((8, 8), 1, 1), ((8, 8), 1, 4), ((8, 12), 2, 1)]
)
def test_a_block_is_one_convolution(channels, stride, groups):
    block = _trained(nn.Sequential(RepBlock(*channels, stride, groups)))
    deployed = reparameterise(block)
    x = torch.randn(2, 8, 7, 7)
    torch.testing.assert_close(deployed(x), block(x), rtol=1e-5, atol=1e-5)
    assert (deployed[0].conv.groups, deployed[0].conv.stride) == (groups, (stride, stride))


def test_the_kernel_of_a_block_by_hand():
    """3×3 of ones, 1×1 of two and the identity, all norms trivial: 1 around, 1 + 2 + 1 inside."""
    block = RepBlock(1, 1, 1).eval()
    nn.init.ones_(block.conv3.conv.weight)
    nn.init.constant_(block.conv1.conv.weight, 2.0)
    (kernel,) = reparameterise(nn.Sequential(block))[0].conv.weight.detach()[0] * (1 + 1e-5) ** 0.5
    torch.testing.assert_close(
        kernel, torch.tensor([[1.0, 1.0, 1.0], [1.0, 4.0, 1.0], [1.0, 1.0, 1.0]])
    )


@pytest.mark.parametrize("options", [{}, {"output_stride": 16}], ids=["paper", "dilated"])
def test_the_deployed_net_gives_equal_logits(options):
    model = _trained(create_model("repvgg_a0", num_classes=5, **options))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    deployed = reparameterise(model)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected, got = model(images), deployed(images)
    torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())
    kinds = {type(module) for module in deployed.modules()}
    assert not kinds & {nn.BatchNorm2d, RepBlock}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert deployed.feature_info == model.feature_info


@pytest.mark.parametrize(("name", "params", "operations"), DEPLOYED)
def test_the_deployed_net_costs_what_is_published(name, params, operations):
    with torch.device("meta"):
        report = analyze(reparameterise(create_model(name)), 224)
    assert abs(report.params - params * 1e6) <= 5e3
    assert report.flops - report.macs == pytest.approx(operations * 1e9, rel=2e-4, abs=7e6)


def test_every_other_layer_is_grouped():
    """The stem is the first layer; the 3rd, 5th, … of the 28 have groups (section 3.4)."""
    with torch.device("meta"):
        model = create_model("repvgg_b1g4")
    blocks = [module for module in model.modules() if isinstance(module, RepBlock)]
    groups = [block.conv3.conv.groups for block in blocks]
    assert groups == [4 if n % 2 and 3 <= n <= 27 else 1 for n in range(1, 29)]
