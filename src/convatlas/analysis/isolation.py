"""Lending a model to an analysis and getting it back exactly as it was.

While the loan lasts, every module is in the mode that is asked and its ``forward`` is replaced
by one that reports which module runs. Afterwards, also when forward raised, the attributes of
every module are the same objects as before: mode flags, hooks, parameters, buffers and
whatever forward assigned. Knows nothing about tensors' shapes or costs.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import is_
from typing import Any

import torch
from torch import nn
from torch.nn.modules.lazy import LazyModuleMixin

from convatlas.errors import OptionError

__all__ = ["lend", "modules_of", "readable", "uncollected"]

Forward = Callable[..., Any]
Frame = Callable[[str, nn.Module, Forward], Forward]


def modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return every distinct module with its path, as ``named_modules`` does but faster."""
    found: dict[nn.Module, str] = {}
    pending: list[tuple[str, nn.Module]] = [("", model)]
    while pending:
        path, module = pending.pop()
        if module in found:
            continue
        found[module] = path
        start = f"{path}." if path else ""
        for name, child in reversed(module._modules.items()):
            if child is not None:
                pending.append((start + name, child))
    return [(path, module) for module, path in found.items()]


def readable(model: nn.Module) -> nn.Module:
    """Return the module inside of ``torch.compile`` and of data parallel wrappers.

    Raises:
        OptionError: No module, or one that nothing can look into.
    """
    if not isinstance(model, nn.Module):
        raise OptionError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    while True:
        if "_orig_mod" in model._modules:
            model = model.get_submodule("_orig_mod")
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            break
    for path, module in modules_of(model):
        name = path or "the model"
        if isinstance(module, torch.jit.ScriptModule):
            raise OptionError(
                f"{name} is TorchScript, which hides its operators: pass the module it came from"
            )
        if isinstance(module, LazyModuleMixin) and module.has_uninitialized_params():
            raise OptionError(
                f"{name} ({type(module).__name__}) has no weights yet: run the model once first"
            )
    return model


@contextmanager
def lend(
    modules: list[tuple[str, nn.Module]], frame: Frame, *, training: bool | None = False
) -> Iterator[None]:
    """Let a block run the modules, framed; gradients are the block's business.

    Args:
        modules: Path and module, each once.
        frame: Turns a module's forward into the one to run meanwhile.
        training: The mode meanwhile; None leaves each module in its own.
    """
    generator, python_generator = torch.get_rng_state(), random.getstate()
    spaces = [space for _, module in modules for space in _spaces(module)]
    before = [(space, space.copy()) for space in spaces if space]
    empty = [space for space in spaces if not space]
    try:
        for path, module in modules:
            own = module.__dict__
            own["forward"] = frame(path, module, _forward_of(module))
            own["training"] = own["training"] if training is None else training
            own["_compiled_call_impl"] = None
        yield
    finally:
        for space, kept in before:
            if len(space) != len(kept) or not all(map(is_, space.values(), kept.values())):
                space.clear()
                space.update(kept)
        for space in empty:
            if space:
                space.clear()
        random.setstate(python_generator)
        torch.set_rng_state(generator)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector from searching what a block makes and lets go without cycles."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _spaces(module: nn.Module) -> tuple[dict[str, Any], ...]:
    """Return the dictionaries that hold all of a module's attributes."""
    own = module.__dict__
    return own, module._parameters, module._buffers, module._modules


def _forward_of(module: nn.Module) -> Forward:
    """Return the module's forward; of a compiled module, the call that it was compiled from."""
    original = module._modules.get("_orig_mod")
    return module.forward if original is None else original
