"""Evaluated runs as a table with intervals, and as one page that needs nothing but a browser.

It knows what an evaluation holds and not how its figures came about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.data import to_json
from convatlas.render.evaluation_figures import class_bars, reliability_plot
from convatlas.render.figures import MOST_CLASSES_NAMED, confusion_matrix
from convatlas.render.overlay import READABLE_SIDE, picture_data_uri
from convatlas.render.page import (
    page_environment,
    page_palettes,
    page_script,
    page_style,
    plotly_script,
)
from convatlas.render.units import MISSING, interval, percent, plural

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.tasks.judged import EvaluatedNetwork, EvaluationReport, Picture

__all__ = ["evaluation_html", "evaluation_notes", "evaluation_tables", "evaluation_to_json"]

_GAP = 2
_MOST_PAIRS = 8


def evaluation_tables(report: EvaluationReport, width: int | None = None) -> list[Table]:
    """Return one column per network, each figure with its 95 % interval; more tables if needed.

    Args:
        report: What was found.
        width: Terminal cells; those of this terminal by default.
    """
    width = width or terminal_width()
    cells = {network.name: _cells(network) for network in report.networks}
    figures = [
        label
        for label in next(iter(cells.values()))
        if any(column[label] != MISSING for column in cells.values())
    ]
    labels = Column("", figures)
    columns = [
        Column(printable(name), [column[label] for label in figures], is_number=True)
        for name, column in cells.items()
    ]
    return [fitted_table([labels, *part], width) for part in _parted(columns, width, figures)]


def evaluation_notes(report: EvaluationReport) -> list[str]:
    """Return the verdicts, and what the reader should know of the figures, one sentence each."""
    notes = [pair.verdict for pair in report.pairs]
    for data, origin, images in dict.fromkeys(
        (each.found.data, each.found.origin, each.evaluation.images) for each in report.networks
    ):
        notes.append(f"{plural(images, 'image')} of {data}: {origin}.")
    for views in dict.fromkeys(each.found.views for each in report.networks):
        notes.append(f"Shown of each image: {views}.")
    if report.pairs:
        notes.append("Verdicts: McNemar's exact test, significant below 0.05; paired bootstrap.")
    notes.append(
        "Behind each figure its 95 % interval: Wilson's for accuracy and top-5, else "
        f"{report.networks[0].intervals.resamples:,} bootstrap draws."
    )
    notes.append(
        "ECE: mean distance of confidence and accuracy; scaled: after dividing logits by a "
        "temperature T that was fitted on the other half of the images."
    )
    flattered = [each.name for each in report.networks if each.chose_on_these]
    if flattered:
        notes.append(
            f"Flattering for {', '.join(flattered)}: these images also chose the epoch whose "
            "weights were kept."
        )
    at_bound = [each.name for each in report.networks if each.scaling and each.scaling.at_bound]
    if at_bound:
        notes.append(
            f"No best temperature for {', '.join(at_bound)}: the one given is the end of its "
            "range, because a part of the images is entirely right or tells nothing."
        )
    return notes


def evaluation_to_json(report: EvaluationReport) -> str:
    """Return figures, intervals, calibration and comparisons."""
    return to_json(report.as_dict())


def evaluation_html(report: EvaluationReport) -> str:
    """Return one page with figures, charts and the worst mistakes, which loads nothing."""
    from convatlas import __version__

    best = max(report.networks, key=lambda network: network.evaluation.accuracy)
    page = (
        page_environment()
        .get_template("evaluated.html.j2")
        .render(
            names=[network.name for network in report.networks],
            best=best,
            report=report,
            notes=evaluation_notes(report)[len(report.pairs) :],
            networks=[_view(network) for network in report.networks],
            style=page_style("evaluated.css"),
            palettes=page_palettes(),
            plotly=plotly_script(),
            script=page_script("report.js"),
            version=__version__,
        )
    )
    # A file name with foreign bytes holds surrogates, which UTF-8 cannot carry.
    return page.encode("utf-8", errors="backslashreplace").decode("utf-8")


def _parted(columns: Sequence[Column], width: int, labels: Sequence[str]) -> list[list[Column]]:
    """Return the columns in portions that fit beside the labels, at least one in each."""
    parts: list[list[Column]] = []
    room = 0
    for column in columns:
        taken = max(map(len, (column.header, *column.cells))) + _GAP
        if not parts or taken > room:
            parts.append([])
            room = width - max(map(len, labels))
        parts[-1].append(column)
        room -= taken
    return parts


def _cells(network: EvaluatedNetwork) -> dict[str, str]:
    """Return the figures of a network with their intervals."""
    found, spans, scaling = network.evaluation, network.intervals, network.scaling
    calibration = network.calibration

    def share(value: float | None, bounds: tuple[float, float] | None) -> str:
        return MISSING if value is None else f"{percent(value)}  {interval(bounds)}"

    def plain(value: float, bounds: tuple[float, float]) -> str:
        return f"{value:.3f}  {bounds[0]:.3f}–{bounds[1]:.3f}"

    error = calibration.expected_calibration_error
    scaled = scaling.calibration if scaling else None
    return {
        "accuracy": share(found.accuracy, found.accuracy_interval),
        "top-5": share(found.top5_accuracy, found.top5_interval),
        "macro F1": share(found.macro_f1, spans.macro_f1),
        "loss (nats)": plain(found.loss_nats, spans.loss_nats),
        "Brier score": plain(calibration.brier_score, spans.brier_score),
        "ECE": share(error, spans.expected_calibration_error),
        "ECE scaled": percent(scaled.expected_calibration_error) if scaled else MISSING,
        "loss scaled": f"{scaled.loss_nats:.3f}" if scaled else MISSING,
        "temperature": f"{scaling.temperature:.2f}" if scaling else MISSING,
    }


def _view(network: EvaluatedNetwork) -> dict[str, Any]:
    """Return what the page shows of one network."""
    matrix, names = network.evaluation.confusion, network.found.classes
    places = _most_confused(matrix)
    part = [[matrix[row][column] for column in places] for row in places]
    scaling = network.scaling
    return {
        "network": network,
        "shown": len(places),
        "confusion": confusion_matrix(part, [names[place] for place in places]),
        "pairs": _mixed_up(matrix, names),
        "reliability": reliability_plot(
            network.calibration.bins, scaling.calibration.bins if scaling else None
        ),
        "bars": class_bars(network.evaluation.classes, names),
        "pictures": [_picture(each) for each in network.pictures],
    }


def _most_confused(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Return all classes, or of too many those with the most mistakes."""
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")
    return sorted(order[:MOST_CLASSES_NAMED].tolist())


def _mixed_up(matrix: Sequence[Sequence[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the commonest mistakes, the most frequent first."""
    wrong = [
        (images, true, said)
        for true, row in enumerate(matrix)
        for said, images in enumerate(row)
        if images and true != said
    ]
    return [
        {"true": names[t], "predicted": names[s], "images": images, "support": sum(matrix[t])}
        for images, t, s in sorted(wrong, key=lambda pair: -pair[0])[:_MOST_PAIRS]
    ]


def _picture(picture: Picture) -> dict[str, Any]:
    height, width = picture.pixels.shape[:2]
    scale = max(1, -(-READABLE_SIDE // max(height, width)))
    return {
        "address": picture_data_uri(picture.pixels),
        "width": width * scale,
        "height": height * scale,
        "blocks": scale > 1,
        "words": picture,
    }
