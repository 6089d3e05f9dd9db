"""Rules about what maps hold and see: volume, resolution, receptive field.

Each takes the network and its limits and yields the places that it objects to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import ceil, prod

import torch
from torch import Tensor

from convatlas.analysis.lint.network import Network, Node
from convatlas.analysis.lint.rule import Hit
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
    for node in network.body:
        if node is classifier:
            return
        if least.volume > max_fall * node.volume:
            facts = {"before": least.shape[1:], "after": node.shape[1:]}
            values = {"before_values": least.volume, "after_values": node.volume}
            yield Hit(node.name, {**facts, **values, "times": least.volume / node.volume})
        if node.volume < least.volume:
            least = node


def field_too_small(network: Network) -> Iterator[Hit]:
    """A globally pooled map none of whose values sees the whole input."""
    last, head = network.body[-1], network.head
    field = last.cost.receptive_field if last.cost else None
    if field is None or head is None or not head.is_pool:
        return
    sizes = network.body[0].sizes
    if any(seen < side for seen, side in zip(field.size, sizes, strict=True)):
        yield Hit(last.name, {"input_px": sizes, "field_px": field.size})


def field_too_large(
    network: Network, min_share: float, min_times: float, max_map: float
) -> Iterator[Hit]:
    """Layers that learn nothing new about the input: all of it was seen before.

    Either almost all work comes that late, or the last map is a few pixels of which each sees
    several times the input.
    """
    sizes = next(network.images).sizes
    costs = [node.cost for node in network.nodes if node.weight is not None and node.cost]
    seeing = [cost for cost in costs if cost.receptive_field]
    late = [
        node.cost
        for node in network.nodes
        if node.weight is not None and node.cost in seeing and _sees_all(node.inputs[0], sizes)
    ]
    macs = sum([cost.macs for cost in seeing])
    last = seeing[-1].receptive_field if seeing else None
    if not late or last is None or not macs:
        return
    part = sum([cost.macs for cost in late if cost]) / macs
    times = min(seen / side for seen, side in zip(last.size, sizes, strict=True))
    left = tuple(ceil(side / step) for side, step in zip(sizes, last.stride, strict=True))
    if part >= min_share or (times >= min_times and max(left) <= max_map):
        facts = {"input_px": sizes, "field_px": last.size, "times": times, "map_px": left}
        yield Hit(late[0].name if late[0] else "", {**facts, "late_share": part})


def lost_resolution(network: Network) -> Iterator[Hit]:
    """Filters that slide over, or pooling of, a map of one pixel."""
    starved = [node for node in network.convolutions if _meets_padding_only(node)]
    pools = [node for node in network.trunk if node.is_pool and _reads_one_pixel(node)]
    made_by_window = [node for node in pools if _source_slides(node)]
    if not starved and not made_by_window:
        return
    wasted = [node.weight.numel() * (1 - 1 / prod(node.kernel))
              for node in starved if node.weight is not None]  # fmt: skip
    first = min([*starved, *made_by_window], key=network.nodes.index)
    facts = {"input_px": network.body[0].sizes, "layers": len(starved)}
    params = network.report.params
    yield Hit(first.name, {**facts, "wasted_share": sum(wasted) / params if params else 0.0})


def skipped_pixels(network: Network) -> Iterator[Hit]:
    """Maps all of whose readers stride past the same pixels."""
    for node in network.nodes:
        windows = [reader.window for reader in node.readers]
        reading = [window for window in windows if window]
        if not reading or len(reading) < len(windows):
            continue
        if any(max(window.stride) == 1 for window in reading):
            continue
        outputs = [reader.sizes for reader in node.readers]
        read = _pixels_read(node.sizes, list(zip(reading, outputs, strict=True)))
        part = 1 - read.float().mean().item()
        if part:
            facts = {"kernel": tuple(reading[0].kernel), "stride": tuple(reading[0].stride)}
            yield Hit(node.readers[0].name, {**facts, "map_px": node.sizes, "unread_share": part})


def stride_bursts(network: Network, min_total: float) -> Iterator[Hit]:
    """Strides in a row, without a layer in between that looks around at the new resolution."""
    rows: dict[int, tuple[Node, ...]] = {}
    found: list[tuple[Node, ...]] = []
    for node in network.nodes:
        before = min((rows[id(source)] for source in node.inputs), key=_product, default=())
        window = node.window
        if window is None or node.is_vector:
            rows[id(node)] = before
        elif max(window.stride) > 1:
            rows[id(node)] = (*before, node)
            found.append(rows[id(node)])
        else:
            rows[id(node)] = () if max(window.kernel) > 1 else before
    for row in found:
        is_start = any(other[: len(row)] == row for other in found if len(other) > len(row))
        if len(row) > 1 and _product(row) >= min_total and not is_start:
            names = ", ".join(node.name for node in row)
            yield Hit(row[0].name, {"row": names, "layers": len(row), "total": _product(row)})


def _product(row: Sequence[Node]) -> int:
    return prod([max(node.window.stride) for node in row if node.window])


def _reads_one_pixel(node: Node) -> bool:
    """Whether the operation reads a map (not a vector) with one place."""
    return bool(node.sizes_read) and prod(node.sizes_read) == 1


def _sees_all(node: Node, sizes: tuple[int, ...]) -> bool:
    """Whether the values of a map already see the whole input."""
    field = node.cost.receptive_field if node.cost else None
    return field is not None and all(
        seen >= side for seen, side in zip(field.size, sizes, strict=True)
    )


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


def _pixels_read(
    sizes: tuple[int, ...], windows: Sequence[tuple[Window, tuple[int, ...]]]
) -> Tensor:
    """Return which pixels some window reads, up to the last one along each axis.

    What is left over at the far edge because the stride does not divide the size is no loss
    of resolution.
    """
    read = torch.zeros(sizes, dtype=torch.bool)
    ends = [0] * len(sizes)
    for window, outputs in windows:
        places = []
        for axis, (size, outs) in enumerate(zip(sizes, outputs, strict=True)):
            kernel, stride, padding, dilation = (part[axis] for part in window)
            taps = {o * stride + k * dilation - padding for o in range(outs) for k in range(kernel)}
            inside = sorted(tap for tap in taps if 0 <= tap < size)
            ends[axis] = max([ends[axis], *(tap + 1 for tap in inside)])
            places.append(torch.tensor(inside))
        read[torch.meshgrid(*places, indexing="ij")] = True
    return read[tuple(slice(0, end) for end in ends)]
