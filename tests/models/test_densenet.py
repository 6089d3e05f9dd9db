"""DenseNet's counts worked by hand, and checkpointing: the same numbers for less memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.models.densenet import DenseBlock, DenseLayer
from convatlas.models.registry import create_model


def _params(growth, depths, stem, classes):
    """Count by the paper's table 1: k, layers per block, parameters of the stem, classes."""
    total, channels = stem, 2 * growth
    for i, depth in enumerate(depths):
        if i:
            total += 2 * channels + channels * (channels // 2)
            channels //= 2
        for _ in range(depth):
            total += 2 * channels + channels * 4 * growth
            total += 2 * 4 * growth + 4 * growth * growth * 9
            channels += growth
    return total + 2 * channels + channels * classes + classes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("densenet121", _params(32, (6, 12, 24, 16), 3 * 64 * 49 + 128, 1000)),
        ("densenet264", _params(32, (6, 12, 64, 48), 3 * 64 * 49 + 128, 1000)),
        ("cifar_densenet_bc_100_12", _params(12, (16, 16, 16), 3 * 24 * 9, 10)),
        ("cifar_densenet_bc_190_40", _params(40, (31, 31, 31), 3 * 80 * 9, 10)),
    ],
)
def test_parameters_equal_the_count_by_hand(name, expected):
    with torch.device("meta"):
        model = create_model(name)
    assert sum(p.numel() for p in model.parameters()) == expected


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("densenet121", 121),
        ("densenet264", 265),  # 2 · (6 + 12 + 64 + 48) + 5: the paper's name is one short
        ("cifar_densenet_bc_100_12", 100),
        ("cifar_densenet_bc_190_40", 190),
    ],
)
def test_the_name_counts_the_layers(name, layers):
    with torch.device("meta"):
        model = create_model(name)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in model.modules()) == layers


def _one_step(checkpointing):
    torch.manual_seed(0)
    model = create_model("cifar_densenet_bc_100_12", checkpointing=checkpointing).train()
    logits = model(torch.linspace(-1, 1, 4 * 3 * 16 * 16).reshape(4, 3, 16, 16))
    logits.square().sum().backward()
    return model, logits


def test_checkpointing_changes_no_number():
    (plain, logits), (spared, same) = _one_step(False), _one_step(True)
    torch.testing.assert_close(same, logits, rtol=0, atol=0)
    for mine, theirs in zip(spared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)
    # A second pass that counted twice would move running means and batch counters.
    for mine, theirs in zip(spared.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0)


def _stored_bytes(depth, checkpointing):
    """Return the bytes that autograd keeps for the backward pass of one dense block."""
    block = DenseBlock(8, 4, depth, checkpointing=checkpointing).train()
    storages = {}

    def keep(tensor):
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = block(torch.randn(2, 8, 16, 16, requires_grad=True))
    assert output.shape[1] == 8 + 4 * depth
    return sum(storages.values())


def test_checkpointing_makes_memory_linear_in_depth():
    """A line has no second difference; what every layer stores of all before it has one."""
    spared = [_stored_bytes(depth, True) for depth in (4, 8, 12)]
    plain = [_stored_bytes(depth, False) for depth in (4, 8, 12)]
    bend = [sizes[2] - 2 * sizes[1] + sizes[0] for sizes in (spared, plain)]
    assert bend[0] < 0.1 * bend[1]
    assert spared[2] < plain[2] / 2


def test_evaluation_computes_nothing_twice():
    layer = DenseLayer(8, 4, checkpointing=True).eval()
    maps = [torch.randn(1, 8, 4, 4, requires_grad=True)]
    before = {name: value.clone() for name, value in layer.named_buffers()}
    layer(maps).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
