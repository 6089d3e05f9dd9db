"""How limits, and what drops a network, are written: figures with units, flags, words."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from convatlas.render.units import bytes_text, count, latency
from convatlas.search.limits import LIMITS, Limit

if TYPE_CHECKING:
    from convatlas.search.budget import Budget

__all__ = ["SHOWN", "flag", "is_asked", "limit_text", "limit_words"]


def _per_cent(value: float) -> str:
    return f"{value:.1f} %"


_TEXTS: dict[str, Callable[[float], str]] = {
    "params": count,
    "macs": count,
    "size_bytes": bytes_text,
    "memory_bytes": bytes_text,
    "train_bytes": bytes_text,
    "latency_ms": latency,
    "top1": _per_cent,
}

SHOWN = tuple(limit for limit in LIMITS if limit.figure)
"""The limits on figures that have a column; the smallest input is a condition like the wishes."""

_REASONS = {
    "data": "made for other images",
    "weights": "without pretrained weights at hand",
    "accuracy": "without a published accuracy",
    "unmeasured": "not timed, for better ones are in time",
}


def limit_text(limit: Limit, value: float) -> str:
    """Return a figure that a limit is about with its unit."""
    return _TEXTS[limit.figure](value)


def flag(name: str) -> str:
    """Return the flag of a field of ``Budget``: ``"max_macs"`` → ``"--max-macs"``."""
    return f"--{name.replace('_', '-')}"


def is_asked(limit: Limit, budget: Budget) -> bool:
    """Return whether the budget has the limit."""
    return getattr(budget, limit.name) is not None


def limit_words(dropped_by: str) -> str:
    """Return what drops networks: ``"by --max-macs"``, ``"without a published accuracy"``."""
    return _REASONS.get(dropped_by) or f"by {flag(dropped_by)}"
