"""Numbers as a lecture prints them, and what it takes to agree with one.

``"13.6 G"`` says no more than 13.55 to 13.65 thousand million; ``"138,357,544"`` says exactly that.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Printed", "agrees", "read_numbers"]

_NUMBER = re.compile(
    r"(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<decimals>\d+))?(?:e(?P<power>\d+))?"
    r"(?: ?(?P<prefix>[kMG]i?)(?=B?\b)| ?(?P<percent>%))?"
)
_POWERS = {"k": 1, "M": 2, "G": 3}
_ROUNDING = 1e-9  # of floating-point arithmetic, relative


@dataclass(frozen=True, slots=True)
class Printed:
    """One number of a text.

    Attributes:
        value: The number, its prefix multiplied in (``"1.9 MiB"`` → 1.9 · 2²⁰).
        step: Worth of the last digit printed; 0 for a whole number without prefix, power or %.
        factor: What the prefix and the power of ten stand for.
        decimals: Digits printed after the point.
        span: Where the digits stand in the text, without the prefix.
    """

    value: float
    step: float
    factor: float
    decimals: int
    span: tuple[int, int]


def read_numbers(text: str) -> tuple[Printed, ...]:
    """Return the numbers of a text such as ``"55×55×96"``, ``"1.8e18"`` or ``"61 M"``."""
    return tuple(_printed(match) for match in _NUMBER.finditer(text))


def agrees(printed: Printed, value: float, within: float | None = None) -> bool:
    """Tell whether ``value``, rounded as the text is, is the number printed.

    Args:
        printed: What the lecture prints.
        value: What was computed.
        within: Largest relative difference, in place of half of the last digit.
    """
    allowed = printed.step / 2 if within is None else within * printed.value
    return abs(value - printed.value) <= allowed + _ROUNDING * max(abs(value), printed.value)


def _printed(match: re.Match[str]) -> Printed:
    decimals, power, prefix = match["decimals"] or "", match["power"], match["prefix"] or ""
    base = 1024 if prefix.endswith("i") else 1000
    factor = float(base ** _POWERS.get(prefix[:1], 0) * 10 ** int(power or 0))
    number = float(f"{match['digits'].replace(',', '')}.{decimals or 0}")
    is_exact = not (decimals or power or prefix or match["percent"])
    return Printed(
        value=number * factor,
        step=0.0 if is_exact else factor / 10 ** len(decimals),
        factor=factor,
        decimals=len(decimals),
        span=(match.start(), _end_of_digits(match)),
    )


def _end_of_digits(match: re.Match[str]) -> int:
    ends: Sequence[int] = [match.end(part) for part in ("digits", "decimals", "power")]
    return max(ends)
