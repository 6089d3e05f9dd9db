"""Gradient checkpointing: blocks that are computed again in the backward instead of remembered.

"Training Deep Nets with Sublinear Memory Cost", Tianqi Chen, Bing Xu, Chiyuan Zhang,
Carlos Guestrin, 2016, arXiv 1604.06174. Costs one more forward pass of the blocks; outputs,
gradients and running statistics stay the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

__all__ = ["blocks_of", "checkpointed"]

_CHAINS = (nn.Sequential, nn.ModuleList)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a network: the outermost links of a chain with parts.

    Where links are chains themselves (VGG's stages) and nothing inside has parts, it is
    those.
    """
    links = [
        link
        for chain in model.modules()
        if isinstance(chain, _CHAINS)
        for link in chain
        if next(link.children(), None) is not None
    ]
    blocks = [link for link in links if not isinstance(link, _CHAINS)]
    return _outermost(blocks or links)


@contextmanager
def checkpointed(model: nn.Module) -> Iterator[None]:
    """Let the blocks of ``model`` forget their activations while a block of code trains it."""
    blocks = [(block, block.forward) for block in blocks_of(model)]
    kept = [block.__dict__.get("forward") for block, _ in blocks]
    try:
        for block, forward in blocks:
            block.forward = partial(_run, block, forward)
        yield
    finally:
        for (block, _), own in zip(blocks, kept, strict=True):
            if own is None:
                del block.__dict__["forward"]
            else:
                block.forward = own


def _run(block: nn.Module, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(block)

    # A list that the caller goes on filling must be seen again as it was.
    args = tuple(list(arg) if isinstance(arg, list) else arg for arg in args)
    return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Keep running statistics as the first pass left them while a second one runs."""
    norms = [m for m in block.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(norm, norm.momentum) for norm in norms]
    try:
        for norm in norms:
            norm.momentum = 0.0
            if norm.training and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.sub_(1)
        yield
    finally:
        for norm, momentum in before:
            norm.momentum = momentum


def _outermost(modules: list[nn.Module]) -> list[nn.Module]:
    inner = {part for module in modules for part in module.modules() if part is not module}
    return [module for module in dict.fromkeys(modules) if module not in inner]
