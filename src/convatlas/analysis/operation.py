"""What a trace is made of: calls of modules, and the operations that ran inside them.

Costs, receptive fields and, later, memory over time are all functions of these records.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from convatlas.analysis.windows import Window

__all__ = ["Call", "Operation", "tensors_in"]


@dataclass(slots=True, eq=False)
class Call:
    """One run of one module's forward.

    Attributes:
        path: Where the module is in the model (``"stages.0.1.conv2"``), "" for the model.
        module_type: Name of its class.
        is_leaf: Whether it has no modules of its own.
    """

    path: str
    module_type: str
    is_leaf: bool


@dataclass(slots=True, eq=False)
class Operation:
    """One operator that ran; its tensors have shapes and dtypes but no memory.

    Attributes:
        operator: Its name, such as ``"conv2d"``.
        call: The innermost module call that ran it.
        inputs: The tensors it read, in the order of the operator's signature: activations,
            parameters (or their meta twins) and constants.
        outputs: The tensors it returned; an in-place operator returns an input.
        allocated: Those outputs that need memory of their own.
        window: The sliding window, for convolution and pooling.
        args: Its positional arguments.
        kwargs: Its keyword arguments.
        parts: The aten operators that it ran, if it was broken down into them.
    """

    operator: str
    call: Call
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    allocated: tuple[Tensor, ...]
    window: Window | None
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    parts: tuple[Operation, ...] = ()

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument by its place or by its name in torch's signature."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)


def tensors_in(values: Iterable[Any]) -> Iterator[Tensor]:
    """Yield the tensors among ``values``, also those inside lists, tuples and dicts."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from tensors_in(value)
        elif isinstance(value, dict):
            yield from tensors_in(value.values())
