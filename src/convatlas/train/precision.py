"""In what precision a run trains: bfloat16 where the processor multiplies it, once checked.

The decision is made before the first step and travels in the checkpoints, so that a resumed run
goes on as it began, on whatever machine.

On CPUs, oneDNN's bfloat16 gradients of a strided convolution are wrong where the images are
narrower than the stride (1 px wide, stride 2: the last stages of a network that shrinks small
images too often): its kernels take in memory beyond the images. Such networks train in fp32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any
from warnings import warn

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from convatlas.errors import OptionError
from convatlas.train.contracts import Task
from convatlas.train.randomness import kept_random_state, seed_with

__all__ = ["Precision", "check_bf16", "multiplies_bf16", "require_sound_bf16"]

# How far the loss of a batch may be from that in fp32: a share of it, and nats near 0. One
# bfloat16 rounding is 0.4 %; losses of sound networks agree within about 1 %.
_SHARE, _NATS = 0.05, 0.01
_FAR = (
    "the first batch has loss {:.4f} in bfloat16 and {:.4f} in fp32; precision=bf16 takes "
    "bfloat16 all the same"
)
_NARROW = (
    "{} sees {} × {} px with stride {} × {}, and on CPUs the bfloat16 gradient of images narrower "
    "than the stride is wrong"
)


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
        UserWarning: The run trains in fp32, because the losses are further apart than 5 %, or
            because of a convolution whose gradient would be wrong.
    """
    with _narrow(model) as narrow:
        exact, rounded = (_loss(model, task, batch, device, bf16=bf16) for bf16 in (False, True))
    # A loss that is not finite in fp32 either is for the guard of the first step to report.
    close = abs(rounded - exact) <= max(_SHARE * abs(exact), _NATS) or not math.isfinite(exact)
    if close and not (narrow and device.type == "cpu"):
        return Precision("bf16", exact, rounded)
    why = narrow[0] if close else _FAR.format(rounded, exact)
    warn(f"training in fp32: {why}", stacklevel=2)
    return Precision("fp32", exact, rounded)


def require_sound_bf16(model: nn.Module, task: Task, batch: Any, device: torch.device) -> None:
    """Refuse bfloat16 that was asked for where this machine's gradients would be wrong.

    Raises:
        OptionError: A strided convolution sees images narrower than its stride, on a CPU.
    """
    if device.type != "cpu":
        return
    with _narrow(model) as narrow:
        _loss(model, task, batch, device, bf16=False)
    if narrow:
        raise OptionError(f"precision=bf16: {narrow[0]}; take precision=auto or fp32")


@contextmanager
def _narrow(model: nn.Module) -> Iterator[list[str]]:
    """Collect, in words, the convolutions that see images narrower than their stride."""
    found: list[str] = []

    def watch(name: str, conv: nn.Conv2d) -> RemovableHandle:
        def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sides = inputs[0].shape[2:]
            if any(side < step for side, step in zip(sides, conv.stride, strict=True)):
                found.append(_NARROW.format(name, *sides, *conv.stride))

        return conv.register_forward_pre_hook(look)

    strided = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and max(module.stride) > 1
    ]
    handles = [watch(name, conv) for name, conv in strided]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


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
