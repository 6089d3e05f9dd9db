"""A choice of network for the terminal: the ranking, the Pareto set, what was dropped and why.

It knows what a choice holds and not how it came about.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.limits import SHOWN, is_asked, limit_text, limit_words
from convatlas.render.units import MISSING, pixels, plural, seconds_text

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.search.budget import Budget
    from convatlas.search.candidate import Candidate, Choice
    from convatlas.search.figures import Figure
    from convatlas.search.limits import Limit

__all__ = [
    "choice_notes",
    "choice_sentences",
    "dropped_sentence",
    "dropped_table",
    "figure_of",
    "figure_text",
    "margin_text",
    "ranking_table",
    "shown_limits",
    "training_sentence",
]

_SHOWN = 10
_PARETO, _FILL = "◆ ", "  "
_IMPORTANCE = {
    "train_bytes": 0,
    "memory_bytes": 1,
    "size_bytes": 2,
    "params": 5,
    "latency_ms": 6,
}
_ALWAYS = ("top1", "macs")
_DEVICES = {"cpu": "CPU", "cuda": "GPU"}
_ASKED = 7  # what is limited stays longest


def ranking_table(choice: Choice, width: int | None = None, *, every: bool = False) -> Table:
    """Return the networks within the budget, best first, with their figures.

    Args:
        choice: The answer.
        width: Terminal cells; those of this terminal by default.
        every: Whether all of them are listed, not only the first ten.
    """
    kept = [candidate for candidate in choice.candidates if candidate.kept]
    rows = kept if every else kept[:_SHOWN]
    marks = [_PARETO if candidate.pareto else _FILL for candidate in rows]
    names = [mark + candidate.name for mark, candidate in zip(marks, rows, strict=True)]
    columns = [Column("  network", names)]
    columns += [_figure_column(limit, rows, choice.budget) for limit in shown_limits(choice, rows)]
    if any(candidate.margins for candidate in rows):
        columns.append(Column("margin", [margin_text(c) for c in rows], 4))
    notes = []
    if len(kept) > len(rows):
        notes.append(f"and {len(kept) - len(rows)} more within the budget: --all lists them")
    return fitted_table(columns, width or terminal_width(), notes=notes)


def dropped_table(choice: Choice, width: int | None = None) -> Table:
    """Return the networks that are not within the budget, with what dropped each of them."""
    rows = [candidate for candidate in choice.candidates if not candidate.kept]
    columns = [
        Column("dropped", [candidate.name for candidate in rows]),
        Column("how", [limit_words(candidate.dropped_by) for candidate in rows], 0),
        Column("why", [printable(candidate.reason) for candidate in rows], is_prose=True),
    ]
    return fitted_table(columns, width or terminal_width())


def dropped_sentence(choice: Choice) -> str:
    """Return how many networks each limit dropped: ``"dropped: 31 by --max-macs, …"``."""
    by = Counter(each.dropped_by for each in choice.candidates if not each.kept)
    if not by:
        return "dropped: none"
    told = ", ".join(f"{number} {limit_words(name)}" for name, number in by.most_common())
    return f"dropped: {told}"


def choice_sentences(choice: Choice) -> list[str]:
    """Return the Pareto set, the neighbours and the advice, one sentence each."""
    front = sorted((c for c in choice.candidates if c.pareto), key=lambda c: c.cost.macs)
    lines = []
    if front:
        names = ", ".join(f"{c.name} {_per_cent(c)}".rstrip() for c in front)
        lines.append(f"Pareto set, fewest MACs first: {names}.")
    if choice.neighbours:
        told = "; ".join(f"{each.name}, {each.sentence}" for each in choice.neighbours)
        lines.append(f"Neighbours of {choice.chosen.name}: {told}.")
    return [printable(line) for line in (*lines, *choice.advice)]


def choice_notes(choice: Choice) -> list[str]:
    """Return where the figures come from, one sentence each."""
    chosen, kept = choice.chosen, [c for c in choice.candidates if c.kept]
    notes = [
        "◆: in the Pareto set: no other within the budget is as good in everything and better in "
        "something."
    ]
    top1 = chosen.figures.get("top1")
    if top1 is not None:
        notes.append(f"top-1 is published; that of {chosen.name}: {printable(top1.source)}.")
    shown = {limit.figure for limit in shown_limits(choice, kept)}
    memory = "memory is predicted, " if shown & {"memory_bytes", "train_bytes"} else ""
    notes.append(
        f"Parameters, MACs and size are counted, {memory}for one image "
        f"({chosen.name}: {pixels(chosen.input_size)}) in single precision; 1 MB = 10⁶ bytes."
    )
    origins = {c.figures["latency_ms"].origin for c in kept if "latency_ms" in c.figures}
    if "predicted" in origins:
        notes.append(
            "≈: latency predicted from `convatlas calibrate`, with the interval that holds nine "
            "measurements of ten."
        )
    if "measured" in origins:
        notes.append(
            "Latency without ≈: measured on this machine, median and 10th to 90th percentile."
        )
    if any(c.margins for c in kept):
        notes.append("margin: the share of the tightest limit that is left.")
    return notes


def training_sentence(training: Mapping[str, Any]) -> str:
    """Return how long the chosen network would train, and how that is known.

    Args:
        training: ``seconds``, ``device``, ``epochs``, ``batch_size``, ``recipe``, ``step_ms``,
            ``origin`` and ``source``.
    """
    device = _DEVICES.get(training["device"], training["device"])
    return (
        f"Training {training['name']} takes about {seconds_text(training['seconds'])} on the "
        f"{device}: "
        f"{plural(training['epochs'], 'epoch')} with the recipe {training['recipe']}, batch "
        f"{training['batch_size']}, {seconds_text(training['step_ms'] / 1e3)} a step "
        f"({training['origin']}: {training['source']})."
    )


def shown_limits(choice: Choice, rows: Sequence[Candidate]) -> list[Limit]:
    """Return the limits whose figures are shown of some candidates: accuracy first.

    The memory of training is shown if it is limited.
    """
    shown = []
    for limit in sorted(SHOWN, key=lambda limit: limit.figure != "top1"):
        is_known = any(figure_of(candidate, limit) for candidate in rows)
        if is_known and (limit.figure != "train_bytes" or is_asked(limit, choice.budget)):
            shown.append(limit)
    return shown


def margin_text(candidate: Candidate) -> str:
    """Return what is left of the limit that is nearest: ``"4 % MACs"``."""
    shorts = {limit.name: limit.short for limit in SHOWN}
    margins = {name: left for name, left in candidate.margins.items() if name in shorts}
    if not margins:
        return MISSING
    tightest = min(margins, key=lambda name: margins[name])
    return f"{margins[tightest] * 100:.0f} % {shorts[tightest]}"


def _figure_column(limit: Limit, rows: Sequence[Candidate], budget: Budget) -> Column:
    importance = None if limit.figure in _ALWAYS else _IMPORTANCE[limit.figure]
    if importance is not None and is_asked(limit, budget):
        importance = _ASKED
    cells = [figure_text(candidate, limit) for candidate in rows]
    return Column(limit.short, cells, importance, is_number=True)


def figure_of(candidate: Candidate, limit: Limit) -> Figure | None:
    """Return a figure of the network as it would be built; None for that of another input."""
    if limit.figure != "top1" and getattr(candidate.cost, limit.figure) is None:
        return None
    return candidate.figures.get(limit.figure)


def figure_text(candidate: Candidate, limit: Limit) -> str:
    """Return a figure with its interval; ``≈`` before a predicted time, ``≥`` before the least."""
    figure = figure_of(candidate, limit)
    if figure is None:
        return MISSING
    text = limit_text(limit, figure.value)
    if figure.low is not None and figure.high is not None:
        low, high = (limit_text(limit, end) for end in (figure.low, figure.high))
        text += f" ({_between(low, high)})"
    if limit.figure != "latency_ms" or figure.origin != "predicted":
        return text
    only_least = figure.low is not None and figure.high is None
    return f"≥ {text}" if only_least else f"≈ {text}"


def _between(low: str, high: str) -> str:
    """Return both ends, the unit once where they share it: ``"10.9–14.0 ms"``."""
    number, _, unit = low.rpartition(" ")
    return f"{number if high.endswith(f' {unit}') else low}–{high}"


def _per_cent(candidate: Candidate) -> str:
    return "" if candidate.top1 is None else f"{candidate.top1:.1f} %"
