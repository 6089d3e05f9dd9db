"""What a shape function returns, and the small things that all of them need.

Knows nothing about single operators.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from convatlas.analysis.windows import Window

__all__ = ["META", "Outcome", "Shape", "blank", "present"]

META = torch.device("meta")


class Outcome(NamedTuple):
    """What an operator returns, known without running it.

    Attributes:
        output: A meta tensor, several, or the input itself when nothing new is made.
        inputs: The tensors it reads, in the order of the torch signature, without None.
        window: The sliding window, for convolution and pooling.
    """

    output: Tensor | tuple[Tensor, ...]
    inputs: tuple[Tensor, ...]
    window: Window | None = None


Shape = Callable[..., Outcome | None]


def blank(shape: Sequence[int], like: Tensor) -> Tensor:
    """Return a meta tensor of ``shape`` with the dtype and the memory format of ``like``."""
    if not like.is_contiguous() and len(shape) == 4 == like.dim():
        formats = torch.channels_last
        if like.is_contiguous(memory_format=formats):
            return torch.empty(shape, dtype=like.dtype, device=META, memory_format=formats)
    return torch.empty(shape, dtype=like.dtype, device=META)


def present(*tensors: Tensor | None) -> tuple[Tensor, ...]:
    """Return the tensors without None."""
    return tuple([tensor for tensor in tensors if tensor is not None])
