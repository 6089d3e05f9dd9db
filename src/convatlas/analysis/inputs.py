"""How ``analyze`` reads ``input_size``: from a number or a tuple to a meta tensor.

The first convolution in the model says how many spatial axes an input has and how many
channels; knows nothing about what happens to the input afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from convatlas.errors import OptionError

__all__ = ["make_inputs"]

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
    shape = (batch, *_sample_shape(first, input_size, in_channels))
    if min(shape) < 1:
        raise OptionError(f"input_size and in_channels must be positive, got {shape[1:]}")
    floating = (p.dtype for p in parameters if p.dtype.is_floating_point)
    return [torch.empty(shape, dtype=next(floating, None), device="meta")]


def _sample_shape(
    first: _Convolution | None, input_size: int | Sequence[int], in_channels: int | None
) -> tuple[int, ...]:
    """Return the shape of one sample."""
    if first is None:
        whole = (input_size,) if isinstance(input_size, int) else tuple(input_size)
        return whole if in_channels is None else _with_channels(in_channels, whole)
    axes = len(first.kernel_size)
    channels = first.in_channels if in_channels is None else in_channels
    if isinstance(input_size, int):
        return channels, *(input_size,) * axes
    sizes = tuple(input_size)
    if len(sizes) == axes:
        return channels, *sizes
    if len(sizes) == axes + 1 and in_channels in (None, sizes[0]):
        return sizes
    raise OptionError(
        f"input_size must be one number, {axes} spatial sizes or channels and {axes} spatial "
        f"sizes without the batch, got {sizes}"
        + ("" if in_channels is None else f" with in_channels={in_channels}")
    )


def _with_channels(in_channels: int, sizes: tuple[int, ...]) -> tuple[int, ...]:
    """Put the channels before the sizes; one number then means a square image."""
    return (in_channels, *sizes) if len(sizes) > 1 else (in_channels, *sizes * 2)
