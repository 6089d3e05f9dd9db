"""Who ran what on which shapes: one forward pass over tensors without memory.

Two modes listen. The upper one hears every call of a torch function and answers it from
``SHAPES`` or, failing that, by running it on meta tensors. The lower one hears the aten
operators that reach the dispatcher otherwise: inside a function without a formula, whose
parts they become, and inside TorchScript, which never asks the upper mode. The result is a
flat list of operations in execution order. Knows nothing about costs or receptive fields.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._C import _DisableTorchDispatch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from convatlas.analysis.operation import Call, Operation, tensors_in
from convatlas.analysis.operators import (
    DEVICE_MOVES,
    FACTORIES,
    LITERALS,
    VALUE_READS,
    Identity,
    identify,
)
from convatlas.analysis.shapes import SHAPES
from convatlas.analysis.stand_ins import StandIns
from convatlas.analysis.windows import ShapeError

__all__ = ["Trace", "TraceError", "listen"]

_META = torch.device("meta")
_UNANSWERED = object()


class TraceError(Exception):
    """Something that a forward without data cannot do; the message says what."""


class Trace:
    """The record of one forward.

    Args:
        whole: Operators with a formula; every other one also gets as parts the aten
            operators that it runs.
        state: The model's parameters and buffers. In-place updates of them are skipped,
            because only training makes them.

    Attributes:
        operations: What ran, in execution order.
        stand_ins: What stands for the real tensors.
        calls: The module calls that are running, the innermost one last.
        failed_in: The innermost module call that an exception left, if any.
    """

    def __init__(self, whole: Container[str], state: Iterable[Tensor]) -> None:
        self.operations: list[Operation] = []
        self.stand_ins = StandIns(state)
        self.failed_in: Call | None = None
        self.whole = whole
        self.calls = [Call("", "", False)]

    def framed(
        self, path: str, module: nn.Module, forward: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Return ``forward`` with everything that it runs attributed to ``module``."""
        calls, module_type, is_leaf = self.calls, type(module).__name__, not module._modules

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

    def record(
        self,
        operator: str,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parts: tuple[Operation, ...] = (),
    ) -> None:
        """Append one operation of the innermost module call, which ran on meta tensors."""
        allocated, call = _new_storage(inputs, outputs), self.calls[-1]
        self.operations.append(
            Operation(operator, call, inputs, outputs, allocated, None, args, kwargs, parts)
        )


@contextmanager
def listen(trace: Trace) -> Iterator[None]:
    """Record into ``trace`` whatever a block runs."""
    with _LowerMode(trace), _UpperMode(trace):
        yield


class _UpperMode(TorchFunctionMode):
    """Answers calls of torch functions."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace
        self._stand_ins = trace.stand_ins

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Answer one call."""
        del types
        kwargs, identity = kwargs or {}, identify(func)
        muted = _DisableTorchDispatch()  # what happens in here is heard already
        try:
            if identity.query:
                return _ask(identity.operator, func, args, kwargs)
            if "input" in kwargs:
                args = (kwargs.pop("input"), *args)
            output = self._answer(identity, func, args, kwargs)
            if output is not _UNANSWERED:
                return output
            args, kwargs = self._prepared(identity, args, kwargs)
            if identity.operator in self._trace.whole:
                return self._run(identity, func, args, kwargs)
        finally:
            del muted
        return self._run(identity, func, args, kwargs)

    def _answer(
        self,
        identity: Identity,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Answer without running anything on meta tensors, or return ``_UNANSWERED``."""
        operator, stand_ins = identity.operator, self._stand_ins
        if identity.in_place and stand_ins.belongs_to_model(args[0]):
            return args[0]
        if stand_ins.has_literals or operator in LITERALS:
            tensors = list(tensors_in((args, kwargs)))
            if stand_ins.are_literals(tensors) and (tensors or operator in LITERALS):
                kwargs.pop("device", None)
                output = func(*args, **kwargs)
                stand_ins.keep_literals(tensors_in((output,)))
                return output
        if operator in SHAPES:
            return self._shaped(identity, args, kwargs)
        return _UNANSWERED

    def _shaped(self, identity: Identity, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Answer an operator from its shape function."""
        try:
            outcome = SHAPES[identity.operator](*args, **kwargs)
        except TypeError:  # a form of the call that the shape function does not know
            return _UNANSWERED
        if outcome is None:
            return _UNANSWERED
        output, inputs, window = outcome
        outputs = (output,) if isinstance(output, Tensor) else output
        if identity.in_place:
            before, after = args[0].shape, outputs[0].shape
            if before != after:
                raise ShapeError(f"cannot write {tuple(after)} into {tuple(before)}")
            output, outputs = args[0], args[:1]
        allocated = outputs if outputs[0] is not inputs[0] else ()
        operator, trace = identity.operator, self._trace
        call = trace.calls[-1]
        trace.operations.append(
            Operation(operator, call, inputs, outputs, allocated, window, args, kwargs)
        )
        return output

    def _prepared(
        self, identity: Identity, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return arguments that are safe to run: no real tensors, no real device."""
        args, kwargs = self._stand_ins.without_memory(args), self._stand_ins.without_memory(kwargs)
        if identity.operator in FACTORIES or "device" in kwargs:
            kwargs.pop("generator", None)
            kwargs["device"] = _META
        return args, kwargs

    def _run(
        self,
        identity: Identity,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run an operator on meta tensors; what the lower mode hears become its parts."""
        operator, operations = identity.operator, self._trace.operations
        before = len(operations)
        try:
            output = _cast(*args, **kwargs) if operator in DEVICE_MOVES else func(*args, **kwargs)
        except NotImplementedError as error:
            raise TraceError(_unshaped(operator)) from error
        parts = tuple(operations[before:])
        del operations[before:]
        outputs = args[:1] if identity.in_place else tuple(tensors_in((output,)))
        if outputs:
            inputs = tuple(tensors_in((args, kwargs)))
            self._trace.record(operator, inputs, outputs, args, kwargs, parts)
        return output


class _LowerMode(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's is untyped
    """Records the aten operators that the upper mode did not answer."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's is untyped
        self._trace = trace

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run one aten operator on meta tensors and record it."""
        del types
        stand_ins, operator = self._trace.stand_ins, identify(func).operator
        args, kwargs = stand_ins.without_memory(args), stand_ins.without_memory(kwargs or {})
        if "device" in kwargs:
            kwargs["device"] = _META
        try:
            with torch._C.DisableTorchFunction():  # meta kernels in Python call torch, too
                output = func(*args, **kwargs)
        except NotImplementedError as error:
            raise TraceError(_unshaped(operator)) from error
        outputs = tuple(tensors_in((output,)))
        if outputs:
            self._trace.record(operator, tuple(tensors_in((args, kwargs))), outputs, args, kwargs)
        return output


def _ask(
    operator: str, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Answer a question about a tensor, unless it is about values that do not exist."""
    if operator in VALUE_READS and any(tensor.is_meta for tensor in tensors_in(args)):
        raise TraceError(
            f"reads the values of a tensor ({operator.strip('_')}), and an analysis has shapes "
            "only: analyse the modules that do not"
        )
    return func(*args, **kwargs)


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
