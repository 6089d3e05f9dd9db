"""Runs as one page: their learning curves on top of each other, and the figures as tables.

It takes what :mod:`convatlas.render.runs` takes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.page import (
    page_environment,
    page_palettes,
    page_script,
    page_style,
    plotly_script,
)
from convatlas.render.runs import Values, comparison_notes, figure_rows, setting_text
from convatlas.render.traces import axis, blank_figure, line, plain

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["curves", "runs_html"]

_FEW_EPOCHS = 8
_MEASURES = {
    "train_loss": ("Training loss", "nats", 1),
    "validation_loss": ("Held-out loss", "nats", 1),
    "accuracy": ("Held-out accuracy", "%", 100),
    "lr": ("Learning rate", None, 1),
    "images_per_second": ("Speed", "images/s", 1),
}
# Three colours and five dashes: as many runs as 15 are told apart, and five without colour.
_COLOURS = ("series-1", "series-2", "series-3")
_DASHES = {"solid": "none", "dash": "7 4", "dot": "2 3", "longdash": "12 4", "dashdot": "8 3 2 3"}
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross")


def curves(runs: Sequence[Values]) -> dict[str, Figure]:
    """Return one figure per measure, with a line per run, as far as any run recorded it."""
    figures = {}
    most = max((run["history"][-1]["epoch"] for run in runs if run["history"]), default=0)
    for measure, (_, unit, scale) in _MEASURES.items():
        traces = []
        for number, run in enumerate(runs):
            epochs = [e for e in run["history"] if e[measure] is not None]
            if epochs:
                points = [(epoch["epoch"], epoch[measure] * scale) for epoch in epochs]
                traces.append(line(plain(run["name"]), points, _style(number)))
        if traces:
            from_zero = measure in ("lr", "images_per_second")
            figures[measure] = blank_figure(
                traces,
                xaxis=axis("Epoch", dtick=1 if most <= _FEW_EPOCHS else None),
                yaxis=axis(unit, rangemode="tozero" if from_zero else "normal"),
                hovermode="x unified",
            )
    return figures


def runs_html(runs: Sequence[Values], differences: Sequence[Values]) -> str:
    """Return one page with the curves and their tables, which loads nothing."""
    from convatlas import __version__

    return (
        page_environment()
        .get_template("runs.html.j2")
        .render(
            names=[run["name"] for run in runs],
            keys=[_key(number, run["name"]) for number, run in enumerate(runs)],
            figures=curves(runs),
            titles={name: title for name, (title, _, _) in _MEASURES.items()},
            units={name: unit for name, (_, unit, _) in _MEASURES.items()},
            rows=figure_rows(runs),
            differences=[(d["name"], [setting_text(v) for v in d["values"]]) for d in differences],
            notes=comparison_notes(runs, differences),
            epochs=[(run["name"], epoch) for run in runs for epoch in run["history"]],
            style=page_style("comparison.css"),
            palettes=page_palettes(),
            plotly=plotly_script(),
            scripts=[page_script("report.js")],
            version=__version__,
        )
    )


def _style(number: int) -> dict[str, str]:
    return {
        "meta": _COLOURS[number % len(_COLOURS)],
        "dash": list(_DASHES)[number % len(_DASHES)],
        "symbol": _SYMBOLS[number % len(_SYMBOLS)],
    }


def _key(number: int, name: str) -> Mapping[str, Any]:
    style = _style(number)
    return {"name": name, "colour": style["meta"], "dashes": _DASHES[style["dash"]]}
