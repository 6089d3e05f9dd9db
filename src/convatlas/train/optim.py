"""Parameter groups and optimizers.

Norms and biases are spared the decay if the recipe says so (He et al. 2019, arXiv:1812.01187,
section 3.1), and a stage may learn more slowly than the one behind it. This file knows no
schedule: whoever has the learning rate of the step calls :func:`set_lr`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from convatlas.errors import OptionError
from convatlas.train.lamb import LAMB
from convatlas.train.recipe import Recipe
from convatlas.train.rmsprop import RMSProp

__all__ = [
    "build_optimizer",
    "named_state",
    "parameter_groups",
    "restore_state",
    "set_lr",
    "start_momenta",
]

_STAGE = re.compile(r"stages\.(\d+)\.")
_FUSED_DEVICES = ("cpu", "cuda", "mps")


def parameter_groups(
    model: nn.Module, *, weight_decay: float, stage_lr_decay: float = 1.0, spare_norms: bool = True
) -> list[dict[str, Any]]:
    """Sort the parameters of ``model`` by decay and by depth.

    A parameter of the stem or of stage *i* of *n* gets the learning rate of the head times
    ``stage_lr_decay`` to the power of its distance, which is 1 for the last stage, n for the
    first one and n + 1 for the stem. What lies outside the anatomy counts as head. Without
    ``spare_norms`` everything decays, as in the papers up to 2018.

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
        is_matrix = parameter.ndim > 1 and parameter.numel() > parameter.shape[0]
        decays = is_matrix or not spare_norms
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
    asked = recipe.optimizer
    groups = parameter_groups(
        model,
        weight_decay=asked.weight_decay,
        stage_lr_decay=recipe.transfer.stage_lr_decay,
        spare_norms=asked.spare_norms,
    )
    if not groups:
        raise OptionError("expected a model with parameters to train, got one without any")
    fused = groups[0]["params"][0].device.type in _FUSED_DEVICES
    betas = (asked.momentum, asked.decay_rate)
    if asked.name == "sgd":
        options: dict[str, Any] = {"momentum": asked.momentum, "nesterov": asked.nesterov}
        return SGD(groups, asked.lr, fused=fused, **options)
    if asked.name == "rmsprop":
        options = {"momentum": asked.momentum, "decay_rate": asked.decay_rate}
        return RMSProp(groups, asked.lr, epsilon=asked.epsilon, **options)
    if asked.name == "lamb":
        return LAMB(groups, asked.lr, betas=betas, epsilon=asked.epsilon)
    return AdamW(groups, asked.lr, betas=betas, eps=asked.epsilon, fused=fused)


def set_lr(optimizer: Optimizer, lr: float, momentum: float | None = None) -> None:
    """Give every group ``lr`` times its ``lr_scale``, and ``momentum`` if it is given."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]
        if momentum is not None and "momentum" in group:
            group["momentum"] = momentum
        elif momentum is not None:
            group["betas"] = (momentum, group["betas"][1])


def start_momenta(optimizer: Optimizer) -> None:
    """Give every parameter that learns a momentum of SGD, 0 where it has none yet.

    The first step then makes it the gradient, as always. Without it the fused kernel fails on a
    group in which some have learned before and others begin, such as a head whose classifier
    learned alone.
    """
    if not isinstance(optimizer, SGD):
        return
    for group in optimizer.param_groups:
        learning = [p for p in group["params"] if p.requires_grad and group["momentum"]]
        for parameter in learning:
            if "momentum_buffer" not in optimizer.state[parameter]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


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
    found: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in state.items():
        name, _, entry = key.rpartition("/")
        found.setdefault(name, {})[entry] = value
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for entry, value in found.get(name, {}).items():
                like = parameter.detach() if value.shape == parameter.shape else value
                # A fused kernel wants its count of steps on the device, all others on the CPU.
                device = parameter.device if like is not value or group.get("fused") else None
                placed = torch.empty_like(like, dtype=value.dtype, device=device)
                optimizer.state[parameter][entry] = placed.copy_(value)


def _named_parameters(optimizer: Optimizer) -> Iterator[tuple[str, nn.Parameter]]:
    for group in optimizer.param_groups:
        yield from zip(group["names"], group["params"], strict=True)
