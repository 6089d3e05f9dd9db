"""Networks side by side: tables for the terminal, JSON, and one page with charts.

It knows what a comparison holds and not how its figures came about.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.comparison_figures import accuracy_bubbles, accuracy_latency, layer_bars
from convatlas.render.data import entry_rows, group_rows, to_json
from convatlas.render.page import (
    page_environment,
    page_palettes,
    page_script,
    page_style,
    plotly_script,
)
from convatlas.render.units import MISSING, bytes_text, count, latency, pixels

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.analysis.comparison import Compared, Comparison
    from convatlas.analysis.report import GroupCost

__all__ = ["comparison_html", "comparison_notes", "comparison_tables", "comparison_to_json"]

_MEASURES = {"params": "params", "macs": "MACs", "activation_bytes": "activations"}
_GAP = 2
_WHOLE = "network"
_LABELS = 24  # cells of the two columns that name a row


def comparison_tables(comparison: Comparison, width: int | None = None) -> list[Table]:
    """Return stages and totals with a column per network; more tables where they are too many.

    Args:
        comparison: The networks.
        width: Terminal cells; those of this terminal by default.
    """
    width = width or terminal_width()
    labels = _labels(comparison)
    tables = []
    rest = [Column(n.name, _cells(n, comparison), is_number=True) for n in comparison.networks]
    while rest:
        room, taken = width - _LABELS, 0
        for column in rest:
            room -= max(map(len, (column.header, *column.cells))) + _GAP
            if taken and room < 0:
                break
            taken += 1
        columns = [Column("stage", [s for s, _ in labels]), Column("", [f for _, f in labels])]
        tables.append(fitted_table([*columns, *rest[:taken]], width))
        rest = rest[taken:]
    return tables


def comparison_notes(comparison: Comparison) -> list[str]:
    """Return who published the accuracies, and the conventions, one sentence each."""
    notes = [_accuracy_note(network) for network in comparison.networks]
    notes.append(
        "All for one image; 1 MAC = one multiply and one add, FLOPs count every operation. "
        "1 MB = 10⁶ bytes. Backward: MACs that a training step adds."
    )
    notes.append(
        "Receptive field: that of the last stage, gates aside; – where an operation before it is "
        "global or has no rule."
    )
    notes.append("Peak memory is predicted, for inference in single precision, weights included.")
    if any(n.cost.is_lower_bound for n in comparison.networks):
        notes.append("≥: some operators have no formula, so the figure is at least that.")
    timed = next((n.latency for n in comparison.networks if n.latency), None)
    if timed:
        notes.append(
            f"Latency: measured here with random weights, threads: {timed.threads}; median, "
            "10th to 90th percentile."
        )
    return notes


def comparison_to_json(comparison: Comparison) -> str:
    """Return totals, stages and published accuracy of each network, and the Pareto front."""
    return to_json(
        {
            "networks": [_values(network) for network in comparison.networks],
            "pareto_front": [entry.name for entry in comparison.front],
        }
    )


def comparison_html(comparison: Comparison) -> str:
    """Return one page with the charts and their tables, which loads nothing."""
    from convatlas import __version__

    labels = _labels(comparison)
    cells = [_cells(network, comparison) for network in comparison.networks]
    rows = [(*pair, row) for pair, row in zip(labels, zip(*cells, strict=True), strict=True)]
    start = labels.index((_WHOLE, "input"))  # a page begins with what matters most
    measured = [n for n in comparison.networks if n.latency]
    placed = [n for n in measured if n.entry in comparison.published]
    return (
        page_environment()
        .get_template("comparison.html.j2")
        .render(
            names=[n.name for n in comparison.networks],
            rows=rows[start:] + rows[:start],
            notes=comparison_notes(comparison),
            bubbles=accuracy_bubbles(comparison),
            families=sorted({entry.family.name for entry in comparison.published}),
            published=sorted(comparison.published, key=lambda entry: entry.macs),
            front=comparison.front,
            chosen={n.name for n in comparison.networks},
            absent=[n.name for n in comparison.networks if n.entry not in comparison.published],
            layers=[_layer_view(network) for network in comparison.networks],
            measured=measured,
            speed=accuracy_latency(placed) if placed else None,
            style=page_style("comparison.css"),
            palettes=page_palettes(),
            plotly=plotly_script(),
            scripts=[page_script("report.js"), page_script("comparison.js")],
            version=__version__,
        )
    )


def _layer_view(network: Compared) -> dict[str, Any]:
    layers = network.layers
    return {
        "name": network.name,
        "input_size": network.input_size,
        "layers": layers,
        "figures": {measure: layer_bars(layers, measure) for measure in _MEASURES},
    }


def _labels(comparison: Comparison) -> list[tuple[str, str]]:
    """Return stage and figure of each row; the stage stands in its first row alone."""
    figures = ["output", *_MEASURES.values()]
    rows = [(s if i == 0 else "", f) for s in _stages(comparison) for i, f in enumerate(figures)]
    totals = list(_totals(comparison.networks[0]))
    return rows + [(_WHOLE if i == 0 else "", label) for i, label in enumerate(totals)]


def _cells(network: Compared, comparison: Comparison) -> list[str]:
    stages = {group.name: group for group in network.cost.by_stage()}
    cells = [cell for name in _stages(comparison) for cell in _stage_cells(stages.get(name))]
    return cells + list(_totals(network).values())


def _stages(comparison: Comparison) -> list[str]:
    """Return the stages of all networks: the stem, the stages by number, the head, the rest."""
    names = {group.name for network in comparison.networks for group in network.cost.by_stage()}

    def place(name: str) -> tuple[int, int, str]:
        first, _, number = name.partition(".")
        order = {"stem": 0, "stages": 1, "head": 2}.get(first, 3)
        return order, int(number) if number.isdigit() else 0, name

    return sorted(names, key=place)


def _stage_cells(group: GroupCost | None) -> list[str]:
    if group is None:
        return [MISSING] * (1 + len(_MEASURES))
    shape = "×".join(map(str, group.output_shape[1:]))
    return [shape, count(group.params), count(group.macs), bytes_text(group.activation_bytes)]


def _totals(network: Compared) -> dict[str, str]:
    """Return the figures of a whole network in the order of the rows."""
    cost, bound = network.cost, "≥ " if network.cost.is_lower_bound else ""
    field, top1 = network.receptive_field, network.entry.top1
    totals = {
        "input": pixels(network.input_size),
        "params": count(cost.params),
        "MACs": bound + count(cost.macs),
        "FLOPs": bound + count(cost.flops),
        "backward MACs": bound + count(cost.backward_macs),
        "activations": bytes_text(cost.activation_bytes),
        "receptive field": pixels(max(field.size)) if field else MISSING,
        "peak memory": bytes_text(network.memory.peak_bytes),
        "top-1": MISSING if top1 is None else f"{top1:.2f} %",
    }
    if network.latency:
        spread = f"{latency(network.latency.low_ms)}–{latency(network.latency.high_ms)}"
        totals |= {"latency": latency(network.latency.median_ms), "10–90 %": spread}
    return totals


def _accuracy_note(network: Compared) -> str:
    entry = network.entry
    if entry.top1 is None:
        return f"{entry.name}: no published top-1 accuracy is known."
    at = f" at {entry.input_size} px" if network.input_size != entry.input_size else ""
    return f"{entry.name}: top-1 on {entry.dataset}{at} from {entry.accuracy_source}."


def _values(network: Compared) -> dict[str, Any]:
    (facts,) = entry_rows([network.entry])
    published = ("name", "family", "year", "dataset", "top1_percent", "accuracy_source")
    sums = ("params", "macs", "flops", "backward_macs", "activation_bytes")
    field = network.receptive_field
    return {
        **{key: facts[key] for key in published},
        "input_size_px": network.input_size,
        **{key: getattr(network.cost, key) for key in sums},
        "is_lower_bound": network.cost.is_lower_bound,
        "receptive_field_px": max(field.size) if field else None,
        "peak_bytes": network.memory.peak_bytes,
        "latency": asdict(network.latency) if network.latency else None,
        "stages": group_rows(network.cost.by_stage()),
    }
