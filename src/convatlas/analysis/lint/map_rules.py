"""Rules about what maps hold and see: volume, resolution, receptive field.

Each takes the network and its limits and yields the places that it objects to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod

import torch

from convatlas.analysis.lint.network import Network, Node
from convatlas.analysis.lint.rule import Hit, hit
from convatlas.analysis.operators import MOVES
from convatlas.analysis.receptive_field import ReceptiveField
from convatlas.analysis.windows import Window

__all__ = [
    "field_too_large",
    "field_too_small",
    "lost_resolution",
    "skipped_pixels",
    "stride_bursts",
    "tight_bottlenecks",
]


def tight_bottlenecks(network: Network, max_fall: float) -> Iterator[Hit]:
    """Maps that hold far fewer values than the least that came through before them.

    Only maps that every path passes count: beside the narrow middle of a residual block, the
    shortcut passes on what it drops. The classifier's own map of classes may be as small as
    it likes.
    """
    weighted = [node for node in network.trunk if node.weight is not None]
    classifier = weighted[-1] if weighted else None
    least = network.body[0]
    for node in network.body[1:]:
        if node is classifier:
            return
        if least.volume > max_fall * node.volume:
            yield hit(
                node.name,
                before=least.shape[1:],
                after=node.shape[1:],
                before_values=least.volume,
                after_values=node.volume,
                times=least.volume / node.volume,
            )
        if node.volume < least.volume:
            least = node


def field_too_small(network: Network) -> Iterator[Hit]:
    """A globally pooled map none of whose values sees the whole input."""
    last, head = network.body[-1], network.head
    field = last.cost.receptive_field if last.cost else None
    sizes = network.input_sizes
    if field and head and head.is_pool and not _sees_all(field, sizes):
        yield hit(last.name, input_px=sizes, field_px=field.size)


def field_too_large(
    network: Network, min_share: float, min_times: float, max_map: float
) -> Iterator[Hit]:
    """Layers that learn nothing new about the input: all of it was seen before.

    Either almost all work comes that late, or the last map is a few pixels of which each sees
    several times the input.
    """
    sizes = network.input_sizes
    macs, late_macs, first = 0, 0, ""
    last: ReceptiveField | None = None
    for node in network.nodes:
        if node.weight is None or not node.cost or not node.cost.receptive_field:
            continue
        last = node.cost.receptive_field
        macs += node.cost.macs
        before = node.inputs[0].cost
        if before and before.receptive_field and _sees_all(before.receptive_field, sizes):
            first = first or node.name
            late_macs += node.cost.macs
    if last is None or not late_macs:
        return
    part = late_macs / macs
    times = min(seen / side for seen, side in zip(last.size, sizes, strict=True))
    left = tuple(ceil(side / step) for side, step in zip(sizes, last.stride, strict=True))
    if part >= min_share or (times >= min_times and max(left) <= max_map):
        yield hit(
            first, input_px=sizes, field_px=last.size, times=times, map_px=left, late_share=part
        )


def lost_resolution(network: Network) -> Iterator[Hit]:
    """Filters that slide over, or pooling of, a map of one pixel."""
    starved = [node for node in network.convolutions if _meets_padding_only(node)]
    pools = [node for node in network.trunk if node.is_pool and _reads_one_pixel(node)]
    made_by_window = [node for node in pools if _source_slides(node)]
    if not starved and not made_by_window:
        return
    weights = [(node.weight.numel(), node) for node in starved if node.weight is not None]
    wasted = sum([count * (1 - 1 / prod(node.kernel)) for count, node in weights])
    first = min([*starved, *made_by_window], key=network.nodes.index)
    yield hit(
        first.name,
        input_px=network.input_sizes,
        layers=len(starved),
        wasted_share=wasted / max(network.report.params, 1),
    )


def skipped_pixels(network: Network) -> Iterator[Hit]:
    """Maps all of whose readers stride past the same pixels."""
    for node in network.nodes:
        windows = [(reader.window, reader.sizes) for reader in node.readers]
        reading = [(window, outputs) for window, outputs in windows if window]
        is_strided = reading and min(max(window.stride) for window, _ in reading) > 1
        # What a move cuts out of a map may be read elsewhere in that map.
        is_read_otherwise = len(reading) < len(windows) or node.is_output or node.operator in MOVES
        if not is_strided or is_read_otherwise:
            continue
        unread = _unread_share(node.sizes, reading)
        if unread:
            window = reading[0][0]
            yield hit(
                node.readers[0].name,
                kernel=tuple(window.kernel),
                stride=tuple(window.stride),
                map_px=node.sizes,
                unread_share=unread,
            )


def stride_bursts(network: Network, min_total: float) -> Iterator[Hit]:
    """Strides in a row, without a layer in between that looks around at the new resolution.

    Where branches join, the one that strides least counts.
    """
    rows: dict[int, tuple[Node, ...]] = {}
    for node in network.nodes:
        before = min((rows[id(source)] for source in node.inputs), key=_haste, default=())
        window = node.window
        if window is None or node.is_vector:
            rows[id(node)] = before
        elif max(window.stride) > 1:
            rows[id(node)] = (*before, node)
        else:
            rows[id(node)] = () if max(window.kernel) > 1 else before
    longest: dict[int, tuple[Node, ...]] = {}
    for row in (rows[id(node)] for node in network.trunk):
        if row and _total(row) > _total(longest.get(id(row[0]), ())):
            longest[id(row[0])] = row
    for row in longest.values():
        if len(row) > 1 and _total(row) >= min_total:
            names = ", ".join(node.name for node in row)
            yield hit(row[0].name, row=names, layers=len(row), total=_total(row))


def _total(row: Sequence[Node]) -> int:
    """Return the product of the strides of a row."""
    return prod([max(node.window.stride) for node in row if node.window])


def _haste(row: Sequence[Node]) -> tuple[int, int]:
    """Order rows by their strides, and equal ones by how little their windows look at."""
    return _total(row), -sum([prod(node.window.kernel) for node in row if node.window])


def _sees_all(field: ReceptiveField, sizes: tuple[int, ...]) -> bool:
    """Whether the values of a map see the whole input."""
    return all(seen >= side for seen, side in zip(field.size, sizes, strict=True))


def _reads_one_pixel(node: Node) -> bool:
    """Whether the operation reads a map (not a vector) with one place."""
    return bool(node.sizes_read) and prod(node.sizes_read) == 1


def _meets_padding_only(node: Node) -> bool:
    return node.weight is not None and _reads_one_pixel(node) and max(node.kernel) > 1


def _source_slides(node: Node) -> bool:
    """Whether what a node reads comes from a sliding window that was not global pooling."""
    while node.inputs:
        node = node.inputs[0]
        if node.is_pool and not _reads_one_pixel(node):
            return node.window is not None and "adaptive" not in node.operator
        if node.is_convolution and not _reads_one_pixel(node):
            return not node.covers_map
    return False


def _unread_share(
    sizes: tuple[int, ...], windows: Sequence[tuple[Window, tuple[int, ...]]]
) -> float:
    """Return the share of a map's pixels that no window reads.

    What is left over at the far edge, because a stride does not divide the size, does not
    count: it is no gap between pixels that are read.
    """
    read = torch.zeros(sizes, dtype=torch.bool, device="cpu")
    ends = [0] * len(sizes)
    for window, outputs in windows:
        places = []
        for axis, (size, outs) in enumerate(zip(sizes, outputs, strict=True)):
            kernel, stride, padding, dilation = (part[axis] for part in window)
            taps = {o * stride + k * dilation - padding for o in range(outs) for k in range(kernel)}
            inside = sorted(tap for tap in taps if 0 <= tap < size)
            ends[axis] = max([ends[axis], *(tap + 1 for tap in inside)])
            places.append(torch.tensor(inside, dtype=torch.long, device="cpu"))
        read[torch.meshgrid(*places, indexing="ij")] = True
    has_gaps = not read[tuple(slice(0, end) for end in ends)].all()
    return 1 - read.float().mean().item() if has_gaps else 0.0
