"""What pretraining is worth on these images, as tables and as one page with a chart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.page import (
    page_environment,
    page_palettes,
    page_script,
    page_style,
    plotly_script,
)
from convatlas.render.palette import LIGHT
from convatlas.render.traces import axis, blank_figure
from convatlas.render.units import interval, percent, seconds_text, whole

if TYPE_CHECKING:
    from plotly.graph_objects import Figure
    from rich.table import Table

    from convatlas.tasks.transferred import Method, ProbedLayer

__all__ = ["layers_table", "methods_table", "transfer_html", "verdict_lines"]


def layers_table(layers: Sequence[ProbedLayer], width: int | None = None) -> Table:
    """Return a row per layer: what a linear probe on its features gets right."""
    columns = [
        Column("layer", [each.layer for each in layers]),
        Column("features", [whole(each.channels) for each in layers], 1, is_number=True),
        Column("pretrained", [percent(each.accuracy) for each in layers], is_number=True),
        Column("95 %", [interval(each.interval) for each in layers], 3, is_number=True),
        Column("untrained", [percent(each.random_accuracy) for each in layers], is_number=True),
        Column("95 % ", [interval(each.random_interval) for each in layers], 2, is_number=True),
    ]
    title = "Accuracy of a linear probe on each layer's pooled features"
    return fitted_table(columns, width or terminal_width(), title=title)


def methods_table(methods: Sequence[Method], width: int | None = None) -> Table:
    """Return a row per way to train."""
    columns = [
        Column("method", [each.name for each in methods]),
        Column("epochs", [whole(each.epochs) for each in methods], 1, is_number=True),
        Column("training", [seconds_text(each.seconds) for each in methods], 2, is_number=True),
        Column("accuracy", [percent(each.accuracy) for each in methods], is_number=True),
        Column("95 % (bootstrap)", [interval(each.interval) for each in methods], is_number=True),
    ]
    return fitted_table(columns, width or terminal_width())


def verdict_lines(methods: Sequence[Method]) -> list[str]:
    """Return how each method stands against the best one, in a sentence each."""
    return [each.against_best for each in methods if each.against_best]


def transfer_html(model: str, data: str, layers: Sequence[ProbedLayer]) -> str:
    """Return one page with the chart and the table of probed layers, which loads nothing."""
    from convatlas import __version__

    best = max(layers, key=lambda each: each.accuracy)
    return (
        page_environment()
        .get_template("transfer.html.j2")
        .render(
            model=model,
            data=data,
            best=best,
            layers=layers,
            chart=_chart(layers),
            style=page_style(),
            palettes=page_palettes(),
            plotly=plotly_script(),
            script=page_script("report.js"),
            version=__version__,
        )
    )


def _chart(layers: Sequence[ProbedLayer]) -> Figure:
    """Return accuracy over depth, pretrained and untrained, with intervals."""
    names = [each.layer for each in layers]
    trained = _line("pretrained", names, [(each.accuracy, each.interval) for each in layers])
    untrained = [(each.random_accuracy, each.random_interval) for each in layers]
    random = _line("untrained", names, untrained, series="series-2", dash="dot", symbol="diamond")
    return blank_figure(
        [trained, random],
        xaxis=axis("Layer, from the input to the classifier", type="category"),
        yaxis=axis("Held-out accuracy of a linear probe (%)"),
        showlegend=True,
        height=400,
    )


def _line(
    name: str,
    layers: Sequence[str],
    found: Sequence[tuple[float, tuple[float, float]]],
    *,
    series: str = "series-1",
    dash: str = "solid",
    symbol: str = "circle",
) -> dict[str, Any]:
    error = {
        "type": "data",
        "symmetric": False,
        "array": [100 * (bounds[1] - value) for value, bounds in found],
        "arrayminus": [100 * (value - bounds[0]) for value, bounds in found],
        "thickness": 1.2,
    }
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "meta": series,
        "x": list(layers),
        "y": [100 * value for value, _ in found],
        "error_y": error,  # in the colour of the line, whatever that becomes
        "line": {"color": LIGHT[series], "dash": dash, "width": 2},
        "marker": {"color": LIGHT[series], "symbol": symbol, "size": 8},
        "hovertemplate": "%{x}: %{y:.1f} %<extra>" + name + "</extra>",
    }
