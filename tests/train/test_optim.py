from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.train.optim import (
    build_optimizer,
    named_state,
    parameter_groups,
    restore_state,
    set_lr,
)
from convatlas.train.recipe import Recipe


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gamma


def conv(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU())


def net() -> ConvNet:
    head = nn.Sequential()
    head.add_module("pool", nn.AdaptiveAvgPool2d(1))
    head.add_module("flatten", nn.Flatten())
    head.add_module("classifier", nn.Linear(8, 3))
    stages = [conv(4, 8), nn.Sequential(conv(8, 8), Scaled()), conv(8, 8)]
    model = ConvNet(conv(1, 4), stages, head, channels=[8, 8, 8], strides=[1, 1, 1], in_channels=1)
    return model.to(memory_format=torch.channels_last)


def test_every_parameter_is_in_one_group_and_only_matrices_and_kernels_decay() -> None:
    model = net()
    groups = parameter_groups(model, weight_decay=0.1)
    names = [name for group in groups for name in group["names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    decayed = {name for group in groups if group["weight_decay"] for name in group["names"]}
    kernels = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }
    assert decayed == kernels


def test_the_learning_rate_falls_by_the_decay_per_stage_towards_the_stem() -> None:
    model = net()
    recipe = Recipe(lr=1.0, stage_lr_decay=0.5)
    optimizer = build_optimizer(model, recipe)
    set_lr(optimizer, 0.8)
    rates = {name: g["lr"] for g in optimizer.param_groups for name in g["names"]}
    assert rates["head.classifier.weight"] == rates["head.classifier.bias"] == 0.8
    assert rates["stages.2.0.weight"] == pytest.approx(0.4)
    assert rates["stages.1.1.gamma"] == pytest.approx(0.2)
    assert rates["stages.0.1.bias"] == pytest.approx(0.1)
    assert rates["stem.0.weight"] == pytest.approx(0.05)


def test_a_module_without_the_anatomy_has_one_rate() -> None:
    optimizer = build_optimizer(nn.Linear(3, 2), Recipe(lr=1.0, stage_lr_decay=0.5))
    assert [g["lr_scale"] for g in optimizer.param_groups] == [1.0, 1.0]


def test_no_parameters_is_a_user_error() -> None:
    with pytest.raises(OptionError, match="without any"):
        build_optimizer(nn.ReLU(), Recipe())


def train(model: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> None:
    for seed in seeds:
        x = torch.randn(4, 1, 6, 6, generator=torch.Generator().manual_seed(seed))
        model(x).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_the_fused_optimizer_agrees_with_torchs_plain_one(name: str) -> None:
    torch.manual_seed(0)
    ours, theirs = net(), net()
    theirs.load_state_dict(ours.state_dict())
    recipe = Recipe.from_dict({"optimizer": name, "lr": 0.01, "weight_decay": 0.1})
    groups = parameter_groups(theirs, weight_decay=0.1)
    plain: torch.optim.Optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, foreach=False)
    if name == "adamw":
        plain = torch.optim.AdamW(groups, 0.01, betas=(0.9, 0.999), foreach=False)
    train(ours, build_optimizer(ours, recipe), range(3))
    train(theirs, plain, range(3))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_restored_optimizer_steps_bit_for_bit_like_the_one_that_was_saved(name: str) -> None:
    torch.manual_seed(0)
    recipe = Recipe.from_dict({"optimizer": name, "lr": 0.01})
    first = net()
    optimizer = build_optimizer(first, recipe)
    train(first, optimizer, range(3))
    second = net()
    second.load_state_dict(first.state_dict())
    restored = build_optimizer(second, recipe)
    saved = {
        key: value.clone(memory_format=torch.contiguous_format)
        for key, value in named_state(optimizer).items()
    }
    restore_state(restored, saved)
    kernel = second.stages[0][0].weight
    momentum = next(v for v in restored.state[kernel].values() if v.shape == kernel.shape)
    assert momentum.stride() == kernel.stride()
    assert not momentum.is_contiguous()
    train(first, optimizer, range(3, 6))
    train(second, restored, range(3, 6))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
