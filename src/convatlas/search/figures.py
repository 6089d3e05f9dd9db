"""A number and where it comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Figure", "Origin"]

Origin = Literal["published", "computed", "predicted", "measured"]
"""Said by others; counted by us; expected of this machine; timed on it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a network.

    Attributes:
        value: The number.
        origin: How it is known.
        source: Who published it, or what it was computed, predicted or measured for.
        low: Lower end of the interval that a prediction or a measurement has, or None.
        high: Its upper end, or None.
    """

    value: float
    origin: Origin
    source: str = ""
    low: float | None = None
    high: float | None = None
