"""Which tensors of a forward are the model's, which are numbers in the code, and meta twins.

A trace must not compute with real tensors, nor write to them; it computes with twins of the
same shape, dtype and strides that have no memory. The exception are literals: tensors made of
numbers in the forward itself, whose values the forward may want to read back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["StandIns"]

_META = torch.device("meta")


class StandIns:
    """Keeps the real tensors of one forward and what stands for them.

    Args:
        state: The model's parameters and buffers.

    Attributes:
        originals: id of a twin → the tensor that it stands for.
    """

    def __init__(self, state: Iterable[Tensor]) -> None:
        self.originals: dict[int, Tensor] = {}
        self._state = {id(tensor) for tensor in state}
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._literals: dict[int, Tensor] = {}

    @property
    def has_literals(self) -> bool:
        """Whether the forward made any tensor out of plain numbers."""
        return bool(self._literals)

    def are_literals(self, tensors: Iterable[Tensor]) -> bool:
        """Whether all of the tensors were made out of plain numbers."""
        return all(id(tensor) in self._literals for tensor in tensors)

    def keep_literals(self, tensors: Iterable[Tensor]) -> None:
        """Remember tensors that were made out of plain numbers."""
        self._literals.update((id(tensor), tensor) for tensor in tensors)

    def belongs_to_model(self, tensor: Any) -> bool:
        """Whether a write to ``tensor`` would change the model."""
        if not isinstance(tensor, Tensor) or id(tensor) in self._literals:
            return False
        return id(tensor) in self._state or not tensor.is_meta

    def without_memory(self, value: Any) -> Any:
        """Return ``value`` with a twin in the place of every real tensor in it."""
        if isinstance(value, Tensor):
            return value if value.is_meta else self._twin(value)
        if type(value) in (list, tuple):
            return type(value)([self.without_memory(item) for item in value])
        if type(value) is dict:
            return {key: self.without_memory(item) for key, item in value.items()}
        return value

    def _twin(self, tensor: Tensor) -> Tensor:
        """Return the twin of a real tensor, always the same."""
        known = self._twins.get(id(tensor))
        if known is not None:
            return known[1]
        twin = tensor.detach().to(_META)
        self._twins[id(tensor)] = tensor, twin
        self.originals[id(twin)] = tensor
        return twin
