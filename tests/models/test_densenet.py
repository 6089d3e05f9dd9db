"""DenseNet's counts worked by hand, and checkpointing: the same numbers for less memory."""

from __future__ import annotations

from pathlib import Path
from runpy import run_path

import pytest
import torch
from torch import nn

from convatlas.models.densenet import DenseLayer
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


_INPUT, _GROWTH, _SIDE = 64, 32, 4
_BENCHMARK = run_path(str(Path(__file__).parents[2] / "benchmarks" / "densenet_memory.py"))


def _kept_bytes(depth, checkpointing):
    """Return the bytes that the forward pass of one dense block leaves behind for the backward."""
    return _BENCHMARK["kept_bytes"](depth, _SIDE, checkpointing=checkpointing)


def _kept_by_hand(depth, checkpointing):
    """Count the same by the paper's figure: what each operator's derivative reads.

    Around its 3×3 a layer keeps the norm's input and the rectified (4k channels each), with the
    norm's two statistics per channel. Stored, it keeps the same around its 1×1, of the C_i
    channels of a concatenation of its own; checkpointed, instead of them, the map that the
    layer before gave (k). The block adds its output.
    """
    squeezed = 4 * _GROWTH
    channels, statistics = _INPUT + _GROWTH * depth, 0
    for i in range(depth):
        inputs = _INPUT + _GROWTH * i
        channels += 2 * squeezed
        statistics += 2 * squeezed
        if not checkpointing:
            channels += 2 * inputs
            statistics += 2 * inputs
        elif i:
            channels += _GROWTH
    return 4 * (_SIDE * _SIDE * channels + statistics)


@pytest.mark.parametrize("checkpointing", [False, True], ids=["stored", "checkpointing"])
@pytest.mark.parametrize("depth", [6, 12, 24, 48])
def test_memory_is_what_is_counted_by_hand(depth, checkpointing):
    assert _kept_bytes(depth, checkpointing) == _kept_by_hand(depth, checkpointing)


def test_checkpointing_makes_memory_linear_in_depth():
    """Twice the layers take twice the memory, and without checkpointing nearly four times."""
    growth = [
        [_kept_bytes(2 * depth, spared) / _kept_bytes(depth, spared) for depth in (6, 12, 24)]
        for spared in (False, True)
    ]
    assert growth[0] == sorted(growth[0])
    assert growth[0][-1] > 3.3
    assert max(growth[1]) < 2.05


def test_evaluation_computes_nothing_twice():
    layer = DenseLayer(8, 4, checkpointing=True).eval()
    maps = [torch.randn(1, 8, 4, 4, requires_grad=True)]
    before = {name: value.clone() for name, value in layer.named_buffers()}
    layer(maps).sum().backward()
    assert all(torch.equal(value, before[name]) for name, value in layer.named_buffers())
