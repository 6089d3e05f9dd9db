"""Who ran what on which shapes: one forward pass over tensors without memory.

A torch-function mode answers each operator from ``SHAPES`` or, failing that, runs it on meta
tensors. Parameters and buffers are seen through meta twins, so nothing of an activation's
size is ever allocated and nothing of the model is written. The result is a flat list of
operations in execution order. Knows nothing about costs or receptive fields.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convatlas.analysis.operation import Call, Operation, tensors_in
from convatlas.analysis.operators import (
    DEVICE_MOVES,
    FACTORIES,
    LITERALS,
    VALUE_READS,
    identify,
)
from convatlas.analysis.shapes import SHAPES
from convatlas.analysis.windows import ShapeError, Window

__all__ = ["TraceError", "Tracer"]

_META = torch.device("meta")
_NO_KEYWORDS: Mapping[str, Any] = MappingProxyType({})


class TraceError(Exception):
    """Something that a forward without data cannot do; the message says what."""


class Tracer(TorchFunctionMode):
    """Records every operator of the code that runs while it is active.

    Args:
        whole: Operators with a formula; every other one also gets as parts the aten
            operators that it runs.
        state: The model's parameters and buffers. In-place updates of them are skipped,
            because only training makes them.

    Attributes:
        operations: What ran, in execution order.
        originals: id of a meta twin → the parameter or buffer that it stands for.
        failed_in: The innermost module call that an exception left, if any.
    """

    def __init__(self, whole: Container[str], state: Iterable[Tensor]) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.originals: dict[int, Tensor] = {}
        self.failed_in: Call | None = None
        self._whole = whole
        self._calls = [Call("", "", False)]
        self._state = {id(tensor) for tensor in state}
        self._seen = set(self._state)
        self._twins: dict[int, tuple[Tensor, Tensor]] = {}
        self._literals: dict[int, Tensor] = {}

    def framed(
        self, path: str, module: nn.Module, forward: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return ``forward`` with everything that it runs attributed to ``module``."""
        calls, module_type, is_leaf = self._calls, type(module).__name__, not module._modules

        def run(*args: Any, **kwargs: Any) -> Any:
            call = Call(path, module_type, is_leaf)
            calls.append(call)
            try:
                return forward(*args, **kwargs)
            except BaseException:
                self.failed_in = self.failed_in or call
                raise
            finally:
                calls.pop()

        return run

    def introduce(self, tensors: Iterable[Tensor]) -> None:
        """Make the tensors known that come from outside: the model's inputs."""
        self._seen.update(map(id, tensors))

    def claim(self, tensors: Iterable[Tensor]) -> None:
        """Record an ``unseen`` operation for each meta tensor that no recorded operator made.

        TorchScript and other compiled code run operators that no mode can see.
        """
        for tensor in tensors:
            if id(tensor) in self._seen or not tensor.is_meta:
                continue
            storage = tensor.untyped_storage()._cdata
            sources = (t for op in self.operations for t in (*op.inputs, *op.outputs))
            same = [t for t in sources if t.is_meta and t.untyped_storage()._cdata == storage]
            self._append("alias" if same else "unseen", tuple(same[-1:]), (tensor,))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call of torch."""
        del types
        kwargs = kwargs or {}
        operator, in_place, query = identify(func)
        if query:
            return self._ask(operator, func, args, kwargs)
        if "input" in kwargs:
            args = (kwargs.pop("input"), *args)
        if in_place and self._belongs_to_model(args[0]):
            return args[0]
        if (self._literals or operator in LITERALS) and self._is_literal(operator, args, kwargs):
            return self._compute(func, args, kwargs)
        output = self._shaped(operator, in_place, args, kwargs) if operator in SHAPES else None
        if output is None:
            return self._executed(func, args, kwargs)
        return output

    def record_aten(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> None:
        """Record one aten operator that an operator without a formula ran."""
        self._append(
            identify(func).operator,
            tuple(tensors_in((args, kwargs))),
            tuple(tensors_in((output,))),
            args=args,
            kwargs=kwargs,
        )

    def _ask(
        self,
        operator: str,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Answer a question about a tensor, unless it is about values that do not exist."""
        if operator in VALUE_READS and any(tensor.is_meta for tensor in tensors_in(args)):
            raise TraceError(
                f"reads the values of a tensor ({operator.strip('_')}), and an analysis has "
                "shapes only: analyse the modules that do not"
            )
        return func(*args, **kwargs)

    def _belongs_to_model(self, tensor: Any) -> bool:
        if not isinstance(tensor, Tensor) or id(tensor) in self._literals:
            return False
        return id(tensor) in self._state or not tensor.is_meta

    def _is_literal(self, operator: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether all operands are numbers written in the code: ``torch.tensor(2.0) * 3``."""
        tensors = list(tensors_in((args, kwargs)))
        if not tensors:
            return operator in LITERALS
        return all(id(tensor) in self._literals for tensor in tensors)

    def _compute(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run for real what ``_is_literal`` found: forward may read such values."""
        kwargs.pop("device", None)
        output = func(*args, **kwargs)
        self._literals.update((id(tensor), tensor) for tensor in tensors_in((output,)))
        return output

    def _shaped(
        self, operator: str, in_place: bool, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Answer an operator from its shape function, or return None."""
        try:
            outcome = SHAPES[operator](*args, **kwargs)
        except TypeError:  # a form of the call that the shape function does not know
            return None
        if outcome is None:
            return None
        output, inputs, window = outcome
        outputs = (output,) if isinstance(output, Tensor) else output
        if in_place:
            before, after = args[0].shape, outputs[0].shape
            if before != after:
                raise ShapeError(f"cannot write {tuple(after)} into {tuple(before)}")
            outputs = output = args[:1]
        self._append(operator, inputs, outputs, window, args, kwargs)
        return outputs[0] if in_place else output

    def _executed(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run an operator on meta tensors and record it."""
        operator, in_place, _ = identify(func)
        args, kwargs = self._without_memory(args), self._without_memory(kwargs)
        if operator in FACTORIES or "device" in kwargs:
            kwargs.pop("generator", None)
            kwargs["device"] = _META
        parts: tuple[Operation, ...] = ()
        try:
            if operator in DEVICE_MOVES:
                output = _cast(*args, **kwargs)
            elif operator in self._whole:
                output = func(*args, **kwargs)
            else:
                output, parts = self._broken_down(func, args, kwargs)
        except NotImplementedError as error:
            raise TraceError(_unshaped(operator)) from error
        outputs = args[:1] if in_place else tuple(tensors_in((output,)))
        if outputs:
            inputs = tuple(tensors_in((args, kwargs)))
            self._append(operator, inputs, outputs, None, args, kwargs)
            self.operations[-1].parts = parts
        return output

    def _broken_down(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, tuple[Operation, ...]]:
        """Run an operator without a formula; return also the aten operators that it ran."""
        before = len(self.operations)
        with _Breakdown(self):
            output = func(*args, **kwargs)
        parts = tuple(self.operations[before:])
        del self.operations[before:]
        return output, parts

    def _without_memory(self, value: Any) -> Any:
        """Return ``value`` with a meta tensor in the place of every real one."""
        if isinstance(value, Tensor):
            return value if value.is_meta else self._twin(value)
        if type(value) in (list, tuple):
            return type(value)([self._without_memory(item) for item in value])
        if type(value) is dict:
            return {key: self._without_memory(item) for key, item in value.items()}
        return value

    def _twin(self, tensor: Tensor) -> Tensor:
        """Return the meta tensor that stands for a real one, always the same."""
        known = self._twins.get(id(tensor))
        if known is not None:
            return known[1]
        twin = tensor.detach().to(_META)
        self._twins[id(tensor)] = tensor, twin
        self.originals[id(twin)] = tensor
        self._seen.add(id(twin))
        return twin

    def _append(
        self,
        operator: str,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        window: Window | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] = _NO_KEYWORDS,
    ) -> None:
        if not self._seen.issuperset(map(id, inputs)):
            self.claim(inputs)
        if operator in SHAPES:
            allocated = outputs if outputs[0] is not inputs[0] else ()
        else:
            allocated = _new_storage(inputs, outputs)
        self._seen.update(map(id, outputs))
        call = self._calls[-1]
        self.operations.append(
            Operation(operator, call, inputs, outputs, allocated, window, args, kwargs)
        )


class _Breakdown(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Passes every aten operator on to a tracer."""

    def __init__(self, tracer: Tracer) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self._tracer = tracer

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one aten operator and record it."""
        del types
        output = func(*args, **(kwargs or {}))
        self._tracer.record_aten(func, args, kwargs or {}, output)
        return output


def _cast(
    x: Tensor,
    *others: Any,
    memory_format: torch.memory_format | None = None,
    copy: bool = False,
    **keywords: Any,
) -> Tensor:
    """Change the dtype as ``Tensor.to`` would, and leave the device alone."""
    dtype = x.dtype
    for other in (*others, *keywords.values()):
        if isinstance(other, torch.dtype):
            dtype = other
        elif isinstance(other, Tensor):
            dtype = other.dtype
    if memory_format is None:
        return x.to(dtype, copy=copy)
    return x.to(dtype, copy=copy, memory_format=memory_format)


def _unshaped(operator: str) -> str:
    """Say why an operator cannot run without data."""
    if "::" in operator:
        return (
            f"calls {operator}, which has no meta kernel, so the shape of its output is not "
            "known: register one with torch.library.register_fake"
        )
    return (
        f"calls {operator}, whose output has a shape that depends on values, and an analysis "
        "has shapes only: analyse the modules that do not"
    )


def _new_storage(inputs: tuple[Tensor, ...], outputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return the outputs that are neither inputs nor views of them."""
    taken = {tensor.untyped_storage()._cdata for tensor in inputs if tensor.is_meta}
    return tuple([t for t in outputs if t.untyped_storage()._cdata not in taken])
