"""Refuse a fixture that could not tell a right network from a wrong one.

Three things make a fixture worthless: logits that ignore the image, logits that single
precision cannot reproduce, and logits that stay the same when two layers are exchanged.
It knows nothing about libraries or files.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import torch
from record import entries
from torch import Tensor, nn

LEAST_IMAGE_DIFFERENCE = 0.01
LEAST_SWAP_DIFFERENCE = 1e-4
GREATEST_FLOAT32_ERROR = 5e-6
SWAPS = 4


class UnsoundFixtureError(Exception):
    """A network whose logits on the filled weights prove nothing."""


@torch.no_grad()
def check(net: nn.Module, images: Tensor, logits: Tensor) -> str:
    """Check a filled network against its double-precision logits.

    Args:
        net: The network in double precision; it is left in single precision.
        images: The images, in double precision.
        logits: What ``net`` gave for ``images``, shape (2, classes).

    Returns:
        One line with the three measured ratios.

    Raises:
        UnsoundFixtureError: One of them is beyond its limit.
    """
    image_difference = _distance(logits[1:], logits[:1])
    net, images = net.float(), images.float()
    single = net(images)
    error = float((single.double() - logits).abs().max() / logits.abs().max())
    pair, swap_difference = least_swap(net, images, single)
    line = (
        f"images {image_difference:.2g}, float32 {error:.1e}, swap {swap_difference:.1e} at {pair}"
    )
    if not torch.isfinite(logits).all():
        raise UnsoundFixtureError(f"logits that are not finite: {line}")
    if image_difference < LEAST_IMAGE_DIFFERENCE:
        raise UnsoundFixtureError(f"two images give the same logits: {line}")
    if error > GREATEST_FLOAT32_ERROR:
        raise UnsoundFixtureError(f"float32 cannot reproduce the logits: {line}")
    if swap_difference < LEAST_SWAP_DIFFERENCE:
        raise UnsoundFixtureError(f"exchanged layers change too little: {line}")
    return line


def least_swap(net: nn.Module, images: Tensor, logits: Tensor) -> tuple[str, float]:
    """Exchange some pairs of equally shaped weights; return the one that shows least."""
    state = entries(net)
    least = ("no equal shapes", float("inf"))
    for first, second in _pairs(state):
        _swap(state[first], state[second])
        difference = _distance(net(images), logits)
        _swap(state[first], state[second])
        least = min(least, (f"{first} <-> {second}", difference), key=lambda item: item[1])
    return least


def _pairs(state: dict[str, Tensor]) -> list[tuple[str, str]]:
    """Return at most ``SWAPS`` neighbouring pairs of equal shape, spread over the network."""
    by_shape = defaultdict(list)
    for key, value in state.items():
        # Auxiliary classifiers do not run in evaluation mode.
        if value.dim() > 1 and key.endswith("weight") and "aux" not in key.lower():
            by_shape[tuple(value.shape)].append(key)
    pairs = [pair for keys in by_shape.values() for pair in pairwise(keys)]
    stride = max(1, len(pairs) // SWAPS)
    return pairs[stride // 2 :: stride][:SWAPS]


def _swap(first: Tensor, second: Tensor) -> None:
    kept = first.clone()
    first.copy_(second)
    second.copy_(kept)


def _distance(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())
