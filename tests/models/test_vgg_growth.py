"""VGG's growth schedule: deeper nets begin with the layers of net A (section 3.1 of the paper)."""

from __future__ import annotations

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.models.registry import create_model
from convatlas.models.vgg import grow

SMALL = {"stem": "small", "num_classes": 3, "dropout": 0.25}
# Places of net A's first four convolutions and its fully connected layers.
COPIED = ["stages.0.0", "stages.1.0", "stages.2.0", "stages.2.2"]
COPIED += ["head.fc6", "head.fc7", "head.classifier"]
WEIGHTED = {"vgg13": 13, "vgg16": 16, "vgg19": 19}


@pytest.mark.parametrize("name", WEIGHTED)
def test_seven_layers_are_copied_and_the_others_drawn(name):
    shallow = create_model("vgg11", **SMALL)
    before = {key: value.clone() for key, value in shallow.state_dict().items()}
    deep, copied = grow(shallow, name)
    state = deep.state_dict()
    assert copied == [f"{layer}.{kind}" for layer in COPIED for kind in ("weight", "bias")]
    assert sum(key.endswith("weight") for key in state) == WEIGHTED[name]
    for key, value in state.items():
        if key in copied:
            assert torch.equal(value, before[key])
            assert value.data_ptr() != shallow.state_dict()[key].data_ptr()
        elif key in before and key.endswith("weight"):
            assert value.shape != before[key].shape or not torch.equal(value, before[key])
    assert deep(torch.randn(2, 3, 32, 32)).shape == (2, 3)
    assert deep.head.dropout6.p == 0.25


def test_norms_go_with_their_convolutions():
    deep, copied = grow(create_model("vgg11_bn", **SMALL), "vgg16_bn")
    assert sum(key.endswith("running_mean") for key in copied) == 4
    assert deep.eval()(torch.randn(2, 3, 16, 16)).shape == (2, 3)


def test_the_paper_s_head_and_features_without_classes():
    with torch.device("meta"):
        deep, copied = grow(create_model("vgg11", num_classes=0, in_channels=1), "vgg19")
    assert deep.in_channels == 1
    assert deep.get_parameter("head.fc6.weight").shape == (4096, 512 * 7 * 7)
    assert len(copied) == 12


@pytest.mark.parametrize(
    ("shallow", "name", "message"),
    [
        ("vgg11", "vgg11", "expected vgg13, vgg16 or vgg19.*got 'vgg11'"),
        ("vgg11", "resnet50", "got 'resnet50'"),
        ("vgg13", "vgg16", r"vgg16 grows from vgg11, got a network of \[2, 2, 2, 2, 2\]"),
        ("vgg11_bn", "vgg16", "grows from vgg11, got .* with batch norms"),
        ("vgg11", "vgg16_bn", "grows from vgg11_bn, got .* without batch norms"),
        ("resnet18", "vgg16", "grows from vgg11, got"),
    ],
)
def test_wrong_pairs_are_refused(shallow, name, message):
    with torch.device("meta"), pytest.raises(OptionError, match=message):
        grow(create_model(shallow), name)
