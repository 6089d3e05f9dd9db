"""The charts of a comparison as Plotly figures: accuracy over cost or time, costs per layer.

It knows what a comparison holds; colours and axes are those of every figure of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10
from typing import TYPE_CHECKING, Any

from convatlas.render.palette import LIGHT
from convatlas.render.traces import axis, blank_figure, plain
from convatlas.render.units import bytes_text, count, latency, limit

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

    from convatlas.analysis.comparison import Compared, Comparison
    from convatlas.analysis.report import GroupCost
    from convatlas.models.catalogue import Entry

__all__ = ["accuracy_bubbles", "accuracy_latency", "entry_text", "layer_bars", "log_ticks"]

_LARGEST = 46  # diameter in pixels of the network with most parameters
_EDGE = "#8a8f96"  # stands out from light and dark pages alike
_FEW_LAYERS = 20
_PLACES = ("top left", "bottom right", "top right", "bottom left")
_TITLES = {"params": "Parameters", "macs": "MACs", "activation_bytes": "Activations"}


def accuracy_bubbles(comparison: Comparison) -> Figure:
    """Return top-1 accuracy over MACs; the area of a bubble is the number of parameters.

    There is one trace per family, one for the networks that are compared, and the Pareto
    front as a line.
    """
    most = max(entry.params for entry in comparison.published)
    scale = {"sizemode": "area", "sizeref": 2 * most / _LARGEST**2, "sizemin": 2.5}
    families: dict[str, list[Entry]] = {}
    for entry in comparison.published:
        families.setdefault(entry.family.name, []).append(entry)
    compared = [n.entry for n in comparison.networks if n.entry in comparison.published]
    traces = [
        _bubbles(members, name, "series-3", scale | {"opacity": 0.28})
        for name, members in families.items()
    ]
    traces.append(_front(comparison.front))
    if compared:
        named = _bubbles(compared, "compared", "series-1", scale | {"opacity": 0.85})
        named |= {
            "mode": "markers+text",
            "text": [f"<b>{plain(entry.name)}</b>" for entry in compared],
            "textposition": _text_places(compared),
            "cliponaxis": False,
        }
        traces.append(named)
    macs = [entry.macs for entry in comparison.published]
    return blank_figure(
        traces,
        xaxis=axis("MACs of one image", **log_ticks(macs)),
        yaxis=axis("Top-1 accuracy (%)", ticksuffix=" "),
        hovermode="closest",
        height=520,
    )


def accuracy_latency(networks: Sequence[Compared]) -> Figure:
    """Return top-1 accuracy over measured latency, with a bar from the 10th to the 90th per cent.

    Args:
        networks: Measured ones with a published accuracy.
    """
    known = [(n, n.latency) for n in networks if n.latency]
    trace = {
        "type": "scatter",
        "mode": "markers+text",
        "meta": "series-1",
        "x": [time.median_ms for _, time in known],
        "y": [n.entry.top1 for n, _ in known],
        "text": [plain(n.name) for n, _ in known],
        "textposition": "top center",
        "cliponaxis": False,
        "marker": {"color": LIGHT["series-1"], "size": 11},
        "error_x": {
            "array": [time.high_ms - time.median_ms for _, time in known],
            "arrayminus": [time.median_ms - time.low_ms for _, time in known],
            "symmetric": False,
            "color": _EDGE,
            "thickness": 1.2,
        },
        "hovertext": [
            f"<b>{plain(n.name)}</b><br>{latency(time.median_ms)} "
            f"({latency(time.low_ms)}–{latency(time.high_ms)})<br>top-1 {n.entry.top1:.2f} %"
            for n, time in known
        ],
        "hoverinfo": "text",
    }
    scores = [n.entry.top1 or 0.0 for n, _ in known]
    return blank_figure(
        [trace],
        xaxis=axis(
            "Latency of one image here (ms)",
            range=[0, max(time.median_ms for _, time in known) * 1.25],
        ),
        yaxis=axis("Top-1 accuracy (%)", range=[min(scores) - 2, max(scores) + 3]),
        hovermode="closest",
        height=360,
    )


def layer_bars(layers: Sequence[GroupCost], measure: str) -> Figure:
    """Return one upright bar per layer, from the input on the left to the output.

    Args:
        layers: Sums per layer.
        measure: ``"params"``, ``"macs"`` or ``"activation_bytes"``.
    """
    values = [getattr(layer, measure) for layer in layers]
    told = [bytes_text(v) if measure == "activation_bytes" else count(v) for v in values]
    names = [plain(layer.name) for layer in layers]
    trace = {
        "type": "bar",
        "meta": "series-1",
        "x": list(range(1, len(layers) + 1)),
        "y": values,
        "marker": {"color": LIGHT["series-1"], "line": {"width": 0}},
        "hovertext": [
            f"<b>{number}. {name}</b><br>{_TITLES[measure]}: {text}"
            for number, (name, text) in enumerate(zip(names, told, strict=True), start=1)
        ],
        "hoverinfo": "text",
    }
    few = len(layers) <= _FEW_LAYERS
    suffix = {"ticksuffix": "B"} if measure == "activation_bytes" else {}
    return blank_figure(
        [trace],
        xaxis=axis("Layer, from the input on", showgrid=False, dtick=1 if few else None),
        yaxis=axis(None, tickformat="~s", rangemode="tozero", nticks=5, **suffix),
        bargap=0.25 if few else 0.0,
        height=240,
    )


def entry_text(entry: Entry) -> str:
    """Return what is known of a network of the catalogue, in a sentence."""
    return (
        f"{entry.name} ({entry.year}): top-1 {entry.top1:.2f} %, {count(entry.macs)} MACs at "
        f"{entry.input_size} px, {count(entry.params)} parameters; {entry.accuracy_source}"
    )


def log_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return a logarithmic axis with ticks at 1, 3, 10 …, and some room at both ends."""
    low, high = log10(min(values)) - 0.12, log10(max(values)) + 0.15
    powers = range(floor(low), floor(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in (1, 3)]
    ticks = [tick for tick in ticks if low <= log10(tick) <= high]
    return {
        "type": "log",
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [limit(tick) for tick in ticks],
    }


def _bubbles(
    entries: Sequence[Entry], name: str, meta: str, marker: dict[str, Any]
) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "meta": meta,
        "x": [entry.macs for entry in entries],
        "y": [entry.top1 for entry in entries],
        "marker": {
            **marker,
            "color": LIGHT[meta],
            "size": [entry.params for entry in entries],
            "line": {"width": 1, "color": _EDGE},
        },
        "hovertext": [_hover(entry) for entry in entries],
        "hoverinfo": "text",
    }


def _front(front: Sequence[Entry]) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": "Pareto front",
        "meta": "series-2",
        "x": [entry.macs for entry in front],
        "y": [entry.top1 for entry in front],
        "line": {"color": LIGHT["series-2"], "width": 2, "shape": "hv"},
        "marker": {"color": LIGHT["series-2"], "size": 6, "symbol": "diamond"},
        "hovertext": [_hover(entry) + "<br><i>on the Pareto front</i>" for entry in front],
        "hoverinfo": "text",
    }


def _hover(entry: Entry) -> str:
    return (
        f"<b>{plain(entry.name)}</b> ({entry.year})<br>top-1 {entry.top1:.2f} %"
        f"<br>{count(entry.macs)} MACs at {entry.input_size} px"
        f"<br>{count(entry.params)} parameters<br>{plain(entry.accuracy_source)}"
    )


def _text_places(entries: Sequence[Entry]) -> list[str]:
    """Return where each name stands; neighbours in accuracy do not share a side."""
    ranked = sorted(entries, key=lambda entry: -(entry.top1 or 0.0))
    return [_PLACES[ranked.index(entry) % len(_PLACES)] for entry in entries]
