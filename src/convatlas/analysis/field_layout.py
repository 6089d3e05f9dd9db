"""Receptive field rules of operators that move, split, join or reduce a tensor's axes.

The field itself stays; what changes is where the spatial axes are. Where positions are mixed
it is lost, with the reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from convatlas.analysis.field import Field, Source, combined, lost
from convatlas.analysis.operation import Operation
from convatlas.analysis.receptive_field import Axis, slide

__all__ = [
    "concatenated",
    "expanded",
    "indexed",
    "normalised",
    "permuted",
    "reduced",
    "removed",
    "reshaped",
    "split",
    "stacked",
]


def reshaped(op: Operation, sources: Sequence[Source]) -> Field:
    """Keep the field if every spatial axis survives whole: same size, same number before it."""
    tensor, field = sources[0]
    before, after = tensor.shape, op.outputs[0].shape
    starts = [prod(after[:dim]) for dim in range(len(after))]
    dims: list[int] = []
    for dim in field.dims:
        wanted = (prod(before[:dim]), before[dim])
        free = range(dims[-1] + 1 if dims else 0, len(after))
        found = next((to for to in free if (starts[to], after[to]) == wanted), None)
        if found is None:
            return lost(f"{op.operator} joins or splits positions")
        dims.append(found)
    return field.moved(dims)


def permuted(op: Operation, sources: Sequence[Source]) -> Field:
    """Follow the spatial axes through permute, transpose and the like."""
    tensor, field = sources[0]
    probe = torch.empty(tuple(range(1, tensor.dim() + 1)), device="meta")
    order = getattr(probe, op.operator)
    sizes = order.shape if isinstance(order, Tensor) else order(*op.args[1:], **op.kwargs).shape
    return field.moved(sizes.index(dim + 1) for dim in field.dims)


def expanded(op: Operation, sources: Sequence[Source]) -> Field:
    """Expand and repeat: new axes come first; a repeated position has no place of its own."""
    tensor, field = sources[0]
    output = op.outputs[0]
    shift = output.dim() - tensor.dim()
    if any(tensor.shape[dim] != output.shape[dim + shift] for dim in field.dims):
        return lost(f"{op.operator} repeats positions")
    return field.moved(dim + shift for dim in field.dims)


def reduced(op: Operation, sources: Sequence[Source]) -> Field:
    """Mean, sum, max over axes: fine over channels, global over positions."""
    tensor, field = sources[0]
    dim = op.argument(2 if op.operator == "linalg_vector_norm" else 1, "dim")
    if isinstance(dim, Tensor):  # max(x, y) of two tensors
        return combined(op, sources)
    if dim is None or isinstance(dim, bool) or gone_meets(dim, tensor, field):
        return lost(f"{op.operator} reads the whole map")
    kept = op.outputs[0].dim() == tensor.dim()
    return field if kept else _without(_gone(dim, tensor), field)


def removed(op: Operation, sources: Sequence[Source]) -> Field:
    """Select and unbind: one axis goes."""
    tensor, field = sources[0]
    gone = _gone(op.argument(1, "dim", 0), tensor)
    if gone & set(field.dims):
        return lost(f"{op.operator} takes positions apart")
    return _without(gone, field)


def split(op: Operation, sources: Sequence[Source]) -> Field:
    """Chunk, split and narrow: fine along channels; along positions the parts differ."""
    tensor, field = sources[0]
    place = 1 if op.operator in ("narrow", "slice") else 2
    if gone_meets(op.argument(place, "dim", 0), tensor, field):
        return lost(f"{op.operator} takes positions apart")
    return field


def normalised(op: Operation, sources: Sequence[Source]) -> Field:
    """Softmax and the like: fine along channels, global along positions."""
    tensor, field = sources[0]
    dim = op.argument(1, "dim")
    if dim is None or gone_meets(dim, tensor, field):
        return lost(f"{op.operator} reads the whole map")
    return field


def concatenated(op: Operation, sources: Sequence[Source]) -> Field:
    """Cat: fine along channels."""
    tensor, field = _widest(sources)
    if gone_meets(op.argument(1, "dim", 0), tensor, field):
        return lost("cat joins positions of different maps")
    return combined(op, sources)


def stacked(op: Operation, sources: Sequence[Source]) -> Field:
    """Stack: a new axis, along which the maps keep their own fields; the union covers all."""
    output = op.outputs[0]
    new = op.argument(1, "dim", 0) % output.dim()
    whole = combined(op, sources, output.select(new, 0))
    return whole.moved(dim + (dim >= new) for dim in whole.dims)


def indexed(op: Operation, sources: Sequence[Source]) -> Field:
    """``x[...]`` with slices, numbers, None and an ellipsis."""
    tensor, field = sources[0]
    index = _full_index(op.args[1], tensor.dim())
    dims, axes, source, target = [], [], 0, 0
    for item in index:
        if item is None:
            target += 1
            continue
        if source in field.dims:
            axis = _sliced(field.axes[field.dims.index(source)], item, tensor.shape[source])
            if axis is None:
                return lost("getitem picks positions")
            dims.append(target)
            axes.append(axis)
        elif not isinstance(item, int | slice):
            return lost("getitem with a tensor")
        source += 1
        target += isinstance(item, slice)
    return Field(tuple(dims), tuple(axes), field.note)


def _full_index(index: Any, dims: int) -> list[Any]:
    """Write out the ellipsis and the axes that the index leaves out."""
    items = list(index) if isinstance(index, tuple) else [index]
    missing = dims - sum(item is not None and item is not Ellipsis for item in items)
    places = [place for place, item in enumerate(items) if item is Ellipsis]
    place = places[0] if places else len(items)
    items[place : place + len(places)] = [slice(None)] * missing
    return items


def _sliced(axis: Axis, item: Any, size: int) -> Axis | None:
    if not isinstance(item, slice):
        return None
    start, _, step = item.indices(size)
    return slide(axis, 1, step, -start, 1)


def gone_meets(dim: Any, tensor: Tensor, field: Field) -> bool:
    """Whether any of the given dimensions is a spatial one."""
    return not _gone(dim, tensor).isdisjoint(field.dims)


def _gone(dim: Any, tensor: Tensor) -> set[int]:
    dims = (dim,) if isinstance(dim, int) else dim
    return {one % tensor.dim() for one in dims}


def _without(gone: set[int], field: Field) -> Field:
    """Renumber the spatial axes after some others went."""
    return field.moved(dim - sum(other < dim for other in gone) for dim in field.dims)


def _widest(sources: Sequence[Source]) -> Source:
    """Return the first source that has a field."""
    return next((source for source in sources if source[1].axes), sources[0])
