"""What every network needs in bytes, sees in pixels and pays per class; readable without torch.

``facts/costs.csv`` is written by ``tools/write_costs.py`` from the networks that we build, each
at its input size and with the number of classes of the catalogue.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from convatlas.errors import UnknownNameError

__all__ = ["TRAINED_IMAGES", "Costs", "find_costs"]

TRAINED_IMAGES = 16
"""Images in the training step that ``Costs.train_bytes`` is about."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What one network with default options needs, in single precision.

    Attributes:
        name: Name of the network.
        size_bytes: Weights and buffers.
        memory_bytes: Predicted peak of one image in inference, weights included.
        train_bytes: Predicted peak of a training step of 16 images, SGD with momentum.
        receptive_field: Pixels along one axis that the last stage sees, or None where it has no
            local field, as after attention.
        class_params: Parameters that each class more adds; four bytes of weights each.
        class_macs: Multiply-accumulates that it adds.
        class_memory_bytes: What each class less than the catalogue's spares of ``memory_bytes``,
            down to one; None where that is no straight line.
        class_train_bytes: The same of ``train_bytes``.
        channel_params: Parameters that each channel of the image more adds.
        channel_macs: Multiply-accumulates that it adds.
    """

    name: str
    size_bytes: int
    memory_bytes: int
    train_bytes: int
    receptive_field: int | None
    class_params: int
    class_macs: int
    class_memory_bytes: int | None
    class_train_bytes: int | None
    channel_params: int
    channel_macs: int


def find_costs(name: str) -> Costs:
    """Return the costs of the network called ``name``.

    Raises:
        UnknownNameError: No such network; the nearest names are in the message.
    """
    costs = _costs()
    if name not in costs:
        raise UnknownNameError.of("model", name, costs)
    return costs[name]


@cache
def _costs() -> dict[str, Costs]:
    text = (files("convatlas.models") / "facts" / "costs.csv").read_text(encoding="utf-8")
    return {row["name"]: _row(row) for row in csv.DictReader(text.splitlines())}


def _row(row: dict[str, str]) -> Costs:
    def known(name: str) -> int | None:
        return int(row[name]) if row[name] else None

    return Costs(
        name=row["name"],
        size_bytes=int(row["size_bytes"]),
        memory_bytes=int(row["memory_bytes"]),
        train_bytes=int(row["train_bytes"]),
        receptive_field=known("receptive_field"),
        class_params=int(row["class_params"]),
        class_macs=int(row["class_macs"]),
        class_memory_bytes=known("class_memory_bytes"),
        class_train_bytes=known("class_train_bytes"),
        channel_params=int(row["channel_params"]),
        channel_macs=int(row["channel_macs"]),
    )
