"""Numbers as people write them on a command line: 300M, 4.1G, 500k, 8GB, 512MiB, 1h30m."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TypeVar

from convatlas.errors import ConvAtlasError, OptionError

__all__ = ["parse_bytes", "parse_count", "parse_place", "parse_seconds", "parser"]

_Value = TypeVar("_Value")

_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}
_BYTES = re.compile(r"([0-9.]+(?:e[0-9]+)?) ?([kmgt]?)(i?)b?", re.IGNORECASE)
_POWERS = " kmgt"
_TIME = re.compile(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s)?", re.IGNORECASE)
_SECONDS = (3600, 60, 1)


def parser(parse: Callable[[str, str], _Value], flag: str) -> Callable[[str], _Value]:
    """Return what typer reads the flag's words with: one of the functions below, and its line.

    Of a ``ValueError``, which an ``OptionError`` is, typer would tell the words alone.
    """

    def read(text: str) -> _Value:
        try:
            return parse(text, flag)
        except OptionError as error:
            raise ConvAtlasError(str(error)) from None

    return read


def parse_count(text: str, flag: str) -> float:
    """Return ``"300M"`` as 300e6.

    Raises:
        OptionError: Not a number with an optional k, M, G or B behind it.
    """
    factor = _FACTORS.get(text[-1:].lower(), 1.0)
    digits = text[:-1] if factor != 1.0 else text
    try:
        return float(digits) * factor
    except ValueError:
        raise OptionError(f"{flag} expects a number such as 300M or 2.5e6, got {text!r}") from None


def parse_bytes(text: str, flag: str) -> int:
    """Return ``"8GB"`` and ``"8e9"`` as 8 · 10⁹, ``"8GiB"`` as 8 · 2³⁰.

    Raises:
        OptionError: Not a number with an optional unit of bytes behind it.
    """
    match = _BYTES.fullmatch(text.strip())
    try:
        number = float(match[1]) if match else -1.0
    except ValueError:
        number = -1.0
    base = 1024 if match and match[3] else 1000
    size = number * base ** _POWERS.index(match[2].lower() or " ") if match else number
    if size <= 0 or not math.isfinite(size):
        raise OptionError(f"{flag} expects a size such as 8GB or 512MiB, got {text!r}")
    return int(size)


def parse_place(text: str, flag: str) -> tuple[int, int]:
    """Return ``"3,4"`` as (3, 4).

    Raises:
        OptionError: Not two whole numbers.
    """
    row, _, column = text.partition(",")
    try:
        return int(row), int(column)
    except ValueError:
        raise OptionError(f"{flag} expects a row and a column such as 3,4, got {text!r}") from None


def parse_seconds(text: str, flag: str) -> float:
    """Return ``"90s"`` as 90, ``"1h30m"`` as 5400.

    Raises:
        OptionError: Not hours, minutes and seconds with their letters.
    """
    match = _TIME.fullmatch(text.strip())
    parts = match.groups(default="0") if match else ()
    try:
        total = sum(float(part) * unit for part, unit in zip(parts, _SECONDS, strict=False))
    except ValueError:
        total = 0.0
    if not total > 0:
        raise OptionError(f"{flag} expects a time such as 90s, 10m or 1h30m, got {text!r}")
    return total
