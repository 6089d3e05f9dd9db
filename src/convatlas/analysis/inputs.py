"""How ``analyze`` reads ``input_size``: from a number or a tuple to a meta tensor.

The first convolution in the model says how many spatial axes an input has and how many
channels; knows nothing about what happens to the input afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import index

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError

__all__ = ["make_inputs", "without_memory"]

_Convolution = (
    nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
)


def make_inputs(
    modules: Iterable[nn.Module],
    parameters: Iterable[Tensor],
    input_size: int | Sequence[int],
    in_channels: int | None,
    batch: int,
) -> list[Tensor]:
    """Return the one input that ``input_size`` describes, on the meta device.

    Args:
        modules: The model's modules, in order.
        parameters: The model's parameters; the first floating one gives the dtype.
        input_size: As ``analyze`` documents it.
        in_channels: Channels of the input, or None to ask the first convolution.
        batch: Samples in the input.

    Raises:
        OptionError: A size, number of channels or batch that describes no input.
    """
    if batch < 1:
        raise OptionError(f"batch must be 1 or more, got {batch}")
    first = next((module for module in modules if isinstance(module, _Convolution)), None)
    shape = (batch, *_sample_shape(first, _whole_numbers(input_size), in_channels))
    if min(shape) < 1:
        raise OptionError(f"input_size and in_channels must be positive, got {shape[1:]}")
    floating = (p.dtype for p in parameters if p.dtype.is_floating_point)
    return [torch.empty(shape, dtype=next(floating, None), device="meta")]


def without_memory(inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return a meta tensor for each given input.

    Raises:
        OptionError: An input that is no tensor.
    """
    wrong = [type(tensor).__name__ for tensor in inputs if not isinstance(tensor, Tensor)]
    if wrong or not inputs:
        raise OptionError(f"inputs must be a sequence of tensors, got {wrong or 'none'}")
    return [tensor.detach().to("meta") for tensor in inputs]


def _whole_numbers(input_size: int | Sequence[int]) -> int | tuple[int, ...]:
    try:
        if isinstance(input_size, Iterable):
            return tuple([index(size) for size in input_size])
        return index(input_size)
    except TypeError:
        raise OptionError(
            f"input_size must be a whole number or a tuple of them, got {input_size!r}"
        ) from None


def _sample_shape(
    first: _Convolution | None, input_size: int | tuple[int, ...], in_channels: int | None
) -> tuple[int, ...]:
    """Return the shape of one sample."""
    if first is None:
        return _unconvolved(input_size, in_channels)
    axes = len(first.kernel_size)
    channels = first.in_channels if in_channels is None else in_channels
    if isinstance(input_size, int):
        return channels, *(input_size,) * axes
    if len(input_size) == axes:
        return channels, *input_size
    if len(input_size) == axes + 1 and in_channels in (None, input_size[0]):
        return input_size
    asked = "" if in_channels is None else f" with in_channels={in_channels}"
    raise OptionError(
        f"input_size must be one number, {axes} spatial sizes, or channels and {axes} spatial "
        f"sizes, without the batch; got {input_size}{asked}"
    )


def _unconvolved(input_size: int | tuple[int, ...], in_channels: int | None) -> tuple[int, ...]:
    """Return the sample shape for a model that says nothing about channels or axes."""
    if isinstance(input_size, int):
        return (input_size,) if in_channels is None else (in_channels, input_size, input_size)
    return input_size if in_channels is None else (in_channels, *input_size)
