"""A race of networks for the terminal: who got how far, and what follows from it.

It knows what a race's report holds and not how it came about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.units import MISSING, count, interval, percent, plural, seconds_text, whole

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.search.halving import Racer, RaceReport, Stint

__all__ = ["race_sentences", "race_table", "rungs_sentence"]

_NO_FIGURES = (MISSING,) * 5


def race_table(report: RaceReport, width: int | None = None) -> Table:
    """Return a row per network, best first, with its figures at the end of its last rung."""
    racers = report.racers
    stints = [_figures(each.stints[-1]) if each.stints else _NO_FIGURES for each in racers]
    epochs, accuracies, intervals, images, seconds = zip(*stints, strict=True)
    columns = [
        Column("network", [each.name for each in racers]),
        Column("epochs", epochs, 5, is_number=True),
        Column("accuracy", accuracies, is_number=True),
        Column("95 % (Wilson)", intervals, 6, is_number=True),
        Column("images", images, 2, is_number=True),
        Column("MACs", [count(each.macs) for each in racers], 4, is_number=True),
        Column("params", [count(each.params) for each in racers], 0, is_number=True),
        Column("training", seconds, 1, is_number=True),
        Column("outcome", [_outcome(each, report) for each in racers], 3),
    ]
    return fitted_table(columns, width or terminal_width())


def race_sentences(report: RaceReport) -> list[str]:
    """Return what follows from the race, and what must be known to read its figures."""
    return [printable(each) for each in (report.sentence, *report.notes)]


def rungs_sentence(report: RaceReport) -> str:
    """Return how the race went: ``"9 networks for 1 epoch, 3 for 3, 1 for 9, in 2 min 5 s"``."""
    first, *others = report.rungs
    parts = [f"{plural(first.networks, 'network')} for {plural(first.epochs, 'epoch')}"]
    parts += [f"{rung.networks} for {rung.epochs}" for rung in others]
    images = (
        f"{plural(report.train_images, 'image')} of {report.data}, judged by "
        f"{report.judged_images:,} others"
    )
    return f"{', '.join(parts)}, in {seconds_text(report.seconds)}: {printable(images)}"


def _figures(stint: Stint) -> tuple[str, ...]:
    """Return the cells of a row that tell what was measured."""
    return (
        whole(stint.epochs),
        percent(stint.accuracy),
        interval(stint.interval),
        whole(stint.images),
        seconds_text(stint.seconds),
    )


def _outcome(racer: Racer, report: RaceReport) -> str:
    """Return in a word or two what became of a network."""
    words = [
        "failed" if racer.failure else "",
        "first" if racer is report.racers[0] and not racer.tied else "",
        "tied" if racer.tied else "",
        "dropped, a close call" if racer.close_call else "",
        "take this" if racer.name == report.recommended else "",
    ]
    return ", ".join(word for word in words if word) or "dropped"
