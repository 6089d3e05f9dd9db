"""Output stride: strides that come too late become dilation (the à-trous algorithm).

Works on any ``ConvNet`` by observing it: each convolution and pooling is told from
a pass over a meta image how much smaller its input is than the image. Knows no family.

Source: Chen et al., "DeepLab", 2016, arXiv 1606.00915, section 3.1.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convatlas.errors import OptionError
from convatlas.layers.conv import EvenConv2d
from convatlas.models.anatomy import ConvNet

__all__ = ["limit_output_stride"]

_PROBE_SIZE = 512
_Window: TypeAlias = nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d


def limit_output_stride(model: ConvNet, output_stride: int) -> ConvNet:
    """Replace strides beyond ``output_stride`` with dilation, in place, and return the model.

    Parameters and names stay as they are. At every ``stride / output_stride``-th position
    the last feature map equals the undilated network's.

    Raises:
        OptionError: Not 8, 16 or 32, or the network reaches the stride within its stem, pools
            with an average, which torch cannot dilate, or shrinks its maps by other means.
    """
    if output_stride not in (8, 16, 32):
        raise OptionError(f"output_stride must be 8, 16 or 32, got {output_stride!r}")
    if model.feature_info[-1].stride <= output_stride:
        return model
    for name, stride_in in _observed_strides(model):
        _dilate(model, name, stride_in, output_stride)
    try:
        reached = _probe(model)
    except RuntimeError as error:
        raise OptionError(
            f"output_stride={output_stride} does not fit this network, whose branches lose "
            "different borders when dilated: use output_stride=32"
        ) from error
    if reached > output_stride:
        raise OptionError(
            f"output_stride={output_stride} does not fit this network, which shrinks its maps by "
            "other means than convolution and pooling: use output_stride=32"
        )
    model.feature_info = tuple(
        replace(feature, stride=min(feature.stride, output_stride))
        for feature in model.feature_info
    )
    return model


def _observed_strides(model: ConvNet) -> list[tuple[str, int]]:
    """Return the name of every window module with the stride at its input."""
    seen: dict[str, int] = {}
    names: dict[nn.Module, str] = {
        module: name for name, module in model.named_modules() if isinstance(module, _Window)
    }

    def note(module: nn.Module, args: tuple[Any, ...]) -> None:
        seen[names[module]] = _stride(args[0])

    hooks = [module.register_forward_pre_hook(note) for module in names]
    try:
        _probe(model)
    finally:
        for hook in hooks:
            hook.remove()
    return list(seen.items())


def _stride(x: Tensor) -> int:
    return 2 ** round(math.log2(_PROBE_SIZE / x.shape[-1]))


def _probe(model: ConvNet) -> int:
    """Run the model on meta images, which costs no memory, and return the last map's stride."""
    maps: list[Tensor] = []
    hook = model.head.register_forward_pre_hook(lambda _, args: maps.append(args[0]))
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    meta = {name: torch.empty_like(value, device="meta") for name, value in state.items()}
    image = torch.empty(2, model.in_channels, _PROBE_SIZE, _PROBE_SIZE, device="meta")
    try:
        functional_call(model, meta, (image,))
    finally:
        hook.remove()
    return _stride(maps[-1])


def _dilate(model: ConvNet, name: str, stride_in: int, output_stride: int) -> None:
    module = cast(_Window, model.get_submodule(name))
    dilation = max(1, stride_in // output_stride)
    stride = _pair(module.stride)[0]
    allowed = min(stride, max(1, output_stride // stride_in))
    if dilation == 1 and allowed == stride:
        return
    if isinstance(module, nn.Conv2d):
        module.stride = (allowed, allowed)
        module.dilation = (dilation, dilation)
        if not isinstance(module.padding, str):
            module.padding = tuple(p * dilation for p in module.padding)
        if type(module) is nn.Conv2d and module.kernel_size[0] % 2 == 0:
            module.__class__ = EvenConv2d  # the same parameters under the same names
    elif isinstance(module, nn.MaxPool2d):
        model.set_submodule(name, _dilated_pool(module, allowed, dilation))
    elif stride > 1 or _pair(module.kernel_size)[0] > 1:
        raise OptionError(
            f"output_stride={output_stride} would dilate the average pooling {name}, which torch "
            "cannot dilate: use output_stride=32"
        )


def _dilated_pool(pool: nn.MaxPool2d, stride: int, dilation: int) -> nn.Module:
    """Return a dilated pooling that keeps the map's size, padding what an unpadded one loses."""
    kernel, before = _pair(pool.kernel_size)[0], _pair(pool.padding)[0] * dilation
    after = max(before, (kernel - 1) * dilation - before)
    if before == after and before <= kernel // 2:
        return nn.MaxPool2d(kernel, stride, before, dilation, ceil_mode=pool.ceil_mode)
    # torch pads a pooling by no more than half its kernel, and both sides alike.
    pad = nn.ConstantPad2d((before, after, before, after), -math.inf)
    return nn.Sequential(pad, nn.MaxPool2d(kernel, stride, 0, dilation, ceil_mode=pool.ceil_mode))


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])
