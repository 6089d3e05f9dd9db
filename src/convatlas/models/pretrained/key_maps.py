"""Foreign parameter names under ours, by rules: ``facts/key_maps.toml`` holds them as data.

A file that sorts its tensors by name, as ``.safetensors`` does, has lost their order; their
names still say which is which. Knows no tensor.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

__all__ = ["KeyMap", "key_maps", "numbers_in_order"]

_NUMBER = re.compile(r"\d+(-\d+)*")
_FLAT = re.compile(r"^stages\.(\d+)\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class KeyMap:
    """How one source names the parameters of some families; without rules, as we do.

    Attributes:
        sources: Libraries whose checkpoints have these names, such as ``"timm"``.
        families: Families of the catalogue.
        rules: Regular expressions and what stands in their place, applied in turn.
        flat: Whether the source numbers the children of all our stages as one chain.
    """

    sources: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    rules: tuple[tuple[re.Pattern[str], str], ...] = ()
    flat: bool = False

    def rename(self, name: str) -> str:
        """Return the foreign ``name`` in our words; its numbers are still the source's."""
        for pattern, replacement in self.rules:
            name = pattern.sub(replacement, name)
        return name

    def pair(self, foreign: Iterable[str], ours: Iterable[str]) -> dict[str, str]:
        """Return foreign name → our name for every name that has a partner.

        The order of the names does not matter: the n-th number among its siblings is the n-th
        number among ours. Two foreign names with the same partner have none.
        """
        chain = r"stages.\1-\2." if self.flat else r"stages.\1.\2."
        mine = _by_rank({name: _FLAT.sub(chain, name) for name in ours})
        theirs = _by_rank({name: self.rename(name) for name in foreign})
        return {name: mine[place] for place, name in theirs.items() if place in mine}


def key_maps(family: str) -> list[KeyMap]:
    """Return the maps of a family of the catalogue, in the order of the file."""
    return [key_map for key_map in _key_maps() if family in key_map.families]


def numbers_in_order(names: Iterable[str]) -> bool:
    """Return whether numbered siblings ascend, as they do in a state dict that was not sorted."""
    last: dict[str, int] = {}
    for name in names:
        words = name.split(".")
        for i, word in enumerate(words):
            if word.isdigit():
                parent = ".".join(words[:i])
                if int(word) < last.get(parent, 0):
                    return False
                last[parent] = int(word)
    return True


def _by_rank(written: dict[str, str]) -> dict[str, str]:
    """Return written name → name, each number of the former replaced by its rank."""
    siblings: dict[str, set[str]] = {}
    for text in written.values():
        words = text.split(".")
        for i, word in enumerate(words):
            if _NUMBER.fullmatch(word):
                siblings.setdefault(".".join(words[:i]), set()).add(word)
    ranks = {
        parent: {word: str(rank) for rank, word in enumerate(sorted(words, key=_as_numbers))}
        for parent, words in siblings.items()
    }
    places: dict[str, list[str]] = {}
    for name, text in written.items():
        words = text.split(".")
        parents = [".".join(words[:i]) for i in range(len(words))]
        place = [
            ranks[parent][word] if _NUMBER.fullmatch(word) else word
            for parent, word in zip(parents, words, strict=True)
        ]
        places.setdefault(".".join(place), []).append(name)
    return {place: names[0] for place, names in places.items() if len(names) == 1}


def _as_numbers(word: str) -> tuple[int, ...]:
    return tuple(int(part) for part in word.split("-"))


@cache
def _key_maps() -> tuple[KeyMap, ...]:
    text = (files("convatlas.models") / "facts" / "key_maps.toml").read_text(encoding="utf-8")
    return tuple(
        KeyMap(
            tuple(row["sources"]),
            tuple(row["families"]),
            tuple((re.compile(pattern), replacement) for pattern, replacement in row["rules"]),
            row.get("flat", False),
        )
        for row in tomllib.loads(text)["map"]
    )
