"""Fields of a record that know their unit and range, and how a value is checked against them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from convatlas.errors import OptionError, nearest

__all__ = ["Range", "check_fields", "choice", "number", "switch", "text", "unit_of", "whole"]


@dataclass(frozen=True, slots=True)
class Range:
    """Where a number may lie: from ``low``, to below ``high``.

    Attributes:
        low: Smallest value.
        high: First value that is too large.
        low_allowed: Whether ``low`` itself may be taken.
    """

    low: float = 0
    high: float = math.inf
    low_allowed: bool = True

    def holds(self, value: float) -> bool:
        """Tell whether ``value`` lies inside."""
        return (value >= self.low if self.low_allowed else value > self.low) and value < self.high

    def around(self, name: str) -> str:
        """Return the range as an inequality about ``name``."""
        upper = "" if math.isinf(self.high) else f" < {self.high:g}"
        return f"{self.low:g} {'≤' if self.low_allowed else '<'} {name}{upper}"


def number(default: float | None, unit: str, *, allowed: Range = Range()) -> Any:
    """Return a field for a number in ``unit``; with None as ``default`` it may be left open."""
    return field(default=default, metadata={"unit": unit, "kind": "number", "range": allowed})


def whole(default: int, unit: str, *, low: float = 0, high: float = math.inf) -> Any:
    """Return a field for a whole number in ``unit``."""
    metadata = {"unit": unit, "kind": "whole number", "range": Range(low, high)}
    return field(default=default, metadata=metadata)


def switch(default: bool, unit: str) -> Any:
    """Return a field that is true or false."""
    return field(default=default, metadata={"unit": unit, "kind": "switch"})


def choice(default: str, *names: str) -> Any:
    """Return a field for one of ``names``."""
    metadata = {"unit": f"one of {', '.join(names)}", "kind": "choice", "names": names}
    return field(default=default, metadata=metadata)


def text(default: Any, unit: str) -> Any:
    """Return a field that its own class checks: a name, or a list."""
    return field(default=default, metadata={"unit": unit, "kind": "text"})


def unit_of(record: Any, name: str) -> str:
    """Return what the values of a field are measured in, in words."""
    return str(next(f for f in fields(record) if f.name == name).metadata["unit"])


def check_fields(record: Any) -> None:
    """Hold every field of ``record``, a section of a recipe, against what its metadata allow.

    Raises:
        OptionError: The first value that is impossible, in one line, by its dotted name.
    """
    section = type(record).__name__.lower()
    for each in fields(record):
        value, rule, name = getattr(record, each.name), each.metadata, f"{section}.{each.name}"
        kind = rule["kind"]
        if kind == "switch" and not isinstance(value, bool):
            raise OptionError(f"{name} must be true or false, got {value!r}")
        if kind == "choice" and value not in rule["names"]:
            hint = nearest(str(value), rule["names"])
            raise OptionError(f"{name} must be {rule['unit']}, got {value!r}{hint}")
        if kind == "text" and not isinstance(value, type(each.default)):
            wanted = "a list" if isinstance(each.default, tuple) else "a text"
            raise OptionError(f"{name} must be {wanted}, got {value!r}")
        if "number" in kind and not (value is None and each.default is None):
            _check_number(name, value, rule)


def _check_number(name: str, value: Any, rule: Any) -> None:
    fits = isinstance(value, int if rule["kind"] == "whole number" else int | float)
    if isinstance(value, bool) or not fits:
        raise OptionError(f"{name} must be a {rule['kind']}, got {value!r}")
    if not rule["range"].holds(value):
        raise OptionError(f"expected {rule['range'].around(name)}, got {value:g}")
