"""Results as JSON and CSV: one row per thing, units in the names, the same order every time.

``macs`` counts multiply-accumulates, ``flops`` operations; ``_bytes``, ``_px`` and
``_percent`` are what they say. It knows neither files nor terminals.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from convatlas.analysis.report import CostReport, GroupCost
    from convatlas.models.catalogue import Entry

__all__ = [
    "Prediction",
    "cost_rows",
    "cost_to_csv",
    "cost_to_json",
    "entries_to_csv",
    "entries_to_json",
    "entry_rows",
    "group_rows",
    "predictions_to_json",
    "to_csv",
    "to_json",
]

Row = dict[str, Any]


class Prediction(Protocol):
    """The most probable classes of one image, the best first; probabilities 0 … 1."""

    @property
    def path(self) -> Path:
        """The image's file."""

    @property
    def model(self) -> str:
        """The network or run that was asked."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names."""

    @property
    def probabilities(self) -> Sequence[float]:
        """Their probabilities."""


def to_json(value: Any) -> str:
    """Return JSON values, dataclasses and paths as indented JSON with a line end.

    NaN and infinity, for which JSON has no word, become null.
    """
    return json.dumps(_plain(value), ensure_ascii=False, indent=2, allow_nan=False) + "\n"


def to_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as CSV with a header, lines ending in a line feed.

    None is an empty cell; the parts of a list are joined by ``x`` when they are numbers
    (``1x64x112x112``), else by ``;``.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return text.getvalue()


def entry_rows(entries: Iterable[Entry]) -> list[Row]:
    """Return one row per network of the catalogue."""
    return [
        {
            "name": entry.name,
            "family": entry.family.name,
            "year": entry.year,
            "dataset": entry.dataset,
            "num_classes": entry.num_classes,
            "in_channels": entry.in_channels,
            "input_size_px": entry.input_size,
            "min_input_size_px": entry.min_input_size,
            "params": entry.params,
            "macs": entry.macs,
            "top1_percent": entry.top1,
            "top5_percent": entry.top5,
            "accuracy_source": entry.accuracy_source,
            "weights": [weights.source for weights in entry.weights],
        }
        for entry in entries
    ]


def cost_rows(report: CostReport) -> list[Row]:
    """Return one row per layer; the receptive field is its longer side."""
    return [
        {
            "name": layer.name,
            "operator": layer.operator,
            "module_type": layer.module_type,
            "output_shape": list(layer.output_shape),
            "params": layer.params,
            "macs": layer.macs,
            "flops": layer.flops,
            "backward_macs": layer.backward_macs,
            "activation_bytes": layer.activation_bytes,
            "read_bytes": layer.read_bytes,
            "written_bytes": layer.written_bytes,
            "flops_per_byte": round(layer.intensity, 3),
            "receptive_field_px": max(layer.receptive_field.size)
            if layer.receptive_field
            else None,
            "is_counted": layer.is_counted,
        }
        for layer in report.layers
    ]


def entries_to_json(entries: Iterable[Entry]) -> str:
    """Return networks of the catalogue as JSON."""
    return to_json(entry_rows(entries))


def entries_to_csv(entries: Iterable[Entry]) -> str:
    """Return networks of the catalogue as CSV."""
    return to_csv(entry_rows(entries))


def group_rows(groups: Iterable[GroupCost]) -> list[Row]:
    """Return one row per sum of layers."""
    return [{**asdict(group), "flops_per_byte": round(group.intensity, 3)} for group in groups]


def cost_to_json(report: CostReport, groups: Iterable[GroupCost] | None = None) -> str:
    """Return totals, the operators that were not counted, and every layer or sum, as JSON."""
    totals = ("params", "trainable_params", "macs", "flops", "backward_macs")
    memory = ("activation_bytes", "read_bytes", "written_bytes")
    return to_json(
        {
            "input_shape": report.input_shape,
            "output_shape": report.output_shape,
            **{name: getattr(report, name) for name in (*totals, *memory)},
            "is_lower_bound": report.is_lower_bound,
            "uncounted": [asdict(each) for each in report.uncounted],
            **({"layers": cost_rows(report)} if groups is None else {"groups": group_rows(groups)}),
        }
    )


def cost_to_csv(report: CostReport, groups: Iterable[GroupCost] | None = None) -> str:
    """Return every layer or sum as CSV; totals are left to whoever sums the columns."""
    return to_csv(cost_rows(report) if groups is None else group_rows(groups))


def predictions_to_json(predictions: Iterable[Prediction]) -> str:
    """Return the classes of each image with their probabilities, as JSON."""
    return to_json(
        [
            {
                "path": str(each.path),
                "model": each.model,
                "predictions": [
                    {"class": name, "probability": probability}
                    for name, probability in zip(each.classes, each.probabilities, strict=True)
                ],
            }
            for each in predictions
        ]
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        numbers = all(isinstance(item, int | float) for item in value)
        return ("x" if numbers else ";").join(map(str, value))
    return "" if value is None else value
