"""What can be limited when a network is chosen: its flag, its figure, and how to write it.

It knows names and units, and no network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convatlas.render.units import bytes_text, count, latency

if TYPE_CHECKING:
    from convatlas.search.budget import Budget

__all__ = ["LIMITS", "Limit", "flag", "is_asked", "limit_words"]


@dataclass(frozen=True, slots=True)
class Limit:
    """A number that networks are held against.

    Attributes:
        name: The field of ``Budget``.
        figure: The figure of a candidate that it limits.
        words: What the figure is.
        short: The same as the header of a column.
        text: Writes the figure with its unit.
        unit: One of the limit's units in those of the figure.
        is_floor: Whether the figure must be at least so much, not at most.
    """

    name: str
    figure: str
    words: str
    short: str
    text: Callable[[float], str]
    unit: float = 1.0
    is_floor: bool = False


def _per_cent(value: float) -> str:
    return f"{value:.1f} %"


LIMITS = (
    Limit("max_params", "params", "parameters", "params", count),
    Limit("max_macs", "macs", "MACs", "MACs", count),
    Limit("max_size_mb", "size_bytes", "size of the weights", "size", bytes_text, unit=1e6),
    Limit("max_memory", "memory_bytes", "memory of one image", "memory", bytes_text),
    Limit("train_memory", "train_bytes", "memory of a training step", "training", bytes_text),
    Limit("max_latency_ms", "latency_ms", "latency of one image", "latency", latency),
    Limit("min_top1", "top1", "published top-1 accuracy", "top-1", _per_cent, is_floor=True),
)
"""Every limit on a figure; the others (family, licence, export …) are conditions."""

_REASONS = {
    "data": "made for other images",
    "weights": "without pretrained weights at hand",
    "accuracy": "without a published accuracy",
    "unmeasured": "not timed, for better ones are in time",
}


def flag(name: str) -> str:
    """Return the flag of a field of ``Budget``: ``"max_macs"`` → ``"--max-macs"``."""
    return f"--{name.replace('_', '-')}"


def is_asked(limit: Limit, budget: Budget) -> bool:
    """Return whether the budget has the limit."""
    return getattr(budget, limit.name) is not None


def limit_words(dropped_by: str) -> str:
    """Return what drops networks: ``"by --max-macs"``, ``"without a published accuracy"``."""
    return _REASONS.get(dropped_by) or f"by {flag(dropped_by)}"
