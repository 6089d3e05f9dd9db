"""Results as tables for the terminal, readable at 80 columns and better at 120.

Formats what others computed; rich is imported when the first table is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.units import MISSING, bytes_text, count, latency, percent, plural, whole

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.analysis.report import CostReport, GroupCost, LayerCost
    from convatlas.models.catalogue import Entry
    from convatlas.render.data import Prediction

__all__ = ["choice_table", "cost_table", "group_table", "models_table", "predictions_table"]

_CONVENTIONS = "1 MAC = one multiply and one add; 1 FLOP = one operation."


def models_table(entries: Sequence[Entry], width: int | None = None) -> Table:
    """Return the networks of the catalogue with their published figures.

    Args:
        entries: One row each.
        width: Terminal cells; those of this terminal by default.
    """
    columns = [
        Column("name", [entry.name for entry in entries]),
        Column("family", [entry.family.name for entry in entries], 0),
        Column("year", [str(entry.year) for entry in entries], 1, is_number=True),
        Column("data set", [entry.dataset for entry in entries], 2),
        Column("input px", [str(entry.input_size) for entry in entries], 4, is_number=True),
        Column("params", [count(entry.params) for entry in entries], is_number=True),
        Column("MACs", [count(entry.macs) for entry in entries], is_number=True),
        Column("top-1 %", [_per_cent(entry.top1) for entry in entries], is_number=True),
        Column("weights", [_sources(entry) for entry in entries], 3),
    ]
    notes = [
        f"{plural(len(entries), 'network')}. MACs of one image; 1 MAC = one multiply and one add.",
        "top-1: published accuracy on the data set that the network was made for.",
    ]
    return fitted_table(columns, width or terminal_width(), notes=notes)


def cost_table(report: CostReport, width: int | None = None) -> Table:
    """Return what every layer costs, with the totals in the last row.

    Args:
        report: The analysis.
        width: Terminal cells; those of this terminal by default.
    """
    layers = report.layers
    bound = "≥ " if report.is_lower_bound else ""
    activations = bytes_text(report.activation_bytes)
    columns = [
        Column("layer", [*(layer.name for layer in layers), "total"]),
        Column("operator", [*(layer.operator for layer in layers), ""], 1),
        Column("output shape", [*(_shape(layer) for layer in layers), ""], 4, is_number=True),
        Column("params", _figures(layers, "params", count(report.params)), is_number=True),
        Column("MACs", _figures(layers, "macs", bound + count(report.macs)), is_number=True),
        Column("FLOPs", _figures(layers, "flops", bound + count(report.flops)), 0, is_number=True),
        Column(
            "activation",
            [*map(bytes_text, (layer.activation_bytes for layer in layers)), activations],
            3,
            is_number=True,
        ),
        Column("RF px", [*(_field(layer) for layer in layers), ""], 2, is_number=True),
    ]
    return fitted_table(
        columns,
        width or terminal_width(),
        totals=True,
        notes=[*_cost_notes(report), "RF: receptive field."],
    )


def group_table(
    report: CostReport, groups: Sequence[GroupCost], by: str, width: int | None = None
) -> Table:
    """Return sums of layers, with the totals in the last row.

    Args:
        report: The analysis.
        groups: Sums of its layers.
        by: What the layers of a sum share, as the first column's header.
        width: Terminal cells; those of this terminal by default.
    """
    bound = "≥ " if report.is_lower_bound else ""
    moved = report.read_bytes + report.written_bytes
    ratios = [*(group.intensity for group in groups), report.flops / moved if moved else 0.0]

    def sums(header: str, name: str, importance: int | None, text: Callable[[int], str]) -> Column:
        start = bound if "macs" in name or name == "flops" else ""
        cells = [text(getattr(group, name)) for group in groups]
        return Column(header, [*cells, start + text(getattr(report, name))], importance, True)

    shapes = ["×".join(map(str, group.output_shape)) for group in groups]
    columns = [
        Column(by, [*(group.name for group in groups), "total"]),
        Column("layers", [*(str(g.layers) for g in groups), str(len(report.layers))], 1, True),
        Column("output shape", [*shapes, ""], 2, True),
        sums("params", "params", None, count),
        sums("MACs", "macs", None, count),
        sums("FLOPs", "flops", 3, count),
        sums("backward MACs", "backward_macs", 0, count),
        sums("activation", "activation_bytes", 6, bytes_text),
        sums("read", "read_bytes", 4, bytes_text),
        sums("written", "written_bytes", 4, bytes_text),
        Column("FLOPs/B", [f"{v:.1f}" for v in ratios], 5, True),
    ]
    notes = [*_cost_notes(report), "FLOPs/B: FLOPs per byte read or written."]
    return fitted_table(columns, width or terminal_width(), totals=True, notes=notes)


def predictions_table(prediction: Prediction, width: int | None = None) -> Table:
    """Return the most probable classes of one image.

    Args:
        prediction: Classes and their probabilities, the best first.
        width: Terminal cells; those of this terminal by default.
    """
    columns = [
        Column("class", [printable(name) for name in prediction.classes]),
        Column("probability", [percent(p) for p in prediction.probabilities], is_number=True),
    ]
    title = f"{printable(Path(prediction.path).name)} · {printable(prediction.model)}"
    return fitted_table(columns, width or terminal_width(), title=title)


def choice_table(choice: Mapping[str, Any], width: int | None = None) -> Table:
    """Return the networks that a choice looked at, kept and dropped, with reasons.

    Args:
        choice: As in a run's ``choice.json``: ``chosen``, ``reason``, ``candidates``.
        width: Terminal cells; those of this terminal by default.
    """
    rows: Sequence[Mapping[str, Any]] = choice["candidates"]
    chosen = choice["chosen"]["name"]
    verdicts = [
        "chosen" if r["name"] == chosen else "kept" if r["kept"] else "dropped" for r in rows
    ]
    columns = [
        Column("network", [printable(row["name"]) for row in rows]),
        Column("verdict", verdicts),
        Column("params", [count(row.get("params")) for row in rows], 2, is_number=True),
        Column("MACs", [count(row.get("macs")) for row in rows], 3, is_number=True),
        Column("top-1 %", [_per_cent(row.get("top1")) for row in rows], 1, is_number=True),
        Column("latency", [latency(row.get("latency_ms")) for row in rows], 0, is_number=True),
        Column("reason", [printable(row.get("reason") or "") for row in rows], is_prose=True),
    ]
    if not any(row.get("latency_ms") is not None for row in rows):
        columns = [column for column in columns if column.header != "latency"]
    return fitted_table(columns, width or terminal_width(), notes=[printable(choice["reason"])])


def _per_cent(value: float | None) -> str:
    return MISSING if value is None else f"{value:.1f}"


def _sources(entry: Entry) -> str:
    libraries = (weights.source.partition(":")[0] for weights in entry.weights)
    return ", ".join(dict.fromkeys(libraries)) or MISSING


def _shape(layer: LayerCost) -> str:
    return "×".join(map(str, layer.output_shape))


def _figures(layers: Sequence[LayerCost], name: str, total: str) -> list[str]:
    uncounted = name in ("macs", "flops")
    cells = [
        "?" if uncounted and not layer.is_counted else count(getattr(layer, name))
        for layer in layers
    ]
    return [*cells, total]


def _field(layer: LayerCost) -> str:
    if layer.receptive_field is None:
        return MISSING
    size = layer.receptive_field.size
    return str(size[0]) if len(set(size)) == 1 else "×".join(map(str, size))


def _cost_notes(report: CostReport) -> list[str]:
    shape = "×".join(map(str, report.input_shape))
    notes = [f"Input {shape}, {whole(report.params)} parameters. {_CONVENTIONS}"]
    if report.is_lower_bound:
        names = ", ".join(f"{each.operator} ({each.count}×)" for each in report.uncounted)
        notes.append(f"At least, because these operators have no formula: {names}.")
    return notes
