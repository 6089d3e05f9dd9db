"""In what precision a run trains: bfloat16 where the processor multiplies it, once checked.

The decision is made before the first step and travels in the checkpoints, so that a resumed run
goes on as it began, on whatever machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from warnings import warn

import torch
from torch import nn

from convatlas.train.contracts import Task
from convatlas.train.randomness import kept_random_state, seed_with

__all__ = ["Precision", "check_bf16", "multiplies_bf16"]

# How far the loss of a batch may be from that in fp32: a share of it, and nats near 0. One
# bfloat16 rounding is 0.4 %; losses of sound networks agree within about 1 %.
_SHARE, _NATS = 0.05, 0.01


@dataclass(frozen=True, slots=True)
class Precision:
    """What a run's training steps compute in.

    Attributes:
        name: ``"fp32"`` or ``"bf16"``; under bf16, losses, norms and weights stay fp32.
        fp32_loss: Mean loss of the batch that was checked, in fp32; None when none was.
        bf16_loss: The same in bfloat16.
    """

    name: str
    fp32_loss: float | None = None
    bf16_loss: float | None = None

    @property
    def is_bf16(self) -> bool:
        """Whether steps run under autocast to bfloat16."""
        return self.name == "bf16"

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Precision:
        """Build what :meth:`as_dict` gave."""
        return cls(**values)


def multiplies_bf16(device: torch.device) -> bool:
    """Tell whether ``device`` multiplies bfloat16 in hardware: AMX, AVX512-BF16, tensor cores."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type != "cpu":
        return False
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")  # not in every torch
    return any(getattr(torch.cpu, probe, bool)() for probe in probes)


def check_bf16(model: nn.Module, task: Task, batch: Any, device: torch.device) -> Precision:
    """Choose bfloat16 for a run that is about to start, unless its loss strays from that in fp32.

    One batch goes forward in both; the weights, the statistics of the norms and the generators
    are afterwards as they were.

    Args:
        model: The network, on ``device``.
        task: What the loss is.
        batch: A training batch on ``device``.
        device: Where the run trains.

    Warns:
        UserWarning: The losses are further apart than 5 %, so the run trains in fp32.
    """
    exact, rounded = (_loss(model, task, batch, device, bf16=bf16) for bf16 in (False, True))
    # A loss that is not finite in fp32 either is for the guard of the first step to report.
    close = abs(rounded - exact) <= max(_SHARE * abs(exact), _NATS)
    if close or not math.isfinite(exact):
        return Precision("bf16", exact, rounded)
    warn(
        f"training in fp32: the first batch has loss {rounded:.4f} in bfloat16 and {exact:.4f} in "
        "fp32; precision=bf16 takes bfloat16 all the same",
        stacklevel=2,
    )
    return Precision("fp32", exact, rounded)


def _loss(model: nn.Module, task: Task, batch: Any, device: torch.device, *, bf16: bool) -> float:
    with kept_random_state(device), _unchanged(model), torch.no_grad():
        seed_with("precision", device)
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            loss, _ = task.loss(model, batch)
    return float(loss)


@contextmanager
def _unchanged(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in training mode; afterwards its modes and buffers are as before."""
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    model.train()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
