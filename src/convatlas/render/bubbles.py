"""Accuracy over MACs as a drawing: SVG, or the same layout as PNG.

x is the MACs on a logarithmic scale, y the top-1 accuracy, the area of a circle the
parameters. It knows what a comparison holds and not where the figures come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import log10, sqrt
from typing import TYPE_CHECKING, Protocol

from convatlas.render.comparison_figures import entry_text, log_ticks
from convatlas.render.labels import Labels
from convatlas.render.raster import Paint, Raster
from convatlas.render.svg import Canvas, text_width

if TYPE_CHECKING:
    from convatlas.analysis.comparison import Comparison
    from convatlas.models.catalogue import Entry

__all__ = ["bubbles_png", "bubbles_svg"]

_TITLE = "Accuracy and cost of convolutional networks"
_PAINTS = {
    "grid": Paint("rule"),
    "other": Paint("muted", 0.2, 0.7),
    "front": Paint("series-2", 1.0, 1.8),
    "chosen": Paint("series-1", 0.6, 1.5),
}
_STYLE = "".join(
    f".{name}{{stroke:var(--{p.colour});stroke-width:{p.width};fill:none}}"
    f"circle.{name}{{fill:var(--{p.colour});fill-opacity:{p.opacity}}}"
    for name, p in _PAINTS.items()
)
_WIDTH, _LEFT, _RIGHT, _TOP, _HEIGHT, _FOOT = 960.0, 56.0, 30.0, 92.0, 470.0, 78.0
_LARGEST, _SMALLEST = 24.0, 2.5  # radius in pixels
_STEP = 5  # per cent between two lines


class _Drawing(Protocol):
    """What both kinds of file can draw."""

    def circle(self, x: float, y: float, radius: float, css: str, tip: str = "") -> None:
        """Draw a circle."""

    def line(self, points: Sequence[tuple[float, float]], css: str) -> None:
        """Draw a line."""

    def text(self, x: float, y: float, words: str, css: str = "") -> None:
        """Write words."""


def bubbles_svg(comparison: Comparison) -> str:
    """Return the drawing as SVG; pointing at a circle tells its figures."""
    canvas = Canvas(_STYLE)
    _draw(canvas, comparison)
    told = "; ".join(entry_text(e) for e in _chosen(comparison)) or "none of those compared"
    front = ", ".join(entry.name for entry in comparison.front)
    description = f"Compared: {told}. On the Pareto front: {front}."
    return canvas.svg(_WIDTH, _TOP + _HEIGHT + _FOOT, _TITLE, description)


def bubbles_png(comparison: Comparison) -> bytes:
    """Return the drawing as a PNG file on a light background, at twice the SVG's size."""
    raster = Raster(_WIDTH, _TOP + _HEIGHT + _FOOT, _PAINTS)
    _draw(raster, comparison)
    return raster.png()


class _Scale:
    """From MACs, accuracies and parameters to the page."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        axis = log_ticks([entry.macs for entry in entries])
        self.ticks = dict(zip(axis["tickvals"], axis["ticktext"], strict=True))
        self._low, self._high = axis["range"]
        scores = [entry.top1 or 0.0 for entry in entries]
        self.lines = range(int(min(scores)) // _STEP * _STEP, int(max(scores)) + _STEP + 1, _STEP)
        self._most = max(entry.params for entry in entries)

    def x(self, macs: float) -> float:
        share = (log10(macs) - self._low) / (self._high - self._low)
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y(self, top1: float) -> float:
        return _TOP + _HEIGHT * (self.lines[-1] - top1) / (self.lines[-1] - self.lines[0])

    def spot(self, entry: Entry) -> tuple[float, float]:
        return self.x(entry.macs), self.y(entry.top1 or 0.0)

    def radius(self, entry: Entry) -> float:
        return max(_SMALLEST, _LARGEST * sqrt(entry.params / self._most))


def _chosen(comparison: Comparison) -> list[Entry]:
    return [n.entry for n in comparison.networks if n.entry in comparison.published]


def _draw(drawing: _Drawing, comparison: Comparison) -> None:
    scale = _Scale(comparison.published)
    chosen = _chosen(comparison)
    drawing.text(_LEFT, 30, _TITLE, "title start")
    drawing.text(_LEFT, 48, "Published top-1 accuracy on ImageNet-1k by MACs of one image; the "
                 "area of a circle is the number of parameters", "start muted")  # fmt: skip
    _draw_legend(drawing)
    _draw_axes(drawing, scale)
    by_size = sorted(comparison.published, key=lambda entry: -entry.params)
    for entry in by_size:
        if entry not in chosen:
            drawing.circle(*scale.spot(entry), scale.radius(entry), "other", entry_text(entry))
    stairs = _staircase([scale.spot(entry) for entry in comparison.front])
    drawing.line(stairs, "front")
    labels = _labels_beside(stairs)
    for entry in chosen:
        labels.take(*scale.spot(entry), scale.radius(entry))
    for entry in comparison.front:
        drawing.circle(*scale.spot(entry), 2.6, "front", entry_text(entry))
    for entry in chosen:
        drawing.circle(*scale.spot(entry), scale.radius(entry), "chosen", entry_text(entry))
    for entry in chosen:
        place = labels.place(entry.name, *scale.spot(entry), scale.radius(entry))
        drawing.text(*place, entry.name, "strong")
    for entry in comparison.front:
        if entry not in chosen:
            drawing.text(*labels.place(entry.name, *scale.spot(entry), 3), entry.name,
                         "small muted")  # fmt: skip
    _draw_notes(drawing, comparison)


def _draw_legend(drawing: _Drawing) -> None:
    x = _LEFT + 6
    for css, words in (
        ("chosen", "compared"),
        ("other", "other networks of the catalogue"),
        ("front", "Pareto front: no network is better in both"),
    ):
        drawing.circle(x, 68, 5 if css != "front" else 2.6, css)
        drawing.text(x + 10, 72, words, "start small")
        x += text_width(words, 10) + 34


def _draw_axes(drawing: _Drawing, scale: _Scale) -> None:
    bottom = _TOP + _HEIGHT
    for score in scale.lines:
        y = scale.y(score)
        drawing.line([(_LEFT, y), (_WIDTH - _RIGHT, y)], "grid")
        drawing.text(_LEFT - 8, y + 4, f"{score} %", "end small muted")
    for macs, words in scale.ticks.items():
        x = scale.x(macs)
        drawing.line([(x, bottom), (x, bottom + 6)], "grid")
        drawing.text(x, bottom + 20, words, "small muted")
    drawing.text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 38, "MACs", "muted")


def _draw_notes(drawing: _Drawing, comparison: Comparison) -> None:
    note = (
        "Costs at the input size of the catalogue; accuracies by each network's public weights, "
        "whose training recipes differ."
    )
    bottom = _TOP + _HEIGHT
    drawing.text(_LEFT, bottom + 56, note, "start small muted")
    absent = [n.name for n in comparison.networks if n.entry not in comparison.published]
    if absent:
        names = ", ".join(absent)
        words = f"Without a published top-1 accuracy on ImageNet-1k: {names}."
        drawing.text(_LEFT, bottom + 70, words, "start small muted")


def _labels_beside(stairs: Sequence[tuple[float, float]]) -> Labels:
    """Return names that keep off the front and the numbers of the axis."""
    labels = Labels(_WIDTH, _TOP + _HEIGHT)
    for y in range(int(_TOP), int(_TOP + _HEIGHT), 10):
        labels.take(_LEFT / 2, y, _LEFT / 2)
    for (x0, y0), (x1, y1) in pairwise(stairs):
        steps = max(1, int((abs(x1 - x0) + abs(y1 - y0)) / 5))
        for step in range(steps + 1):
            share = step / steps
            labels.take(x0 + share * (x1 - x0), y0 + share * (y1 - y0), 3)
    return labels


def _staircase(spots: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the line along the front: right at the same accuracy, then up."""
    points = list(spots[:1])
    for before, (x, y) in pairwise(spots):
        points += [(x, before[1]), (x, y)]
    return points
