"""Numbers as people read them, always with their unit.

Prefixes are decimal: 1 k = 10³, 1 M = 10⁶, 1 MB = 10⁶ bytes. It knows no results.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "MISSING",
    "bytes_text",
    "count",
    "interval",
    "latency",
    "limit",
    "percent",
    "pixels",
    "plural",
    "quantity",
    "scientific",
    "seconds_text",
    "whole",
]

MISSING = "–"
"""What stands for a number that nobody measured or published."""

_PREFIXES = ("", "k", "M", "G", "T", "P")
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_MINUTE, _HOUR = 60, 3600


def count(value: float | None) -> str:
    """Return a number of things with two decimals: ``25557032`` → ``"25.56 M"``."""
    if value is None:
        return MISSING
    return _prefixed(value, decimals=2).rstrip()


def limit(value: float | None) -> str:
    """Return a number that somebody set, without idle zeros: ``300e6`` → ``"300 M"``."""
    number, _, prefix = count(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {prefix}".rstrip()


def quantity(value: float | None, unit: str) -> str:
    """Return a number of things with its unit: ``(4089184256, "MACs")`` → ``"4.09 G MACs"``."""
    return MISSING if value is None else f"{count(value)} {unit}"


def whole(value: int | None) -> str:
    """Return every digit of a whole number, in groups of three: ``"25,557,032"``."""
    return MISSING if value is None else f"{value:,}"


def plural(number: int, thing: str, things: str | None = None) -> str:
    """Return ``"1 image"``, ``"1,797 images"``; ``things`` for a plural without a plain s."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def bytes_text(value: float | None) -> str:
    """Return bytes in B, kB, MB …, powers of 1000: ``14_212_972`` → ``"14.2 MB"``."""
    if value is None:
        return MISSING
    return _prefixed(value, decimals=1) + "B"


def percent(share: float | None, decimals: int = 1) -> str:
    """Return a share of 1 in per cent: ``0.9778`` → ``"97.8 %"``.

    Only an exact 0 or 1 is written as 0 % or 100 %: 0.9999 becomes ``"> 99.9 %"``.
    """
    if share is None or not math.isfinite(share):
        return MISSING
    if share in (0, 1):
        return f"{share * 100:.0f} %"
    step = 10.0**-decimals
    text = f"{share * 100:.{decimals}f}"
    if float(text) >= 100 and share < 1:
        return f"> {100 - step:.{decimals}f} %"
    if float(text) == 0 and share > 0:
        return f"< {step:.{decimals}f} %"
    return f"{text} %"


def interval(bounds: Sequence[float] | None, decimals: int = 1) -> str:
    """Return an interval of shares in per cent: ``(0.957, 0.989)`` → ``"95.7–98.9 %"``."""
    if bounds is None:
        return MISSING
    low, high = bounds
    return f"{low * 100:.{decimals}f}–{high * 100:.{decimals}f} %"


def latency(milliseconds: float | None) -> str:
    """Return a short time: ``12.345`` → ``"12.3 ms"``, ``0.0412`` → ``"41 µs"``."""
    if milliseconds is None or not math.isfinite(milliseconds):
        return MISSING
    if 0 < milliseconds < 0.1:
        return f"{float(f'{milliseconds * 1000:.2g}'):g} µs"  # 99.7 is 100, not 1e+02
    return seconds_text(milliseconds / 1000)


def seconds_text(seconds: float | None) -> str:
    """Return a duration: ``"412 ms"``, ``"3.25 s"``, ``"1 min 15 s"``, ``"2 h 5 min"``."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < _MINUTE - 0.05:
        return f"{_three_digits(seconds)} s"
    if round(seconds) < _HOUR:
        minutes, rest = divmod(round(seconds), _MINUTE)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(round(seconds / _MINUTE), _MINUTE)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


def scientific(value: float | None) -> str:
    """Return a tiny difference with two digits: ``2.4e-07`` → ``"2.4 × 10⁻⁷"``."""
    if value is None or math.isnan(value):
        return MISSING
    if math.isinf(value):
        return "infinite"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    if -3 < int(exponent) < 3:
        return f"{value:.2g}"
    return f"{mantissa} × 10{str(int(exponent)).translate(_SUPERSCRIPTS)}"


def pixels(size: int | Sequence[int] | None) -> str:
    """Return a size: ``224`` → ``"224 px"``, ``(480, 640)`` → ``"480 × 640 px"`` (height first)."""
    if size is None:
        return MISSING
    if isinstance(size, int):
        return f"{size:,} px"
    return f"{' × '.join(f'{side:g}' for side in size)} px"


def _prefixed(value: float, decimals: int) -> str:
    """Return ``value`` below 1000 and its prefix; rounding up may earn the next prefix."""
    if not math.isfinite(value):
        return f"{value} "
    power = 0
    scaled = float(value)
    while power + 1 < len(_PREFIXES) and round(abs(scaled), decimals if power else 0) >= 1000:
        scaled /= 1000
        power += 1
    text = f"{scaled:.{decimals}f}" if power or scaled != round(scaled) else f"{scaled:.0f}"
    return f"{text} {_PREFIXES[power]}"


def _three_digits(value: float) -> str:
    for limit, decimals in ((9.995, 2), (99.95, 1)):
        if value < limit:
            return f"{value:.{decimals}f}"
    return f"{value:.0f}"
