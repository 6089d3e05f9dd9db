"""LAMB: Adam whose step on each layer is as long as the layer's weights ask for.

"Large Batch Optimization for Deep Learning: Training BERT in 76 minutes", Yang You and others,
2020, arXiv:1904.00962, algorithm 2. As in the authors' code, parameters without weight decay,
which are norms and biases, take plain Adam steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from convatlas.train.tensorwise import TensorwiseOptimizer

__all__ = ["LAMB"]


class LAMB(TensorwiseOptimizer):
    """Layer-wise adaptive moments.

    With the bias-corrected first and second moments m and v of the gradient of a parameter x:
    ``u = m / (√v + ε) + λ·x`` and ``x ← x − lr · (‖x‖ / ‖u‖) · u``. The ratio of the norms is 1
    where one of them is 0, and where λ is.

    Args:
        groups: Parameters, or groups of them.
        lr: Learning rate.
        betas: Shares of the first and the second moment that each step keeps.
        epsilon: ε.
        weight_decay: λ.
    """

    def __init__(
        self,
        groups: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        epsilon: float = 1e-6,
        weight_decay: float = 0.01,
    ) -> None:
        defaults = {"lr": lr, "betas": betas, "epsilon": epsilon, "weight_decay": weight_decay}
        super().__init__(groups, defaults)

    def _move(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        first, second = group["betas"]
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)  # on the CPU, where reading it waits for no device
            state["mean"] = torch.zeros_like(parameter)
            state["mean_square"] = torch.zeros_like(parameter)
        state["step"] += 1
        steps = state["step"].item()
        state["mean"].lerp_(gradient, 1 - first)
        state["mean_square"].lerp_(gradient.square(), 1 - second)
        root = (state["mean_square"] / (1 - second**steps)).sqrt_().add_(group["epsilon"])
        update = (state["mean"] / (1 - first**steps)).div_(root)
        if group["weight_decay"]:
            update.add_(parameter, alpha=group["weight_decay"])
            update.mul_(_ratio(parameter, update))
        parameter.sub_(update, alpha=group["lr"])


def _ratio(parameter: Tensor, update: Tensor) -> Tensor:
    """Return ‖parameter‖ / ‖update‖, or 1 where one of them is 0; stays on the device."""
    length, step = torch.linalg.vector_norm(parameter), torch.linalg.vector_norm(update)
    return torch.where((length > 0) & (step > 0), length / step, torch.ones_like(length))
