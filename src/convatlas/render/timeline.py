"""The history of the networks as a table for the terminal, and as a drawing.

In the drawing x is the year, y the top-5 error, the area of a circle the parameters, and the
colour the lineage. It knows what the facts say and not where they come from.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from math import log, sqrt
from typing import TYPE_CHECKING

from convatlas.render.columns import Column, fitted_table, terminal_width
from convatlas.render.labels import Labels
from convatlas.render.palette import DARK, FONT, LIGHT, css_variables
from convatlas.render.svg import Canvas, text_width
from convatlas.render.units import MISSING, count, plural

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.models.timeline import Milestone

__all__ = ["timeline_html", "timeline_svg", "timeline_table"]

_TITLE = "Image classification with convolutional networks"
_LINEAGES = {  # lineage → its words in the legend
    "plain": "one layer after another",
    "inception": "branches side by side",
    "residual": "shortcuts",
    "mobile": "few operations",
}
_STYLE = """
.grid{stroke:var(--rule);fill:none}
.best{fill:none;stroke:var(--muted);stroke-width:1.3;stroke-dasharray:4 3}
.entry{fill:var(--surface);stroke:var(--text);stroke-width:1.3}
circle{fill-opacity:.3;stroke-width:1.5}
.plain{fill:var(--series-3);stroke:var(--series-3)}
.inception{fill:var(--series-2);stroke:var(--series-2)}
.residual{fill:var(--series-1);stroke:var(--series-1)}
.mobile{fill:var(--good);stroke:var(--good)}
"""
_YEAR = 112.0  # pixels of one year
_LEFT, _RIGHT, _TOP, _HEIGHT = 56.0, 30.0, 96.0, 470.0
_TICKS = (2, 3, 4, 5, 7, 10, 15, 20)  # per cent
_LARGEST = 24.0  # radius in pixels of the network with most parameters
_SMALLEST = 3.0
_FONT = 10.0


def timeline_table(milestones: Sequence[Milestone], width: int | None = None) -> Table:
    """Return year, depth, costs, errors and their sources.

    Args:
        milestones: One row each.
        width: Terminal cells; those of this terminal by default.
    """
    columns, notes = _columns(milestones), _notes(milestones)
    return fitted_table(columns, width or terminal_width(), notes=notes)


def timeline_html(milestones: Sequence[Milestone]) -> str:
    """Return a page with the drawing, the table and the sources, which loads nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("convatlas.render"), autoescape=True, undefined=StrictUndefined
    )
    columns = _columns(milestones)
    told = [m.challenge.source if m.challenge else "" for m in milestones]
    columns.append(Column("source of the challenge", told))
    cells = [[(cell, column.is_number) for cell in column.cells] for column in columns]
    # The drawing and the colours are our own text, with everything from the facts escaped.
    return environment.get_template("timeline.html.j2").render(
        title=_TITLE,
        light=Markup(css_variables(LIGHT)),  # noqa: S704 (our constant)
        dark=Markup(css_variables(DARK)),  # noqa: S704 (our constant)
        font=Markup(FONT),  # noqa: S704 (our constant)
        drawing=Markup(timeline_svg(milestones)),  # noqa: S704 (escaped there)
        headers=[column.header for column in columns],
        rows=zip(*cells, strict=True),
        notes=_notes(milestones),
    )


def timeline_svg(milestones: Sequence[Milestone]) -> str:
    """Return the drawing; networks without a published top-5 error are named below it."""
    drawn = [m for m in milestones if m.top5_error is not None]
    rest = [m for m in milestones if m.top5_error is None]
    scale = _Scale(drawn)
    canvas = Canvas(_STYLE)
    canvas.text(_LEFT, 30, _TITLE, "title start")
    canvas.text(_LEFT, 48, "Top-5 error on ImageNet-1k by year of the paper; "
                "the area of a circle is the number of parameters", "start muted")  # fmt: skip
    _draw_legend(canvas)
    _draw_axes(canvas, scale)
    labels = Labels(scale.width, scale.bottom)
    _draw_challenges(canvas, milestones, scale, labels)
    _draw_networks(canvas, drawn, scale, labels)
    note = (
        "One network on the validation images, by the published weights of the catalogue, which "
        "may be trained better than the paper's; challenge entries are several networks together."
    )
    canvas.text(_LEFT, scale.bottom + 43, note, "start small muted")
    if rest:
        names = ", ".join(f"{m.entry.name} ({m.entry.year})" for m in rest)
        canvas.text(_LEFT, scale.bottom + 58, f"Without a published top-5 error: {names}.",
                    "start small muted")  # fmt: skip
    described = "; ".join(f"{m.entry.year} {m.entry.name} {m.top5_error:.1f} %" for m in drawn)
    return canvas.svg(scale.width, scale.bottom + 74, _TITLE, f"Top-5 errors: {described}.")


class _Scale:
    """From years, errors and parameters to the page; errors on a logarithmic scale."""

    def __init__(self, milestones: Sequence[Milestone]) -> None:
        years = [m.entry.year for m in milestones]
        years += [m.challenge.year for m in milestones if m.challenge]
        self.years = range(min(years), max(years) + 1)
        self.width = _LEFT + len(self.years) * _YEAR + _RIGHT
        self.bottom = _TOP + _HEIGHT
        self._most = max(m.entry.params for m in milestones)

    def x(self, year: int, share: float = 0.5) -> float:
        return _LEFT + (year - self.years[0] + share) * _YEAR

    def y(self, error: float) -> float:
        low, high = _TICKS[0], _TICKS[-1]
        return self.bottom - _HEIGHT * log(error / low) / log(high / low)

    def radius(self, milestone: Milestone) -> float:
        return max(_SMALLEST, _LARGEST * sqrt(milestone.entry.params / self._most))


def _draw_legend(canvas: Canvas) -> None:
    x = _LEFT + 6
    for lineage, words in _LINEAGES.items():
        canvas.add("circle", lineage, cx=x, cy=68, r=5)
        canvas.text(x + 10, 72, words, "start small")
        x += text_width(words, _FONT) + 34
    canvas.box("entry", x - 4, 64, 8, 8, 0)
    canvas.text(x + 10, 72, "entry to the ImageNet challenge, test images", "start small")


def _draw_axes(canvas: Canvas, scale: _Scale) -> None:
    right = scale.width - _RIGHT
    for tick in _TICKS:
        canvas.add("path", "grid", d=f"M{_LEFT:g} {scale.y(tick):.1f}H{right:g}")
        canvas.text(_LEFT - 8, scale.y(tick) + 4, f"{tick} %", "end small muted")
    for year in scale.years:
        canvas.text(scale.x(year), scale.bottom + 20, str(year), "muted")
        x = scale.x(year, 0)
        canvas.add("path", "grid", d=f"M{x:g} {scale.bottom:g}v6")


def _draw_challenges(
    canvas: Canvas, milestones: Sequence[Milestone], scale: _Scale, labels: Labels
) -> None:
    """Draw the entries to the challenge, and a line through the best of each year."""
    entries = [m.challenge for m in milestones if m.challenge]
    best: dict[int, float] = {}
    for entry in entries:
        best[entry.year] = min(entry.top5_error, best.get(entry.year, entry.top5_error))
    points = [(scale.x(year, 0.08), scale.y(error)) for year, error in sorted(best.items())]
    canvas.add("path", "best", d="M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    for entry in entries:
        x, y = scale.x(entry.year, 0.08), scale.y(entry.top5_error)
        canvas.box("entry", x - 4, y - 4, 8, 8, 0)
        canvas.tip(f"{entry.name}: {entry.top5_error:g} %, {entry.source}")
        labels.take(x, y, 6)
        words = f"{entry.top5_error:g}"
        canvas.text(*labels.place(words, x, y, 5), words, "small muted")


def _draw_networks(
    canvas: Canvas, milestones: Sequence[Milestone], scale: _Scale, labels: Labels
) -> None:
    """Draw the circles, those of one year beside each other, and then their names."""
    spots = []
    for year, group in groupby(milestones, key=lambda m: m.entry.year):
        members = sorted(group, key=lambda m: -(m.top5_error or 0))
        for number, member in enumerate(members, start=1):
            x = scale.x(year, 0.1 + 0.8 * (number - 0.5) / len(members))
            spots.append((member, x, scale.y(member.top5_error or 0), scale.radius(member)))
    for member, x, y, radius in sorted(spots, key=lambda spot: -spot[3]):
        canvas.add("circle", member.lineage, cx=x, cy=y, r=radius)
        canvas.tip(
            f"{member.entry.name}, {member.entry.year}: top-5 error {member.top5_error:g} % "
            f"({member.error_source}), {count(member.entry.params)} parameters"
        )
        labels.take(x, y, radius)
    for member, x, y, radius in spots:
        canvas.text(*labels.place(member.entry.name, x, y, radius), member.entry.name, "small")


def _columns(milestones: Sequence[Milestone]) -> list[Column]:
    return [
        Column("year", [str(m.entry.year) for m in milestones], is_number=True),
        Column("network", [m.entry.name for m in milestones]),
        Column("depth", [str(m.depth) for m in milestones], 5, is_number=True),
        Column("params", [count(m.entry.params) for m in milestones], 4, is_number=True),
        Column("MACs", [count(m.entry.macs) for m in milestones], 3, is_number=True),
        Column("top-1 err %", [_per_cent(m.top1_error) for m in milestones], 2, is_number=True),
        Column("top-5 err %", [_per_cent(m.top5_error) for m in milestones], 6, is_number=True),
        Column("challenge %", [_challenge(m) for m in milestones], 1),
        Column(
            "source of the errors",
            [m.error_source or MISSING for m in milestones],
            0,
            is_prose=True,
        ),
    ]


def _notes(milestones: Sequence[Milestone]) -> list[str]:
    return [
        f"{plural(len(milestones), 'network')}. Depth: convolutions and linear layers on the "
        "longest path, gates aside.",
        "Errors are those of one network on ImageNet's validation images, by the weights that the "
        "source names, which may be trained better than the paper's.",
        "Challenge: top-5 error on its test images, of several networks together.",
        "MACs of one image; 1 MAC = one multiply and one add.",
    ]


def _per_cent(error: float | None) -> str:
    return MISSING if error is None else f"{error:.1f}"


def _challenge(milestone: Milestone) -> str:
    entry = milestone.challenge
    return f"{entry.top5_error:g} ({entry.year})" if entry else MISSING
