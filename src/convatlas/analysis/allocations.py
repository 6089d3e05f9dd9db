"""Who holds how many bytes when: every storage from its birth to its death.

A mode watches the operators of a rehearsal on tensors without memory. A storage counts from
the operator that made it until Python or autograd lets go of it, as in a real run: variables
of a forward, skip connections and what the backward needs are all held as long as there.
Knows nothing about networks.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from convatlas.analysis.operation import tensors_in
from convatlas.analysis.workspace import scratch_bytes

__all__ = ["Allocations"]

_CUDA_GRANULE = 512


class Allocations(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Counts the bytes that are held while a block runs.

    Args:
        place: Says where the program is, as (layer, phase).
        device: ``"cpu"``, whose convolutions take scratch memory, or ``"cuda"``, whose
            allocator rounds up.

    Attributes:
        held: Bytes held now.
        gradients: Those of them that are gradients of parameters.
        moments: Layer, phase, ``held`` and ``gradients`` at every operator that allocated.
    """

    def __init__(self, place: Callable[[], tuple[str, str]], device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self.held = self.gradients = 0
        self.moments: list[tuple[str, str, int, int]] = []
        self._place = place
        self._count_scratch = device == "cpu"
        self._granule = 1 if device == "cpu" else _CUDA_GRANULE
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def hold(self, tensors: Iterable[Tensor]) -> int:
        """Count tensors that existed before, and return their bytes."""
        before = self.held
        for tensor in tensors:
            storage = tensor.untyped_storage()
            if storage in self._known:
                continue
            size = self._handed_out(storage.nbytes())
            self._known.add(storage)
            self.held += size
            weakref.finalize(storage, self._release, size).atexit = False
        return self.held - before

    def note_gradient(self, parameter: Tensor) -> None:
        """Count what is held already as the gradient of a parameter."""
        self.gradients += self._handed_out(parameter.numel() * parameter.element_size())

    def _handed_out(self, size: int) -> int:
        """Return the bytes that the allocator takes for ``size``."""
        return -(-size // self._granule) * self._granule

    def _release(self, size: int) -> None:
        self.held -= size

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one aten operator and note what it made."""
        del types
        output = func(*args, **(kwargs or {}))
        new = self.hold(tensors_in((output,)))
        scratch = 0
        if self._count_scratch:
            scratch = scratch_bytes(func.overloadpacket.__name__, args, output)
        if new or scratch:
            self.moments.append((*self._place(), self.held + scratch, self.gradients))
        return output
