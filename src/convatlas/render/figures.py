"""Plotly figures from plain data.

Backgrounds are transparent. Every trace that has a colour says which one of the palette in
``meta``, so that a page can paint it anew for a dark background. Plotly is imported when the
first figure is drawn. It knows neither files nor pages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from convatlas.render.palette import LIGHT
from convatlas.render.traces import axis, bars, blank_figure, line, name_ticks, plain
from convatlas.render.units import bytes_text, percent, plural, quantity

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

__all__ = [
    "MOST_CLASSES_NAMED",
    "class_balance",
    "confusion_colours",
    "confusion_matrix",
    "learning_curves",
    "stage_bars",
]

MOST_CLASSES_NAMED = 50
"""Figures with more classes than this leave names or numbers out."""

_FEW_EPOCHS = 8  # so few that a tick between two of them would be half an epoch
_TEXT_ROOM = 1.5  # length of the axis over the longest bar, for the number behind it
_WORST = 0.3  # share of a class, mistaken for one other, from which the colour is at its deepest
_CURVES = {
    "loss": ("Loss (nats)", {"train_loss": "train", "validation_loss": "validation"}),
    "accuracy": (
        "Accuracy (%)",
        {"train_accuracy": "train", "validation_accuracy": "validation"},
    ),
    "lr": ("Learning rate", {"lr": "learning rate"}),
}
_LINES = (
    {"meta": "series-2", "dash": "dot", "symbol": "diamond"},
    {"meta": "series-1", "dash": "solid", "symbol": "circle"},
)


def learning_curves(
    epochs: Sequence[Mapping[str, Any]], best_epoch: int | None = None
) -> dict[str, Figure]:
    """Return one figure for the loss, the accuracy and the learning rate, as far as recorded.

    Args:
        epochs: One mapping per epoch with ``epoch`` and any of ``train_loss``,
            ``validation_loss``, ``train_accuracy``, ``validation_accuracy`` (0 … 1), ``lr``
            and ``phase``, whose changes are marked.
        best_epoch: The epoch whose weights were kept; it is marked.
    """
    figures = {}
    for measure, (title, series) in _CURVES.items():
        scale = 100 if measure == "accuracy" else 1
        traces = []
        for (key, name), style in zip(series.items(), _LINES[-len(series) :], strict=True):
            points = [(e["epoch"], e[key] * scale) for e in epochs if e.get(key) is not None]
            if points:
                traces.append(line(name, points, style))
        if traces:
            figures[measure] = blank_figure(
                traces,
                xaxis=axis("Epoch", dtick=1 if len(epochs) <= _FEW_EPOCHS else None),
                yaxis=axis(title, rangemode="tozero" if measure == "lr" else "normal"),
                showlegend=len(series) > 1,
                hovermode="x unified",
                **_marks(epochs, best_epoch),
            )
    return figures


def confusion_matrix(counts: Sequence[Sequence[int]], classes: Sequence[str]) -> Figure:
    """Return the matrix with counts as text and the share of each true class as colour.

    Right answers are blue, mistakes orange.

    Args:
        counts: Images; row = true class, column = predicted class.
        classes: Names in the order of rows and columns; counts are readable up to about 50.
    """
    size = 13 if len(classes) <= 12 else 10 if len(classes) <= 25 else 8
    trace = {
        **_matrix_cells(counts, [plain(name) for name in classes]),
        "type": "heatmap",
        "meta": "confusion",
        "zmin": -1,
        "zmax": 1,
        "texttemplate": "%{text}",
        "textfont": {"size": size, "color": LIGHT["text"]},
        "hoverinfo": "text",
        "colorscale": confusion_colours(LIGHT),
        "showscale": False,
        "xgap": 1,
        "ygap": 1,
    }
    ticks = name_ticks(classes) | {
        "showgrid": False,
        "ticks": "",
        "tickfont": {"size": max(size, 9)},
    }
    return blank_figure(
        [trace],
        xaxis=axis("Predicted", side="top", constrain="domain", **ticks),
        yaxis=axis("True", autorange="reversed", scaleanchor="x", constrain="domain", **ticks),
    )


def confusion_colours(palette: Mapping[str, str]) -> list[tuple[float, str]]:
    """Return the colour scale of a confusion matrix, from mistakes (−1) over 0 to right (+1).

    Few mistakes are made visible: the scale is steep at 0 and full from 30 % on.
    """
    return [
        (0.0, palette["miss-1"]),
        (0.5 - _WORST / 2, palette["miss-1"]),
        (0.4999, palette["miss-0"]),
        (0.5, palette["none"]),
        (0.5001, palette["hit-0"]),
        (1.0, palette["hit-1"]),
    ]


def stage_bars(stages: Sequence[Mapping[str, Any]], measure: str) -> Figure:
    """Return one bar per stage, from the input on top to the output.

    Args:
        stages: Mappings with ``name`` and ``measure``.
        measure: ``"macs"``, ``"params"`` or ``"activation_bytes"``.
    """
    titles = {"macs": "MACs", "params": "Parameters", "activation_bytes": "Activations (bytes)"}
    values = [stage[measure] for stage in stages]
    texts = [_with_unit(value, measure) for value in values]
    names = [str(stage["name"]) for stage in stages]
    trace = bars("series-1", names, values, titles[measure], texts)
    room_for_text = max(values, default=0) * _TEXT_ROOM or 1
    return blank_figure(
        [trace | {"text": texts, "textposition": "outside", "cliponaxis": False}],
        xaxis=axis(None, range=[0, room_for_text], showgrid=False, showticklabels=False),
        yaxis=axis(None, autorange="reversed", showgrid=False, **name_ticks(names)),
        height=30 + 30 * len(stages),
    )


def class_balance(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> Figure:
    """Return the number of images per class, one colour per part of the data.

    More than 50 classes stand without names, the largest on top.

    Args:
        classes: Names of the classes.
        counts: Part (``"train"``, ``"validation"``) → images per class, in the same order.
    """
    few = len(classes) <= MOST_CLASSES_NAMED
    ticks = name_ticks(classes) if few else {"showticklabels": False}
    totals = [sum(values) for values in zip(*counts.values(), strict=True)]
    order = sorted(range(len(classes)), key=lambda place: 0 if few else -totals[place])
    names = [classes[place] for place in order]
    traces = []
    for number, (part, values) in enumerate(counts.items(), start=1):
        numbers = [values[place] for place in order]
        hover = [plural(value, "image") for value in numbers]
        traces.append(bars(f"series-{number}", names, numbers, part, hover))
    return blank_figure(
        traces,
        xaxis=axis("Images", showgrid=True),
        yaxis=axis(None, autorange="reversed", showgrid=False, **ticks),
        barmode="stack",
        bargap=0.3 if few else 0.0,
        showlegend=len(traces) > 1,
        height=95 + (26 * max(len(classes), 2) if few else 300),
    )


def _matrix_cells(counts: Sequence[Sequence[int]], names: Sequence[str]) -> dict[str, Any]:
    """Return the share (negative for mistakes), the text and the hover text of every cell."""
    shares, texts, hovers = [], [], []
    shown = len(names) <= MOST_CLASSES_NAMED
    for true, row in enumerate(counts):
        parts = [images / (sum(row) or 1) for images in row]
        shares.append([part if true == said else -part for said, part in enumerate(parts)])
        texts.append([str(images) if images and shown else "" for images in row])
        hovers.append(
            [
                f"{names[true]} → {name}<br>{plural(images, 'image')}, "
                f"{percent(part)} of {names[true]}"
                for name, images, part in zip(names, row, parts, strict=True)
            ]
        )
    return {"z": shares, "text": texts, "hovertext": hovers}


def _with_unit(value: int, measure: str) -> str:
    return bytes_text(value) if measure == "activation_bytes" else quantity(value, "").rstrip()


def _marks(epochs: Sequence[Mapping[str, Any]], best_epoch: int | None) -> dict[str, Any]:
    """Return vertical lines with a word each: the epoch that was kept, and each new phase."""
    marks = [
        (later["epoch"] - 0.5, str(later["phase"]), "rule")
        for earlier, later in pairwise(epochs)
        if later.get("phase") and later["phase"] != earlier.get("phase")
    ]
    if best_epoch is not None:
        marks.append((best_epoch, "kept", "text"))
    line = {"type": "line", "yref": "paper", "y0": 0, "y1": 1}
    return {
        "shapes": [
            {**line, "x0": x, "x1": x, "name": name, "line": {"color": LIGHT[name], "width": 1}}
            for x, _, name in marks
        ],
        "annotations": [
            {
                "x": x,
                "y": 0.9 if name == "text" else 1,
                "yref": "paper",
                "yanchor": "top",
                "xanchor": "right" if name == "text" else "left",
                "text": plain(word),
                "showarrow": False,
                "font": {"size": 11},
            }
            for x, word, name in marks
        ],
    }
