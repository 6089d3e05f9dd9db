"""The receptive field of a tensor, and how the fields of several tensors join.

Knows nothing about single operators: ``field_rules`` and ``field_layout`` hold their rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor

from convatlas.analysis.operation import Operation
from convatlas.analysis.receptive_field import Axis, identity_axis, union

__all__ = ["GATE", "STATISTICS", "Field", "Source", "combined", "input_field", "joined", "lost"]

GATE = "combined with a value that all positions share; the size is the local path's"
STATISTICS = "normalised by statistics of the whole map; the size is the local path's"


@dataclass(frozen=True, slots=True, eq=False)
class Field:
    """The receptive field of one tensor.

    Attributes:
        dims: The tensor's spatial dimensions; (2, 3) for N, C, H, W.
        axes: The field along each of them; empty when it is not local or not known.
        note: Why there is no field, or what the field leaves out.
    """

    dims: tuple[int, ...]
    axes: tuple[Axis, ...]
    note: str = ""

    def moved(self, dims: Iterable[int]) -> Field:
        """Return the same field of a tensor that has its spatial axes elsewhere."""
        return Field(tuple(dims), self.axes, self.note)


Source = tuple[Tensor, Field]


def lost(reason: str) -> Field:
    """Return the field of a tensor that has none."""
    return Field((), (), reason)


def input_field(tensor: Tensor) -> Field:
    """Return the field of the model's input: each pixel sees itself."""
    dims = tuple(range(2, tensor.dim()))
    if not dims:
        return lost("the input has no spatial axes")
    return Field(dims, (identity_axis(),) * len(dims))


def joined(dims: tuple[int, ...], axes: Iterable[Axis | None], note: str, reason: str) -> Field:
    """Return the field along ``axes``, or none for ``reason`` if one of them is unknown."""
    known = tuple([axis for axis in axes if axis is not None])
    return Field(dims, known, note) if len(known) == len(dims) else lost(reason)


def combined(op: Operation, sources: Sequence[Source], output: Tensor | None = None) -> Field:
    """Join the inputs of arithmetic or of a concatenation: the union of what they see.

    An input that is the same at all positions (a gate, a pooled context) leaves the others'
    field as it is, with a note; any other input without a field takes the field away.
    ``output`` is a tensor of the joint shape, the operation's own when None.
    """
    output = op.outputs[0] if output is None else output
    local, shared = _by_extent(output, sources)
    if not local:
        return lost(next((field.note for _, field in sources if field.note), "no local input"))
    dims = local[0].dims
    for tensor, field in shared:
        shift = output.dim() - tensor.dim()
        if any(dim >= shift and not _is_shared(tensor, dim - shift) for dim in dims):
            return lost(field.note or f"{op.operator} repeats a map along one axis only")
    whole = local[0]
    for field in local[1:]:
        if field.dims != dims:
            return lost(f"{op.operator} joins maps with different axes")
        whole = _union(whole, field)
    if shared and whole.axes:
        return Field(dims, whole.axes, whole.note or GATE)
    return whole


def _is_shared(tensor: Tensor, dim: int) -> bool:
    """Whether all positions along ``dim`` hold one value: a size of 1, also when expanded."""
    return tensor.shape[dim] == 1 or tensor.stride(dim) == 0


def _by_extent(output: Tensor, sources: Sequence[Source]) -> tuple[list[Field], list[Source]]:
    """Split the inputs into those with a field at each position of the output, and others."""
    local, shared, sizes = [], [], output.shape
    for tensor, field in sources:
        shape = tensor.shape
        shift = len(sizes) - len(shape)
        same = shape == sizes or all(shape[dim] == sizes[dim + shift] for dim in field.dims)
        if field.axes and same:
            local.append(field.moved(dim + shift for dim in field.dims) if shift else field)
        else:
            shared.append((tensor, field))
    return local, shared


def _union(one: Field, other: Field) -> Field:
    if one.axes == other.axes:
        return one if one.note else other
    axes = [union(a, b) for a, b in zip(one.axes, other.axes, strict=True)]
    note = one.note or other.note
    if note == one.note and tuple(axes) == one.axes:
        return one
    return joined(one.dims, axes, note, "branches with different strides meet")
