"""RMSProp as TensorFlow 1 computes it, with which the mobile networks were trained.

It differs from torch's in three places, and a recipe tuned for one does not hold for the other:
epsilon stands inside the root, the mean square begins at 1, and the learning rate is applied
before the momentum, so that steps already on their way keep the rate they were made with.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from convatlas.train.tensorwise import TensorwiseOptimizer

__all__ = ["RMSProp"]


class RMSProp(TensorwiseOptimizer):
    """Steps divided by a running root mean square of the gradient.

    With gradient g, which includes ``weight_decay`` times the parameter w:
    ``s ← d·s + (1 − d)·g²``, ``m ← μ·m + lr·g / √(s + ε)``, ``w ← w − m``.

    Source: ``tf.compat.v1.train.RMSPropOptimizer``; Tieleman & Hinton 2012, lecture 6.5.

    Args:
        groups: Parameters, or groups of them.
        lr: Learning rate.
        momentum: μ.
        decay_rate: d.
        epsilon: ε.
        weight_decay: L2 factor.
    """

    def __init__(
        self,
        groups: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        momentum: float = 0.9,
        decay_rate: float = 0.9,
        epsilon: float = 1e-3,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "decay_rate": decay_rate}
        super().__init__(groups, {**defaults, "epsilon": epsilon, "weight_decay": weight_decay})

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["mean_square"] = torch.ones_like(parameter)
            state["momentum"] = torch.zeros_like(parameter)
        if group["weight_decay"]:
            gradient = gradient.add(parameter, alpha=group["weight_decay"])
        mean_square, momentum = state["mean_square"], state["momentum"]
        mean_square.lerp_(gradient.square(), 1 - group["decay_rate"])
        root = (mean_square + group["epsilon"]).sqrt_()
        momentum.mul_(group["momentum"]).addcdiv_(gradient, root, value=group["lr"])
        parameter.sub_(momentum)
