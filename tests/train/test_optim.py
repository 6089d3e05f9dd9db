from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.train.lamb import LAMB
from convatlas.train.optim import (
    build_optimizer,
    named_state,
    parameter_groups,
    restore_state,
    set_lr,
)
from convatlas.train.recipe import Recipe
from convatlas.train.rmsprop import RMSProp

# Where timm's LAMB and RMSProp take three parameters; tools/oracles/optimizers.py wrote it.
TIMM = json.loads((Path(__file__).parents[1] / "fixtures" / "optimizers.json").read_text())
NAMES = ("sgd", "rmsprop", "adamw", "lamb")


def recipe_of(**optimizer: Any) -> Recipe:
    return Recipe().override({f"optimizer.{name}": value for name, value in optimizer.items()})


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


def test_everything_decays_when_norms_are_not_spared() -> None:
    optimizer = build_optimizer(net(), recipe_of(weight_decay=0.1, spare_norms=False))
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.1}
    spared = build_optimizer(net(), recipe_of(weight_decay=0.1))
    assert {group["weight_decay"] for group in spared.param_groups} == {0.0, 0.1}


def test_the_learning_rate_falls_by_the_decay_per_stage_towards_the_stem() -> None:
    model = net()
    recipe = recipe_of(lr=1.0).override({"transfer.stage_lr_decay": 0.5})
    optimizer = build_optimizer(model, recipe)
    set_lr(optimizer, 0.8)
    rates = {name: g["lr"] for g in optimizer.param_groups for name in g["names"]}
    assert rates["head.classifier.weight"] == rates["head.classifier.bias"] == 0.8
    assert rates["stages.2.0.weight"] == pytest.approx(0.4)
    assert rates["stages.1.1.gamma"] == pytest.approx(0.2)
    assert rates["stages.0.1.bias"] == pytest.approx(0.1)
    assert rates["stem.0.weight"] == pytest.approx(0.05)


def test_a_module_without_the_anatomy_has_one_rate() -> None:
    recipe = recipe_of(lr=1.0).override({"transfer.stage_lr_decay": 0.5})
    optimizer = build_optimizer(nn.Linear(3, 2), recipe)
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
    recipe = recipe_of(name=name, lr=0.01, weight_decay=0.1, epsilon=1e-6, decay_rate=0.99)
    groups = parameter_groups(theirs, weight_decay=0.1)
    plain: torch.optim.Optimizer = torch.optim.SGD(groups, 0.01, momentum=0.9, foreach=False)
    if name == "adamw":
        plain = torch.optim.AdamW(groups, 0.01, betas=(0.9, 0.99), eps=1e-6, foreach=False)
    train(ours, build_optimizer(ours, recipe), range(3))
    train(theirs, plain, range(3))
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


class Parts(nn.Module):
    """The fixture's parameters; its kernel and its zero decay, its norm does not."""

    def __init__(self) -> None:
        super().__init__()
        for name, values in TIMM["begin"].items():
            self.register_parameter(name, nn.Parameter(torch.tensor(values, dtype=torch.float64)))


@pytest.mark.parametrize(("name", "epsilon"), [("lamb", 1e-6), ("rmsprop", 1e-3)])
def test_lamb_and_rmsprop_go_where_timms_go(name: str, epsilon: float) -> None:
    model = Parts()
    decay_rate = 0.9 if name == "rmsprop" else 0.999
    decay = TIMM["weight_decay"]
    recipe = recipe_of(name=name, epsilon=epsilon, decay_rate=decay_rate, weight_decay=decay)
    optimizer = build_optimizer(model, recipe)
    for rate, gradients, expected in zip(TIMM["rates"], TIMM["gradients"], TIMM[name], strict=True):
        set_lr(optimizer, rate)
        for key, parameter in model.named_parameters():
            parameter.grad = torch.tensor(gradients[key], dtype=torch.float64)
        optimizer.step()
        for key, parameter in model.named_parameters():
            wanted = torch.tensor(expected[key], dtype=torch.float64)
            torch.testing.assert_close(parameter.detach(), wanted, rtol=1e-9, atol=1e-12)


def moved(parameter: torch.Tensor, optimizer: torch.optim.Optimizer, *gradients: float) -> float:
    for gradient in gradients:
        parameter.grad = torch.full_like(parameter, gradient)
        optimizer.step()
    return parameter.detach().flatten()[0].item()


def test_a_step_of_lamb_by_hand() -> None:
    x = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    x.grad = torch.tensor([[0.2, -7.0]], dtype=torch.float64)
    LAMB([x], 0.01, epsilon=1e-300, weight_decay=0.1).step()
    # Corrected for its bias, the first step is the gradient's sign, and the decay adds .1 x:
    # (1.3, -.6), which is as long as √2.05. The weights are 5 long.
    ratio = 5 / 2.05**0.5
    wanted = torch.tensor([[3 - 0.01 * ratio * 1.3, 4 + 0.01 * ratio * 0.6]], dtype=torch.float64)
    torch.testing.assert_close(x.detach(), wanted, rtol=1e-12, atol=0)


def test_lamb_without_decay_is_adam() -> None:
    ours = torch.tensor([[3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    one = moved(ours, LAMB([ours], 0.1, weight_decay=0, epsilon=1e-8), 0.3, -0.2, 1.5)
    assert one == pytest.approx(moved(theirs, torch.optim.Adam([theirs], 0.1), 0.3, -0.2, 1.5))


def test_two_steps_of_rmsprop_by_hand() -> None:
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = RMSProp([w], 0.65, momentum=0.9, decay_rate=0.9, epsilon=0.39)
    # The mean square goes from 1 to .9 + .1 · 2² = 1.3, the root of 1.3 + .39 is 1.3.
    assert moved(w, optimizer, 2.0) == pytest.approx(-1.0)
    # A gradient of 0 leaves nine tenths of the step, which keeps the rate it was made with.
    optimizer.param_groups[0]["lr"] = 123.0
    assert moved(w, optimizer, 0.0) == pytest.approx(-1.9)


@pytest.mark.parametrize("make", [LAMB, RMSProp])
def test_what_has_no_gradient_stays(make: Any) -> None:
    still, moving = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    moving.grad = torch.ones(2)
    optimizer = make([still, moving], 0.1)
    assert optimizer.step(lambda: 7.0) == 7.0
    assert torch.equal(still, torch.ones(2))
    assert (moving < 1).all()
    assert optimizer.step() is None


@pytest.mark.parametrize("name", NAMES)
def test_rate_and_momentum_reach_every_group(name: str) -> None:
    recipe = recipe_of(name=name, decay_rate=0.99).override({"transfer.stage_lr_decay": 0.5})
    optimizer = build_optimizer(net(), recipe)
    set_lr(optimizer, 1.0, 0.85)
    found = [g["betas"] if "betas" in g else g["momentum"] for g in optimizer.param_groups]
    assert set(found) == {(0.85, 0.99)} if name in ("adamw", "lamb") else {0.85}
    assert {group["lr"] for group in optimizer.param_groups} == {1.0, 0.5, 0.25, 0.125, 0.0625}


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_steps_bit_for_bit_like_the_one_that_was_saved(name: str) -> None:
    torch.manual_seed(0)
    recipe = recipe_of(name=name, lr=0.01, nesterov=name == "sgd", weight_decay=0.05)
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
    momenta = [v for v in restored.state[kernel].values() if v.shape == kernel.shape]
    assert len(momenta) == (1 if name == "sgd" else 2)
    for momentum in momenta:
        assert momentum.stride() == kernel.stride()
        assert not momentum.is_contiguous()
    train(first, optimizer, range(3, 6))
    train(second, restored, range(3, 6))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)
    for key, value in named_state(optimizer).items():
        assert torch.equal(value, named_state(restored)[key]), key
