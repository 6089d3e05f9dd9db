"""Numbers as people write them on a command line: 300M, 4.1G, 500k."""

from __future__ import annotations

from convatlas.errors import OptionError

__all__ = ["parse_count"]

_FACTORS = {"k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9}


def parse_count(text: str | None, flag: str) -> float | None:
    """Return ``"300M"`` as 300e6; None stays None.

    Raises:
        OptionError: Not a number with an optional k, M, G or B behind it.
    """
    if text is None:
        return None
    factor = _FACTORS.get(text[-1:].lower(), 1.0)
    digits = text[:-1] if factor != 1.0 else text
    try:
        return float(digits) * factor
    except ValueError:
        raise OptionError(f"{flag} expects a number such as 300M or 2.5e6, got {text!r}") from None
