"""What layers answer, against the modules called by hand; the network stays as it was."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import DataError, OptionError
from convatlas.explain.activations import activations
from convatlas.models.registry import create_model


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return create_model("cifar_resnet20")


@pytest.fixture
def images():
    return torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def test_stages_equal_a_forward_pass_by_hand(network, images):
    names = [feature.name for feature in network.feature_info]
    found = activations(network, images.split(2), [*names, "head"], pooled=False)
    with torch.no_grad():
        network.eval()
        by_hand = network.forward_features(images)
        logits = network.head(by_hand[-1])
        network.train()
    for name, expected in zip([*names, "head"], [*by_hand, logits], strict=True):
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-5)


def test_maps_are_averaged_over_their_places(network, images):
    whole = activations(network, [images], ["stages.1", "head"], pooled=False)
    pooled = activations(network, [images], ["stages.1", "head"])
    assert pooled["stages.1"].shape == (5, 32)
    torch.testing.assert_close(pooled["stages.1"], whole["stages.1"].sum((2, 3)) / (8 * 8))
    assert torch.equal(pooled["head"], whole["head"])


def test_what_the_next_layer_overwrites_was_kept_before():
    model = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    images = torch.tensor([[-1.0, 2.0]])
    found = activations(model, [images.clone()], ["0", "1"], pooled=False)
    assert found["0"].tolist() == [[-1.0, 2.0]]
    assert found["1"].tolist() == [[0.0, 2.0]]


def _condition(model):
    modes = [module.training for module in model.modules()]
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    statistics = {name: value.clone() for name, value in model.named_buffers()}
    return modes, hooks, statistics


def _assert_same_condition(before, after):
    assert before[:2] == after[:2]
    assert all(torch.equal(before[2][name], after[2][name]) for name in before[2])


def test_the_network_is_left_as_it_was(network, images):
    network.train()
    network.stages[0].eval()
    before = _condition(network)
    assert any(before[0])
    assert not all(before[0])
    activations(network, [images], ["stages.0"])
    _assert_same_condition(before, _condition(network))


def test_it_is_left_so_after_an_error_too(network, images):
    network.train()
    before = _condition(network)

    def failing():
        yield images
        raise RuntimeError("no such file")

    with pytest.raises(RuntimeError, match="no such file"):
        activations(network, failing(), ["stages.0"])
    _assert_same_condition(before, _condition(network))
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


class Twice(nn.Module):
    """A layer that is asked twice, one that is never asked, and one without a tensor."""

    def __init__(self):
        super().__init__()
        self.shared = nn.Linear(2, 2)
        self.idle = nn.Linear(2, 2)
        self.pair = Pair()

    def forward(self, x):
        return self.pair(self.shared(self.shared(x)))[0]


class Pair(nn.Module):
    def forward(self, x):
        return x, x


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("shared", "got shared, which does so 2 times"),
        ("idle", "got idle, which does so 0 times"),
        ("pair", "got pair with tuple"),
        ("shard", r"got 'shard'; did you mean shared\?"),
        ("", "expected the path of a layer such as stages.0 or head, got ''"),
    ],
)
def test_layers_without_one_answer_per_image_are_refused(layer, message):
    with pytest.raises(OptionError, match=message):
        activations(Twice(), [torch.zeros(3, 2)], [layer])


def test_no_images_are_refused(network):
    with pytest.raises(DataError, match="expected at least 1 image, got none"):
        activations(network, [], ["head"])
