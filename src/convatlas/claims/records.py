"""The claims of the lectures as data, readable without torch.

``facts/claims.toml`` says what each lecture prints; what we compute is in the files of this room
and is never written down.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from convatlas.claims.printed import Printed, read_numbers
from convatlas.errors import UnknownNameError

__all__ = ["LECTURES", "Claim", "Figure", "find_claim", "list_claims"]

LECTURES = {
    "L0": "Comenius University, Neural Networks for Computer Vision 8: CNN Architectures, 2022",
    "L1": "IIT Hyderabad, Deep Learning 9: Evolution of CNN Architectures, 2023",
    "L2": "Politecnico di Milano, Famous CNN Architectures and CNN Visualization, 2023",
    "L3": "Stanford CS231n, Lecture 6 part 1: CNN Architectures, 2024",
    "L4": "Hacettepe CMP784, Lecture 5: Convolutional Neural Networks, 2024",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """What a claim says in numbers.

    Attributes:
        key: Name that the computation uses.
        label: What the numbers are, with their unit.
        says: The numbers as the lecture prints them, or as its words mean them.
        within: Largest relative difference that still agrees; None where rounding decides.
    """

    key: str
    label: str
    says: str
    within: float | None = None

    @property
    def printed(self) -> tuple[Printed, ...]:
        """The numbers in ``says``."""
        return read_numbers(self.says)


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim.

    Attributes:
        id: Its name.
        lectures: Who makes it, keys of ``LECTURES``.
        title: What it is about.
        statement: The claim in one or two sentences.
        figures: Its numbers that need no training; empty when everything does.
        training: What needs training, and where to do it; "" if nothing does.
    """

    id: str
    lectures: tuple[str, ...]
    title: str
    statement: str
    figures: tuple[Figure, ...]
    training: str


def list_claims() -> list[Claim]:
    """Return every claim, in the order of the file."""
    return list(_claims().values())


def find_claim(identifier: str) -> Claim:
    """Return the claim called ``identifier``.

    Raises:
        UnknownNameError: No such claim; the nearest names are in the message.
    """
    claims = _claims()
    if identifier not in claims:
        raise UnknownNameError.of("claim", identifier, claims)
    return claims[identifier]


@cache
def _claims() -> dict[str, Claim]:
    text = (files("convatlas.claims") / "facts" / "claims.toml").read_text(encoding="utf-8")
    return {name: _claim(name, row) for name, row in tomllib.loads(text).items()}


def _claim(name: str, row: dict[str, Any]) -> Claim:
    return Claim(
        id=name,
        lectures=tuple(row["lectures"]),
        title=row["title"],
        statement=row["statement"],
        figures=tuple(Figure(**figure) for figure in row.get("figures", ())),
        training=row.get("training", ""),
    )
