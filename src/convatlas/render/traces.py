"""The parts that figures are made of: axes, lines, bars, and text that Plotly takes as it is.

It knows what a figure looks like, but not what it shows. Plotly is imported when the first
figure is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from convatlas.render.palette import FONT, LIGHT

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = ["axis", "bars", "blank_figure", "line", "name_ticks", "plain"]

_LONGEST_LABEL = 18


def blank_figure(traces: Sequence[Mapping[str, Any]], **layout: Any) -> Figure:
    """Return a figure without background, template and zooming, with ``layout`` laid on top."""
    from plotly.graph_objects import Figure

    figure = Figure(
        data=list(traces),
        layout={
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": FONT, "size": 13, "color": LIGHT["text"]},
            "margin": {"l": 8, "r": 12, "t": 34 if layout.get("showlegend") else 12, "b": 8},
            "legend": {
                "orientation": "h",
                "x": 0,
                "y": 1.02,
                "yanchor": "bottom",
                "traceorder": "normal",
            },
            "dragmode": False,
            "showlegend": False,
            **layout,
        },
    )
    figure.layout.template = None
    return figure


def axis(title: str | None, **options: Any) -> dict[str, Any]:
    """Return an axis that makes room for its labels and cannot be dragged."""
    return {
        "title": {"text": title, "standoff": 8} if title else None,
        "automargin": True,
        "fixedrange": True,
        "gridcolor": LIGHT["rule"],
        "linecolor": LIGHT["rule"],
        "zeroline": False,
        **options,
    }


def name_ticks(names: Sequence[str]) -> dict[str, Any]:
    """Return an axis of positions 0, 1 …: names would merge when equal, and "3" be a number."""
    return {"tickvals": list(range(len(names))), "ticktext": [_short(name) for name in names]}


def _short(name: str) -> str:
    """Return a name as the label of an axis."""
    cut = name if len(name) <= _LONGEST_LABEL else name[: _LONGEST_LABEL - 1] + "…"
    return plain(cut)


def plain(text: str) -> str:
    """Return text that Plotly shows as it is: no tags, and no formula between two ``$``."""
    return escape(text, quote=False).replace("$", "&#36;")


def line(
    name: str, points: Sequence[tuple[int, float]], style: Mapping[str, str]
) -> dict[str, Any]:
    """Return a line through ``points`` (x, y).

    Args:
        name: Its name in the legend.
        points: One (x, y) each.
        style: ``meta`` (a colour's name), ``dash`` and ``symbol``, so that lines can be told
            apart without colours.
    """
    colour = LIGHT[style["meta"]]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= 30 else "lines",
        "name": name,
        "meta": style["meta"],
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "line": {"color": colour, "width": 2, "dash": style["dash"]},
        "marker": {"color": colour, "size": 5, "symbol": style["symbol"]},
        "hovertemplate": "%{y:.4~g}",
    }


def bars(
    meta: str, names: Sequence[str], values: Sequence[float], series: str, hover: Sequence[str]
) -> dict[str, Any]:
    """Return horizontal bars at the positions 0, 1 ….

    Args:
        meta: Name of their colour.
        names: What each bar stands for.
        values: Their lengths.
        series: What all of them stand for, in the legend.
        hover: What is said of each when it is pointed at.
    """
    labels = [plain(name) for name in names]
    return {
        "type": "bar",
        "orientation": "h",
        "name": plain(series),
        "meta": meta,
        "x": list(values),
        "y": list(range(len(names))),
        "marker": {"color": LIGHT[meta]},
        "hovertext": [
            f"{label}<br>{plain(series)}: {text}" for label, text in zip(labels, hover, strict=True)
        ],
        "hoverinfo": "text",
    }
