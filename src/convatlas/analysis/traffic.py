"""Bytes that an operation moves: every operand read once, every result written once.

That is the least traffic possible, as if each operation started with a cold cache of
unlimited size; real traffic is larger where a cache is too small for a window's reuse.
Source of the idea: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. Knows
nothing about FLOPs.
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from convatlas.analysis.formulas import FORMULAS
from convatlas.analysis.operation import Operation
from convatlas.analysis.operators import MOVES

__all__ = ["Traffic", "tensor_bytes", "traffic_of"]

# Moves that write into their first argument; every other in-place move returns it as it was.
_WRITES = frozenset(("setitem", "copy", "fill", "zero", "masked_fill", "index_put", "scatter"))


class Traffic(NamedTuple):
    """Bytes that an operation reads and writes."""

    read: int
    written: int


def tensor_bytes(tensor: Tensor) -> int:
    """Return the bytes of a tensor's elements."""
    return tensor.nbytes


def traffic_of(op: Operation) -> Traffic:
    """Return the least traffic of ``op``; views move nothing, a copy reads what it writes."""
    if op.parts and op.operator not in FORMULAS:
        parts = [traffic_of(part) for part in op.parts]
        return Traffic(sum([part.read for part in parts]), sum([part.written for part in parts]))
    if op.operator in MOVES:
        return _moved(op)
    inputs = op.inputs if len(op.inputs) < 2 else {id(t): t for t in op.inputs}.values()
    return Traffic(sum([t.nbytes for t in inputs]), sum([t.nbytes for t in op.outputs]))


def _moved(op: Operation) -> Traffic:
    if op.operator in _WRITES and not op.allocated:
        source = op.inputs[-1] if len(op.inputs) > 1 else None
        written = tensor_bytes(op.outputs[0] if source is None else source)
        return Traffic(0 if source is None else written, written)
    written = sum([tensor_bytes(tensor) for tensor in op.allocated])
    return Traffic(written if op.inputs else 0, written)
