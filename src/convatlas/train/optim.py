"""Parameter groups and optimizers.

Norms and biases do not decay (He et al. 2019, arXiv:1812.01187, section 3.1), and a stage
may learn more slowly than the one behind it. This file knows no schedule: whoever has the
learning rate of the step calls :func:`set_lr`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from convatlas.errors import OptionError
from convatlas.train.recipe import Recipe

__all__ = ["build_optimizer", "named_state", "parameter_groups", "restore_state", "set_lr"]

_STAGE = re.compile(r"stages\.(\d+)\.")
_FUSED_DEVICES = ("cpu", "cuda", "mps")


def parameter_groups(
    model: nn.Module, *, weight_decay: float, stage_lr_decay: float = 1.0
) -> list[dict[str, Any]]:
    """Sort the parameters of ``model`` by decay and by depth.

    A parameter of the stem or of stage *i* of *n* gets the learning rate of the head times
    ``stage_lr_decay`` to the power of its distance, which is 1 for the last stage, n for the
    first one and n + 1 for the stem. What lies outside the anatomy counts as head.

    Returns:
        One dictionary per non-empty group with ``params``, their ``names``,
        ``weight_decay`` and ``lr_scale``, from the stem to the head.
    """
    named = list(model.named_parameters())
    last = max((int(m[1]) for name, _ in named if (m := _STAGE.match(name))), default=-1)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in named:
        distance = _distance(name, last)
        # A norm, a bias and a layer scale have one number per channel, whatever their shape.
        decays = parameter.ndim > 1 and parameter.numel() > parameter.shape[0]
        group = groups.setdefault(
            (distance, decays),
            {
                "params": [],
                "names": [],
                "weight_decay": weight_decay if decays else 0.0,
                "lr_scale": stage_lr_decay**distance,
            },
        )
        group["params"].append(parameter)
        group["names"].append(name)
    return [groups[key] for key in sorted(groups, key=lambda key: (-key[0], key[1]))]


def _distance(name: str, last_stage: int) -> int:
    if stage := _STAGE.match(name):
        return last_stage - int(stage[1]) + 1
    return last_stage + 2 if name.startswith("stem.") else 0


def build_optimizer(model: nn.Module, recipe: Recipe) -> Optimizer:
    """Return the optimizer that ``recipe`` names over the groups of ``model``.

    The device must be settled: the fused kernels are used where the device has them.
    """
    groups = parameter_groups(
        model,
        weight_decay=recipe.optimizer.weight_decay,
        stage_lr_decay=recipe.transfer.stage_lr_decay,
    )
    if not groups:
        raise OptionError("expected a model with parameters to train, got one without any")
    fused = groups[0]["params"][0].device.type in _FUSED_DEVICES
    if recipe.optimizer.name == "sgd":
        return SGD(
            groups,
            recipe.optimizer.lr,
            momentum=recipe.optimizer.momentum,
            nesterov=recipe.optimizer.nesterov,
            fused=fused,
        )
    return AdamW(groups, recipe.optimizer.lr, betas=(recipe.optimizer.momentum, 0.999), fused=fused)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Give every group ``lr`` times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def named_state(optimizer: Optimizer) -> dict[str, torch.Tensor]:
    """Return the optimizer's tensors as ``"<parameter name>/<entry>"``, such as momenta."""
    return {
        f"{name}/{entry}": value
        for name, parameter in _named_parameters(optimizer)
        for entry, value in optimizer.state.get(parameter, {}).items()
        if isinstance(value, torch.Tensor)
    }


def restore_state(optimizer: Optimizer, state: dict[str, torch.Tensor]) -> None:
    """Put back what :func:`named_state` gave, each tensor in the layout of its parameter.

    The fused kernels walk parameter and momentum side by side through memory, so a momentum
    in another memory format would be read in the wrong order.
    """
    for name, parameter in _named_parameters(optimizer):
        prefix = f"{name}/"
        entries = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        for entry, value in entries.items():
            like = parameter.detach() if value.shape == parameter.shape else value
            placed = torch.empty_like(like, dtype=value.dtype)
            optimizer.state[parameter][entry] = placed.copy_(value)


def _named_parameters(optimizer: Optimizer) -> Iterator[tuple[str, nn.Parameter]]:
    for group in optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)
