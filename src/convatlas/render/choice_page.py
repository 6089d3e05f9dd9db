"""A choice of network as one page: sliders for the limits over accuracy and cost.

The page loads nothing; its own small script draws the chart and ranks the table anew. It knows
what a choice holds and not how it came about.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.choice import figure_of, figure_text, margin_text, shown_limits
from convatlas.render.limits import SHOWN, flag, limit_text, limit_words
from convatlas.render.page import page_environment, page_script, page_style
from convatlas.render.units import limit as plain_number
from convatlas.search.rules import is_few

if TYPE_CHECKING:
    from convatlas.search.candidate import Candidate, Choice, Task
    from convatlas.search.limits import Limit

__all__ = ["choice_html"]

_ONLY_IF_ASKED = "train_memory"
_CONDITIONS = ("min_input", "family", "licence", "export")


def choice_html(
    choice: Choice,
    *,
    data: str | None = None,
    task: Task | None = None,
    notes: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        choice: The answer.
        data: The images that were asked about, for the command line that the page shows.
        task: What the choice knew of them.
        notes: More sentences below the answer.
        flags: What else the command line was, which neither the limits nor the images say.
    """
    from convatlas import __version__

    field = [candidate for candidate in choice.candidates if _is_movable(candidate)]
    away = Counter(c.dropped_by for c in choice.candidates if c not in field)
    model = {**_model(choice, field, task), "command": _command(choice, data, flags)}
    shown = shown_limits(choice, field)
    return (
        page_environment()
        .get_template("choose.html.j2")
        .render(
            choice=choice,
            notes=[*choice.advice, *notes],
            kept=[_row(c, shown) for c in field if c.kept],
            columns=shown,
            sliders=model["sliders"],
            away=[(limit_words(name), number) for name, number in away.most_common()],
            conditions=_conditions(choice),
            count=len(field),
            timed=any("latency_ms" in c.figures for c in field),
            model=model,
            style=page_style("comparison.css", "choose.css"),
            script=page_script("choose.js"),
            version=__version__,
        )
    )


def _model(choice: Choice, field: Sequence[Candidate], task: Task | None) -> dict[str, Any]:
    """Return what the script works on, but for the command line."""
    shown = shown_limits(choice, field)
    return {
        "networks": [_network(candidate, shown) for candidate in field],
        "columns": [{"figure": limit.figure, "short": limit.short} for limit in shown],
        "sliders": [each for limit in SHOWN if (each := _slider(limit, choice, field))],
        "objective": choice.budget.objective,
        "ticks": _ticks(field),
        "few": is_few(task),
    }


def _is_movable(candidate: Candidate) -> bool:
    """Return whether nothing but what sliders move stands against a network."""
    by_slider = candidate.dropped_by in {"unmeasured", *(limit.name for limit in SHOWN)}
    return candidate.kept or (by_slider and candidate.margins.get("min_input", 0.0) >= 0)


def _network(candidate: Candidate, shown: Sequence[Limit]) -> dict[str, Any]:
    """Return a network as the script reads it: every figure with the words for it."""
    known = {each.figure: found for each in shown if (found := figure_of(candidate, each))}
    return {
        "name": candidate.name,
        "values": {name: figure.value for name, figure in known.items()},
        "texts": {
            each.figure: figure_text(candidate, each) for each in shown if each.figure in known
        },
        "weights": candidate.weights,
        "source": candidate.figures["top1"].source if "top1" in candidate.figures else "",
    }


def _row(candidate: Candidate, shown: Sequence[Limit]) -> dict[str, Any]:
    """Return a row of the table as it stands before the script has run."""
    return {
        "name": candidate.name,
        "pareto": candidate.pareto,
        "cells": [figure_text(candidate, limit) for limit in shown],
        "margin": margin_text(candidate),
    }


def _slider(limit: Limit, choice: Choice, field: Sequence[Candidate]) -> dict[str, Any] | None:
    """Return a slider whose stops are the networks' own figures.

    None where nothing was asked and nothing differs.
    """
    asked = getattr(choice.budget, limit.name)
    known = [figure for candidate in field if (figure := figure_of(candidate, limit))]
    values = {figure.value for figure in known}
    if asked is not None:
        values.add(asked * limit.unit)
    elif limit.name == _ONLY_IF_ASKED or len(values) < 2:
        return None
    stops: list[dict[str, Any]] = [
        {"value": value, "text": limit_text(limit, value), "raw": _written(value / limit.unit)}
        for value in sorted(values)
    ]
    free: dict[str, Any] = {"value": None, "text": "no limit", "raw": ""}
    stops = [free, *stops] if limit.is_floor else [*stops, free]
    wanted = None if asked is None else asked * limit.unit
    start = next(place for place, stop in enumerate(stops) if stop["value"] == wanted)
    return {
        "figure": limit.figure,
        "flag": flag(limit.name),
        "words": limit.words,
        "short": limit.short,
        "floor": limit.is_floor,
        "stops": stops,
        "start": start,
        "free": 0 if limit.is_floor else len(stops) - 1,
        "known": len(known),
    }


def _written(value: float) -> str:
    """Return a value as one types it after a flag, exactly: ``"500M"``, ``"385808192"``."""
    for unit, letter in ((1e9, "G"), (1e6, "M")):
        if value >= unit and value % (unit / 10) == 0 and value / unit * unit == value:
            return f"{value / unit:.12g}{letter}"
    return f"{value:.0f}" if value == int(value) else repr(float(value))


def _ticks(field: Sequence[Candidate]) -> list[dict[str, Any]]:
    """Return the marks of the logarithmic axis: 1, 3, 10 … times a power of ten."""
    macs = [candidate.cost.macs for candidate in field]
    low, high = min(macs) / 1.4, max(macs) * 1.4
    marks = (step * 10.0**power for power in range(3, 13) for step in (1, 3))
    return [{"value": mark, "text": plain_number(mark)} for mark in marks if low <= mark <= high]


def _conditions(choice: Choice) -> list[str]:
    """Return the limits that no slider moves, as flags with their values."""
    budget = choice.budget
    asked = [(name, getattr(budget, name)) for name in _CONDITIONS]
    told = [f"{flag(name)} {value}" for name, value in asked if value]
    if budget.needs_weights:
        told.append(flag("needs_weights"))
    if budget.on != "cpu":
        told.append(f"{flag('on')} {budget.on}")
    return told


def _command(choice: Choice, data: str | None, flags: Sequence[str]) -> str:
    """Return the command line without what the sliders say."""
    words = ["convatlas choose"]
    if data is not None:
        words.append(f"--data {shlex.quote(data)}")
    return " ".join([*words, *_conditions(choice), *flags])
