"""Scratch memory of convolutions on the CPU, which no tensor of the model shows.

oneDNN computes in a blocked layout, 16 channels together. An image in torch's ordinary
layout is copied into it, so is the weight, and the result is copied back; in half precision
a dense convolution accumulates in single precision. Seen in the allocator's events of torch
2.13; ``benchmarks/memory.py`` holds the sums against it. Knows nothing about modules.
"""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from torch import Tensor

__all__ = ["scratch_bytes"]

_BLOCK = 16


def scratch_bytes(operator: str, args: tuple[Any, ...], output: Any) -> int:
    """Return the bytes that an aten operator allocates and frees beside its outputs.

    Args:
        operator: Name such as ``"convolution"``.
        args: The operator's positional arguments.
        output: What it returned.
    """
    if operator == "convolution":
        return _forward(args[0], args[1], output, groups=args[8])
    if operator == "convolution_backward":
        return _backward(args[0], args[1], args[2])
    return 0


def _forward(x: Tensor, weight: Tensor, output: Tensor, groups: int) -> int:
    if _is_channels_last(x):
        return _bytes(weight)
    is_depthwise = groups == x.shape[1]
    accumulators = 2 if x.element_size() == 2 and not is_depthwise else 1
    operands = _blocked(x) if x.shape[1] > 3 else 0
    return max(operands + _bytes(weight), accumulators * _blocked(output))


def _backward(gradient: Tensor, x: Tensor, weight: Tensor) -> int:
    if _is_channels_last(x):
        return 2 * _bytes(weight)
    extra = _blocked(x) if x.element_size() == 2 else 0
    return _blocked(gradient) + _blocked(x) + _bytes(weight) + extra


def _blocked(image: Tensor) -> int:
    channels = -(-image.shape[1] // _BLOCK) * _BLOCK
    return image.shape[0] * channels * prod(image.shape[2:]) * image.element_size()


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _is_channels_last(image: Tensor) -> bool:
    return image.dim() == 4 and image.is_contiguous(memory_format=torch.channels_last)
