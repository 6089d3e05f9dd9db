"""Attention in every block of any network that has blocks. Knows no family.

Source: Hu et al., "Squeeze-and-Excitation Networks", 2017, arXiv 1709.01507: a block with a sum
scales its residual branch before the sum (figure 3), any other module its output (figure 2).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call

from convatlas.errors import OptionError
from convatlas.layers.attention import SqueezeExcite
from convatlas.layers.conv import named
from convatlas.layers.init import he_normal
from convatlas.models.anatomy import ConvNet
from convatlas.models.auxiliary import Beside

__all__ = ["attend"]

# What the blocks of the atlas call the attention of their branch, or the last layer of it.
_ENDS = ("attention", "scale", "project", "body", "branch", "expand")
_SLOTS = (nn.Identity, SqueezeExcite)
_CHAIN = nn.Sequential


def attend(model: ConvNet, attention: Callable[[int], nn.Module]) -> ConvNet:
    """Put ``attention(channels)`` into every block, in place of any there; return the model.

    Raises:
        OptionError: The network has no blocks, or ``attention`` cannot be called.
    """
    if isinstance(attention, nn.Module) or not callable(attention):
        got = type(attention).__name__ if isinstance(attention, nn.Module) else repr(attention)
        made = " already made" * isinstance(attention, nn.Module)
        raise OptionError(
            f"attention must make a module of channels, got {got}{made}: pass a class"
        )
    blocks = [b for i, stage in enumerate(model.stages) for b in _blocks(f"stages.{i}", stage)]
    inner = [b for b in blocks if b.count(".") > 1 or type(model.get_submodule(b)) is not _CHAIN]
    # A net without blocks in its stages, such as VGG, repeats the stages themselves.
    found = inner or blocks * (len(blocks) > 1)
    places = _channels(model, [_end(model, block) for block in found])
    if not places:
        raise OptionError(
            "attention needs a network of blocks, which this one is not: leave it out"
        )
    for path, channels in places.items():
        part, place = attention(channels), model.get_submodule(path)
        if list(part.parameters()):
            he_normal(part)
        if isinstance(place, _CHAIN):
            place.add_module("attention", part)
        else:
            slot = isinstance(place, _SLOTS)
            model.set_submodule(path, part if slot else named(block=place, attention=part))
    return model


def _blocks(path: str, module: nn.Module) -> list[str]:
    """Return the paths of the blocks within a module, or its own if it is one."""
    children = module.named_children() if type(module) is _CHAIN else ()
    inner = [block for name, child in children for block in _blocks(f"{path}.{name}", child)]
    layers = sum(isinstance(m, nn.Conv2d | nn.Linear) for m in module.modules())
    is_block = layers > 1 or (layers == 1 and any(hasattr(module, name) for name in _ENDS))
    return inner or ([path] if is_block and not isinstance(module, Beside) else [])


def _end(model: nn.Module, path: str) -> str:
    """Return where the branch of the block at ``path`` ends, or the path if it has none."""
    parts = dict(model.get_submodule(path).named_children())
    if not isinstance(parts.get("attention", nn.Identity()), _SLOTS):
        return path
    return next((f"{path}.{name}" for name in _ENDS if name in parts), path)


def _channels(model: ConvNet, paths: list[str]) -> dict[str, int]:
    """Return the channels of each module's output, from a pass over meta images."""
    seen: dict[str, int] = {}

    def note(path: str, _: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor):  # searched cells hand on two maps
            seen[path] = output.shape[1]

    hooks = [model.get_submodule(p).register_forward_hook(partial(note, p)) for p in paths]
    state = [*model.named_parameters(), *model.named_buffers()]
    meta = {name: torch.empty_like(value, device="meta") for name, value in state}
    size = (max(64, model.min_input_size),) * 2
    try:
        functional_call(model, meta, (torch.empty(2, model.in_channels, *size, device="meta"),))
    finally:
        for hook in hooks:
            hook.remove()
    return seen
