"""Alignment by structure: a checkpoint as it circulates, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import convatlas
from convatlas.errors import WeightsError
from convatlas.models.pretrained.alignment import align_by_structure
from oracles.fill import fill, image_batch


def _dataparallel_resnet20():
    """Return what akamaster/pytorch_resnet_cifar10 saves for ResNet-20, with values by key.

    Its trainer wraps the network in DataParallel and saves the state dict beside an accuracy.
    """
    shapes = {"conv1.weight": (16, 3, 3, 3), **_norm("bn1", 16)}
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(3):
            path = f"layer{stage}.{block}"
            inputs = width // 2 if stage > 1 and block == 0 else width
            shapes[f"{path}.conv1.weight"] = (width, inputs, 3, 3)
            shapes |= _norm(f"{path}.bn1", width)
            shapes[f"{path}.conv2.weight"] = (width, width, 3, 3)
            shapes |= _norm(f"{path}.bn2", width)
    shapes |= {"linear.weight": (10, 64), "linear.bias": (10,)}
    state = {
        f"module.{key}": torch.from_numpy(fill(key, shape)) if shape else torch.tensor(7)
        for key, shape in shapes.items()
    }
    return {"state_dict": state, "best_prec1": 91.73}


def _norm(name, width):
    words = ("weight", "bias", "running_mean", "running_var")
    return {**{f"{name}.{word}": (width,) for word in words}, f"{name}.num_batches_tracked": ()}


def _reference_logits(state, x):
    """Run that ResNet-20 in plain operations; the shortcut pads a quarter of zeros either side."""

    def conv_norm(x, conv, norm, stride=1):
        x = F.conv2d(x, state[f"module.{conv}.weight"], stride=stride, padding=1)
        words = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"module.{norm}.{word}"] for word in words))

    x = F.relu(conv_norm(x, "conv1", "bn1"))
    for stage, width in enumerate((16, 32, 64), start=1):
        for block in range(3):
            path = f"layer{stage}.{block}"
            halved = stage > 1 and block == 0
            y = F.relu(conv_norm(x, f"{path}.conv1", f"{path}.bn1", 2 if halved else 1))
            y = conv_norm(y, f"{path}.conv2", f"{path}.bn2")
            if halved:
                x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, width // 4, width // 4))
            x = F.relu(x + y)
    x = x.mean((2, 3))
    return F.linear(x, state["module.linear.weight"], state["module.linear.bias"])


def test_a_dataparallel_checkpoint_of_a_cifar_resnet_gives_its_logits():
    checkpoint = _dataparallel_resnet20()
    model = convatlas.create_model("cifar_resnet20").eval()
    report = convatlas.align_by_structure(model, checkpoint)
    images = torch.from_numpy(image_batch(32))
    with torch.inference_mode():
        logits = model(images)
        expected = _reference_logits(checkpoint["state_dict"], images)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1
    assert report.prefix == "module."
    assert len(report.pairs) == len(report.renamed) == 19 * 5 + 2
    assert report.pairs[0] == ("conv1.weight", "stem.conv.conv.weight")
    assert report.pairs[-1] == ("linear.bias", "head.classifier.bias")
    assert len(report.skipped) == 19
    assert {name.rpartition(".")[2] for name in report.skipped} == {"num_batches_tracked"}


def test_the_same_file_loads_by_its_path(tmp_path):
    torch.save(_dataparallel_resnet20(), tmp_path / "resnet20.pth")
    loaded = convatlas.create_model("cifar_resnet20", weights=tmp_path / "resnet20.pth")
    model = convatlas.create_model("cifar_resnet20")
    align_by_structure(model, _dataparallel_resnet20())
    assert all(map(torch.equal, loaded.parameters(), model.parameters()))


@pytest.mark.parametrize("nest", ["state_dict", "model"])
def test_nesting_and_several_prefixes_are_taken_off(nest):
    model, source = nn.Linear(2, 3), nn.Linear(2, 3)
    state = {f"_orig_mod.module.{name}": value for name, value in source.state_dict().items()}
    report = align_by_structure(model, {nest: state, "epoch": 3})
    assert torch.equal(model.weight, source.weight)
    assert (report.prefix, report.renamed) == ("_orig_mod.module.", ())


def _net(*sizes):
    return nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise(sizes)))


def test_another_order_is_taken_where_every_shape_is_its_own():
    source, model = _net(2, 3, 5), _net(2, 3, 5)
    names = {"a": "1.weight", "b": "0.bias", "c": "0.weight", "d": "1.bias"}
    state = {f"{k}.{v.partition('.')[2]}": source.state_dict()[v] for k, v in names.items()}
    report = align_by_structure(model, state)
    assert all(map(torch.equal, source.parameters(), model.parameters()))
    assert report.pairs[0] == ("c.weight", "0.weight")


def test_another_order_is_refused_where_layers_could_be_exchanged():
    """Sorted by name, as a .safetensors file is: bias before weight, 10 before 2."""
    source, model = _net(*[4] * 12), _net(*[4] * 12)
    before = [value.clone() for value in model.parameters()]
    state = {f"layer.{k}": value for k, value in source.state_dict().items()}
    by_name = dict(sorted(state.items()))
    weights_first = dict(
        sorted(state.items(), key=lambda item: (item[0].split(".")[1], -len(item[0])))
    )
    for lost in (by_name, weights_first):
        with pytest.raises(WeightsError, match="got another order, and only 2 kinds") as caught:
            align_by_structure(model, lost)
        assert "\n" not in str(caught.value)
    assert all(map(torch.equal, before, model.parameters()))
    align_by_structure(model, state)
    assert all(map(torch.equal, source.parameters(), model.parameters()))


@pytest.mark.parametrize("sizes", [(4, 4), (4, 4, 4, 5), (4, 4, 5, 4)])
def test_another_architecture_changes_nothing(sizes):
    model = _net(4, 4, 4, 4)
    before = [value.clone() for value in model.parameters()]
    state = {f"x.{name}": value for name, value in _net(*sizes).state_dict().items()}
    with pytest.raises(WeightsError, match="belongs to another architecture"):
        align_by_structure(model, state)
    assert all(map(torch.equal, before, model.parameters()))


@pytest.mark.parametrize("state", [{}, {"weight": [1.0]}, {"state_dict": {"weight": 3}}])
def test_what_is_no_state_dict_is_refused(state):
    with pytest.raises(WeightsError, match="expected tensors by name"):
        align_by_structure(nn.Linear(1, 1), state)
