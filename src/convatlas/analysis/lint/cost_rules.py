"""Rules about what layers cost: filters, channels, fully connected layers, memory traffic.

Each takes the network and its limits and yields the places that it objects to.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from convatlas.analysis.lint.network import Network, Node
from convatlas.analysis.lint.rule import Hit, hit

__all__ = [
    "coarse_first_filters",
    "early_memory",
    "fully_connected",
    "large_filters",
    "memory_bound",
    "wide_layers",
]


def large_filters(network: Network, min_saved: float) -> Iterator[Hit]:
    """Dense filters of 5×5 and more that a chain of 3×3 replaces with fewer weights.

    The chain sees at least as much, its first layer takes the stride, and its inner maps are as
    wide as the narrower end of the layer, so that it passes as much as the layer can. A layer
    on the image is left out: so few channels would be too narrow for a chain. Depthwise filters
    are left out because the 1×1 layers beside them are the cost.
    """
    found, saved = [], 0.0
    for node in network.convolutions:
        weight = node.weight
        if weight is None or min(node.kernel) < 5 or node.is_depthwise or node.covers_map:
            continue
        layers, chain = _chain(node)
        if chain < weight.numel() and _follows_weights(node):
            share = _macs_share(node, network)
            saved += share * (1 - chain / weight.numel())
            found.append((node, {"chain": layers, "chain_weights": chain, "macs_share": share}))
    for node, facts in found if saved >= min_saved else ():
        weights = node.weight.numel() if node.weight is not None else 0
        yield hit(node.name, kernel=node.kernel, weights=weights, saved_share=saved, **facts)


def coarse_first_filters(network: Network, max_side: float) -> Iterator[Hit]:
    """Filters on the image that are larger than ``max_side``; those on sequences may be."""
    for node in network.convolutions:
        weight = node.weight
        if weight is None or _follows_weights(node) or node.window is None:
            continue
        if len(node.kernel) > 1 and min(node.kernel) > max_side:
            stride = tuple(node.window.stride)
            yield hit(node.name, kernel=node.kernel, stride=stride, weights=weight.numel())


def wide_layers(network: Network, min_channels: float, min_share: float) -> Iterator[Hit]:
    """Dense k×k convolutions between wide maps that have a large share of all MACs."""
    for node in network.convolutions:
        weight = node.weight
        if weight is None or node.groups > 1 or prod(node.kernel) == 1:
            continue
        width, depth = weight.shape[:2]
        part = _macs_share(node, network)
        if min(width, depth) >= min_channels and part >= min_share:
            yield hit(
                node.name,
                kernel=node.kernel,
                in_channels=depth,
                out_channels=width,
                macs_share=part,
            )


def fully_connected(network: Network, min_share: float) -> Iterator[Hit]:
    """Parameters in fully connected layers, other than a classifier behind global pooling."""
    layers = [node for node in network.trunk if _is_fully_connected(node)]
    head, body = network.head, network.body
    if not layers or head is None or len(body[0].shape) < 3:
        return
    is_pooled = head not in layers and head.volume < body[-1].volume
    hidden = layers if len(layers) == 1 and not is_pooled else layers[:-1]
    params = network.report.params
    if _share(_params(hidden), params) >= min_share:
        largest = max(layers, key=lambda node: node.cost.params if node.cost else 0)
        held = _params(layers)
        yield hit(
            largest.name,
            layers=len(layers),
            fc_params=held,
            params=params,
            fc_share=_share(held, params),
        )


def early_memory(network: Network, min_share: float, min_total_stride: float) -> Iterator[Hit]:
    """Activations that are mostly maps of at least half the input's sides.

    Networks that keep large maps to the end, such as those for small images, are left out.
    """
    strided = []
    for node in network.nodes:
        field = node.cost.receptive_field if node.cost else None
        if node.cost and field:
            strided.append((max(field.stride), node.cost.activation_bytes, node.name))
    total = network.report.activation_bytes
    if not strided or strided[-1][0] < min_total_stride:
        return
    early = [(size, name) for stride, size, name in strided if stride <= 2]
    held = sum([size for size, _ in early])
    if early and _share(held, total) >= min_share:
        part = _share(held, total)
        yield hit(max(early)[1], early_bytes=held, activation_bytes=total, early_share=part)


def memory_bound(network: Network, balance: float, min_share: float) -> Iterator[Hit]:
    """Depthwise layers whose memory traffic, not their arithmetic, sets the time."""
    costs = [node.cost for node in network.convolutions if node.is_depthwise and node.cost]
    bound = [cost for cost in costs if cost.intensity < balance]
    report = network.report
    moved = sum([cost.moved_bytes for cost in bound])
    traffic = _share(moved, report.read_bytes + report.written_bytes)
    if bound and traffic >= min_share:
        worst = max(bound, key=lambda cost: cost.moved_bytes)
        yield hit(
            worst.name,
            layers=len(bound),
            macs_share=_share(sum([cost.macs for cost in bound]), report.macs),
            traffic_share=traffic,
            intensity=sum([cost.flops for cost in bound]) / moved,
        )


def _chain(node: Node) -> tuple[int, int]:
    """Return the layers and the weights of the chain of 3×3 that sees what a filter sees."""
    depth = node.in_channels // node.groups
    width = node.shape[1] // node.groups
    layers = max(-(-(side - 1) // 2) for side in node.kernel)
    inner = min(width, depth)
    pairs = depth * inner + (layers - 2) * inner * inner + inner * width
    return layers, node.groups * 3 ** len(node.kernel) * pairs


def _follows_weights(node: Node) -> bool:
    """Whether anything with weights comes before the node."""
    pending, seen = list(node.inputs), set[int]()
    while pending:
        source = pending.pop()
        if source.weight is not None:
            return True
        if id(source) not in seen:
            seen.add(id(source))
            pending += source.inputs
    return False


def _is_fully_connected(node: Node) -> bool:
    return node.is_vector and (node.operator == "linear" or node.covers_map)


def _params(nodes: list[Node]) -> int:
    return sum([node.cost.params for node in nodes if node.cost])


def _macs_share(node: Node, network: Network) -> float:
    return _share(node.cost.macs if node.cost else 0, network.report.macs)


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0
