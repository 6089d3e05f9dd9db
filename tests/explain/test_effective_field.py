"""Effective receptive fields: kernels whose field is known in closed form."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.errors import OptionError
from convatlas.explain.effective_field import effective_field
from convatlas.models.registry import create_model


def _chain(depth, kernel=3):
    """Return convolutions with all weights 1: their gradient is a B-spline."""
    layers = [nn.Conv2d(1, 1, kernel, padding=kernel // 2, bias=False) for _ in range(depth)]
    for layer in layers:
        nn.init.ones_(layer.weight)
    return nn.Sequential(*layers)


@pytest.mark.parametrize("depth", [1, 2, 5, 10])
def test_a_chain_of_boxes_has_the_variance_of_their_sum(depth):
    """A box of 3 has variance 2/3, and variances add (Luo et al., section 2.2)."""
    field = effective_field(_chain(depth), torch.zeros(1, 1, 41, 41), str(depth - 1))
    assert field.size == pytest.approx([4 * (depth * 2 / 3) ** 0.5] * 2, rel=1e-4)
    assert field.centre == pytest.approx((20, 20), abs=1e-3)
    assert field.position == (20, 20)
    assert field.heat.max() == 1


def test_one_convolution_listens_to_its_window_alone():
    field = effective_field(_chain(1, kernel=5), torch.zeros(1, 1, 21, 21), "0", (3, 7))
    assert (field.heat > 0).nonzero().aminmax(dim=0)[0].tolist() == [1, 5]
    assert field.area_side == 5
    assert field.centre == pytest.approx((3, 7))


def test_nothing_is_heard_from_outside_of_the_theoretical_field():
    model = create_model("resnet18").eval()
    images = torch.randn(2, 3, 224, 224)
    for stage, theoretical in ((0, 43), (1, 99)):
        field = effective_field(model, images, f"stages.{stage}")
        heard = (field.heat > 0).nonzero()
        sides = heard.amax(0) - heard.amin(0) + 1
        assert sides.max() <= theoretical
        assert max(field.size) < theoretical
    fields = {
        layer.name.rpartition(".")[0]: layer.receptive_field for layer in analyze(model).layers
    }
    assert fields["stages.0.1"].size == (43, 43)


def test_the_model_is_left_as_found():
    model = create_model("cifar_resnet20").train()
    model.head.eval()
    effective_field(model, torch.randn(1, 3, 32, 32), "stages.1")
    assert model.training
    assert not model.head.training
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("layer", "position", "message"),
    [
        ("stage.1", None, "did you mean stages"),
        ("head.classifier", None, "take a layer before the pooling"),
        ("stages.1", (99, 0), r"within 16×16, got 99,0"),
    ],
)
def test_wrong_arguments_are_one_line(layer, position, message):
    with pytest.raises(OptionError, match=message):
        effective_field(create_model("cifar_resnet20"), torch.randn(1, 3, 32, 32), layer, position)


class _Odd(nn.Module):
    """A part that returns two maps, and one that never runs."""

    class Pair(nn.Conv2d):
        def forward(self, x):
            return super().forward(x), x

    def __init__(self):
        super().__init__()
        self.pair, self.idle = self.Pair(1, 1, 3), nn.Conv2d(1, 1, 3)

    def forward(self, x):
        return self.pair(x)[0]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("pair", "got a tuple from pair: take a layer inside"),
        ("idle", "idle, which the forward"),
    ],
)
def test_a_layer_without_one_map_says_which_to_take(layer, message):
    with pytest.raises(OptionError, match=message):
        effective_field(_Odd(), torch.zeros(1, 1, 9, 9), layer)


def test_a_dead_output_is_said():
    model = _chain(1)
    nn.init.zeros_(model[0].weight)
    with pytest.raises(OptionError, match="does not depend on this image"):
        effective_field(model, torch.zeros(1, 1, 9, 9), "0")
