"""The charts of an evaluation as Plotly figures: reliability, and the scores per class.

It knows what an evaluation holds; colours and axes are those of every figure of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.figures import MOST_CLASSES_NAMED
from convatlas.render.palette import LIGHT
from convatlas.render.traces import axis, bars, blank_figure, name_ticks
from convatlas.render.units import percent, plural

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from convatlas.tasks.calibration import ReliabilityBin
    from convatlas.tasks.metrics import ClassScores

__all__ = ["class_bars", "reliability_plot", "weakest_classes"]

_SMALLEST, _LARGEST = 5, 22  # diameters in pixels of a bin with one image and with all
_STYLES = (
    {"meta": "series-2", "dash": "dot", "symbol": "diamond"},
    {"meta": "series-1", "dash": "solid", "symbol": "circle"},
)
_PERFECT = {"meta": "series-3", "dash": "dash"}


def reliability_plot(
    before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin] | None
) -> Figure:
    """Return accuracy over confidence, bin by bin; a larger mark stands for more images.

    Args:
        before: The reliability table of the logits as they are.
        after: That of the scaled logits; None where nothing could be scaled.
    """
    diagonal = _line("confidence = accuracy", [0, 100], [0, 100], _PERFECT)
    traces = [diagonal | {"mode": "lines", "hoverinfo": "skip", "opacity": 0.55}]
    tables = {"as trained": before, "temperature scaled": after}
    for (name, table), style in zip(tables.items(), _STYLES, strict=True):
        if table is not None:
            traces.append(_bins(name, table, style))
    ticks = {"range": [-2, 102], "tickvals": list(range(0, 101, 20))}
    return blank_figure(
        traces,
        xaxis=axis("Confidence (%)", constrain="domain", **ticks),
        yaxis=axis("Accuracy (%)", scaleanchor="x", constrain="domain", **ticks),
        showlegend=True,
        height=430,
    )


def class_bars(classes: Sequence[ClassScores], names: Sequence[str]) -> Figure:
    """Return the F1 of every class, the weakest on top; of many, the 50 weakest.

    Args:
        classes: Their scores.
        names: Their names, by label.
    """
    shown = weakest_classes(classes)
    labels = [names[scores.label] for scores in shown]
    values = [100 * scores.f1 for scores in shown]
    hover = [
        f"{percent(each.f1)}, recall {percent(each.recall)}, precision "
        f"{percent(each.precision)}, {plural(each.support, 'image')}"
        for each in shown
    ]
    texts = [percent(each.f1) for each in shown]
    trace = bars("series-1", labels, values, "F1", hover)
    return blank_figure(
        [trace | {"text": texts, "textposition": "outside", "cliponaxis": False}],
        xaxis=axis(None, range=[0, 125], showgrid=False, showticklabels=False),
        yaxis=axis(None, autorange="reversed", showgrid=False, **name_ticks(labels)),
        height=30 + 28 * len(shown),
    )


def weakest_classes(classes: Sequence[ClassScores]) -> list[ClassScores]:
    """Return the classes with the lowest F1 first, at most 50 of them."""
    return sorted(classes, key=lambda scores: scores.f1)[:MOST_CLASSES_NAMED]


def _bins(name: str, table: Sequence[ReliabilityBin], style: dict[str, str]) -> dict[str, Any]:
    filled = [each for each in table if each.confidence is not None and each.accuracy is not None]
    total = sum(each.count for each in filled)
    confidences = [100 * (each.confidence or 0) for each in filled]
    accuracies = [100 * (each.accuracy or 0) for each in filled]
    trace = _line(name, confidences, accuracies, style)
    trace["marker"]["size"] = [
        _SMALLEST + (_LARGEST - _SMALLEST) * (each.count / total) ** 0.5 for each in filled
    ]
    trace["hovertext"] = [
        f"{name}<br>confidence {percent(each.confidence)}, accuracy {percent(each.accuracy)}"
        f"<br>{plural(each.count, 'image')}"
        for each in filled
    ]
    return trace | {"mode": "lines+markers", "hoverinfo": "text", "cliponaxis": False}


def _line(
    name: str, x: Sequence[float], y: Sequence[float], style: dict[str, str]
) -> dict[str, Any]:
    colour = LIGHT[style["meta"]]
    return {
        "type": "scatter",
        "name": name,
        "meta": style["meta"],
        "x": list(x),
        "y": list(y),
        "line": {"color": colour, "width": 2, "dash": style["dash"]},
        "marker": {"color": colour, "symbol": style.get("symbol", "circle"), "opacity": 0.85},
    }
