"""Out of memory in a training step: what happened, and the batch that is predicted to fit.

It knows nothing of checkpoints: those written before are as they were.
"""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

import torch

from convatlas.analysis.memory import TrainingMemory, max_batch
from convatlas.errors import ConvAtlasError, OptionError
from convatlas.train.recipe import Recipe
from convatlas.train.state import TrainState

__all__ = ["SAFE_SHARE", "free_bytes", "memory_told", "training_memory"]

SAFE_SHARE = 0.9
"""Of what is free: predictions are up to 9 % off (docs/memory.md), heaps have gaps."""

_CPU_WORDS = ("DefaultCPUAllocator", "not enough memory")  # torch raises a plain RuntimeError


@contextmanager
def memory_told(state: TrainState, shape: tuple[int, ...]) -> Iterator[None]:
    """Turn an exhausted memory into one line.

    Args:
        state: What trains.
        shape: That of the batch, ``(N, C, H, W)``.

    Raises:
        OptionError: The step needs more memory than there is; the message names a batch that
            is predicted to fit.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # the step's tensors are held by its frames
        raise OptionError(_message(state, shape)) from None


def free_bytes(device: torch.device) -> int | None:
    """Return how many bytes tensors could still take on ``device``, None where nobody says."""
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    limits = [limit for limit in (_free_in_machine(), _free_in_process()) if limit is not None]
    return min(limits, default=None) if device.type == "cpu" else None


def training_memory(recipe: Recipe) -> TrainingMemory:
    """Return how a recipe trains, as far as memory goes."""
    return TrainingMemory(_optimizer(recipe), ema=recipe.regularization.ema_decay > 0)


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error) for words in _CPU_WORDS)


def _message(state: TrainState, shape: tuple[int, ...]) -> str:
    state.model.zero_grad(set_to_none=True)
    gc.collect()
    batch, *image = shape
    size = "×".join(map(str, image))
    start = f"out of memory at step {state.steps_done + 1} with {batch} images of {size} at once"
    end = "the run's last checkpoint is as it was"
    free = free_bytes(state.device)
    largest = None if free is None else _largest(state, shape, free)
    if free is None or largest is None or largest >= batch:
        return f"{start}: halve batch_size or free memory; {end}"
    return (
        f"{start}, {free / 1e9:.1f} GB free beside the weights: start anew with "
        f"batch_size={largest}, the largest that is predicted to fit; {end}"
    )


def _largest(state: TrainState, shape: tuple[int, ...], free: int) -> int | None:
    with suppress(ConvAtlasError, MemoryError, RuntimeError):  # advice is all that is lost
        return max_batch(
            state.model,
            int(SAFE_SHARE * free) + _held(state),
            tuple(shape[1:]),
            training=training_memory(state.recipe),
            precision="bfloat16" if state.in_bf16 else "float32",
            channels_last=True,
            device=state.device.type,
        ).batch
    return None


def _held(state: TrainState) -> int:
    """Return the bytes that stay between two steps, which the prediction counts as well."""
    models = [state.model] if state.ema is None else [state.model, state.ema.model]
    tensors = [t for model in models for t in chain(model.parameters(), model.buffers())]
    for entries in state.optimizer.state.values():
        tensors += [entry for entry in entries.values() if isinstance(entry, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _optimizer(recipe: Recipe) -> str:
    """Return the optimizer of the prediction that keeps as many tensors per parameter."""
    momentum = recipe.optimizer.momentum > 0
    if recipe.optimizer.name == "sgd":
        return "momentum" if momentum else "sgd"
    if recipe.optimizer.name == "rmsprop":
        return "adam" if momentum else "momentum"
    return "adamw"


def _free_in_machine() -> int | None:
    with suppress(OSError, StopIteration, ValueError):  # not on every system
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        available = next(line for line in lines if line.startswith("MemAvailable:"))
        return int(available.split()[1]) * 1024
    return None


def _free_in_process() -> int | None:
    """Return what the address-space limit of this process leaves."""
    with suppress(ImportError, OSError, ValueError):
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
            return max(limit - pages * resource.getpagesize(), 0)
    return None
