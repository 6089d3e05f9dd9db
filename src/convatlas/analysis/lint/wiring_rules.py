"""Rules about which layer follows which: mixing of channel groups, biases that a norm cancels.

Each takes the network and its limits and yields the places that it objects to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import gcd
from typing import NamedTuple

from convatlas.analysis.lint.network import Network, Node
from convatlas.analysis.lint.rule import Hit, hit
from convatlas.analysis.operators import MOVES

__all__ = ["cancelled_biases", "unmixed_groups"]

_NORMS = frozenset(("batch_norm", "instance_norm"))
# Moves that leave every channel where it is, beside dropout and padding.
_STILL = frozenset(("contiguous", "clone", "to", "detach", "float", "half", "bfloat16"))
_MIXERS = frozenset(("linear", "matmul", "bmm", "einsum", "scaled_dot_product_attention"))


class _Apart(NamedTuple):
    """Which channels of a map have not met since they were last mixed.

    Attributes:
        grouped: The grouped convolution that kept its groups apart, if any.
        depthwise: The depthwise convolution that kept all channels apart, if any.
    """

    grouped: Node | None = None
    depthwise: Node | None = None


def unmixed_groups(network: Network) -> Iterator[Hit]:
    """Grouped convolutions in a row, with nothing between that mixes the groups.

    What mixes: a dense layer, a shuffle or concatenation of channels, a sum with a map that
    is mixed. A depthwise layer between two grouped ones mixes nothing; two depthwise layers
    in a row are objected to as well, unless they factorise one filter (1×n and n×1).
    """
    states: dict[int, _Apart] = {}
    for node in network.nodes:
        before = _joined([states[id(source)] for source in node.inputs])
        states[id(node)] = _after(node, before)
        clash = _clash(node, before)
        if clash is not None:
            yield hit(
                node.name,
                groups=node.groups,
                previous=clash.name,
                previous_groups=clash.groups,
            )


def cancelled_biases(network: Network) -> Iterator[Hit]:
    """Biases right before a normalisation that subtracts the mean of each channel."""
    for node in network.nodes:
        is_normed = all(reader.operator in _NORMS for reader in node.readers)
        if not node.readers or not is_normed or node.is_output:
            continue
        if node.has_bias and node.weight is not None:
            yield hit(node.name, biases=node.weight.shape[0], norm=node.readers[0].name)


def _joined(states: Sequence[_Apart]) -> _Apart:
    """Return what a sum or product of maps keeps apart: nothing once one of them is mixed."""
    if not states or _Apart() in states:
        return _Apart()
    return states[0]


def _after(node: Node, before: _Apart) -> _Apart:
    if node.is_depthwise:
        return _Apart(before.grouped, node)
    if node.is_convolution:
        return _Apart(node) if node.groups > 1 else _Apart()
    is_mixer = node.operator in _MIXERS or _moves_channels(node.operator)
    return _Apart() if is_mixer else before


def _moves_channels(operator: str) -> bool:
    is_still = operator in _STILL or "dropout" in operator or "pad" in operator
    return operator in MOVES and not is_still


def _clash(node: Node, before: _Apart) -> Node | None:
    """Return the earlier convolution whose groups this one does not mix."""
    if node.is_depthwise:
        earlier = before.depthwise
        return earlier if earlier and not _factorise(earlier, node) else None
    if node.groups > 1 and before.grouped and gcd(node.groups, before.grouped.groups) > 1:
        return before.grouped
    return None


def _factorise(one: Node, other: Node) -> bool:
    """Whether one of two filters is a line, as the parts of a separated filter are."""
    kernels = [node.window.kernel for node in (one, other) if node.window]
    return any(min(kernel) == 1 < max(kernel) for kernel in kernels)
