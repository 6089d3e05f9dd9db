"""``convatlas runs``: trained networks listed, compared and plotted. Does not import torch."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.completion import words
from convatlas.cli.drawing import drawing_file
from convatlas.cli.flags import Json
from convatlas.errors import OptionError

if TYPE_CHECKING:
    from convatlas.pipeline.runs import Run, RunList

__all__ = ["runs"]

_FOLDER = Path("runs")


def runs(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER] [RUN]...",
            help="Folder with runs, 'runs' if left out; then names or folders of some of them.",
        ),
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Show what differs, side by side; else list them."),
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(help="Write learning curves into this HTML file or folder; else none."),
    ] = None,
    sort: Annotated[
        str,
        typer.Option(
            help="created (newest first), accuracy (highest first) or name.",
            autocompletion=words("created accuracy name"),
        ),
    ] = "created",
    json: Json = False,
) -> None:
    """List runs with their accuracy and state; compare some of them, or plot their curves."""
    from dataclasses import asdict

    from convatlas.pipeline.runs import differences, find_runs

    folder, names = _places(paths or [])
    found = find_runs(folder, sort)
    chosen = _chosen(found, names)
    rows = [run.to_dict() for run in chosen]
    differing = [asdict(each) for each in differences(chosen)]
    if (compare or plot) and len(rows) < (2 if compare else 1):
        what = "two runs or more to compare" if compare else "a run to plot"
        raise OptionError(f"expected {what}, got {len(rows)} in {folder}: see `convatlas runs`")
    if plot is not None:
        _plot(rows, differing, drawing_file(plot, "runs", "--plot", ".html"), quiet=json)
    if compare:
        _compare(rows, differing, json)
    elif json or plot is None:
        _list(rows, [] if names else [asdict(each) for each in found.foreign], json)


def _places(paths: Sequence[str]) -> tuple[Path, Sequence[str]]:
    """Return the folder to search, and the runs that were named behind it.

    The first path is a run itself when more follow and it holds one: `--compare runs/*`.
    """
    if not paths:
        return _FOLDER, []
    first, rest = Path(paths[0]), paths[1:]
    if not first.is_dir() and rest:
        return _FOLDER, paths
    if rest and any((first / name).is_file() for name in ("run.json", "metrics.jsonl")):
        return first.parent, paths
    return first, rest


def _chosen(found: RunList, names: Sequence[str]) -> tuple[Run, ...]:
    """Return the runs that were named, by their name or by their folder; all of them if none."""
    if not names:
        return found.runs
    known = {run.name for run in found.runs}
    below = {run.folder.resolve(): run.name for run in found.runs}
    return found.chosen([n if n in known else below.get(Path(n).resolve(), n) for n in names])


def _list(rows: Sequence[Any], foreign: Sequence[Any], json: bool) -> None:
    from convatlas.render.runs import list_notes, list_table, list_to_json

    if json:
        sys.stdout.write(list_to_json(rows, foreign))
        return
    from rich.console import Console

    console = Console()
    console.print(list_table(rows) if rows else "no runs yet: start one with `convatlas run`")
    for note in list_notes(rows, foreign):
        console.print(note, highlight=False, markup=False)


def _compare(rows: Sequence[Any], differing: Sequence[Any], json: bool) -> None:
    from convatlas.render.runs import comparison_notes, comparison_tables, comparison_to_json

    if json:
        sys.stdout.write(comparison_to_json(rows, differing))
        return
    from rich.console import Console

    console = Console()
    for table in comparison_tables(rows, differing):
        console.print(table)
        console.print()
    for note in comparison_notes(rows, differing):
        console.print(note, highlight=False, markup=False)


def _plot(rows: Sequence[Any], differing: Sequence[Any], file: Path, *, quiet: bool) -> None:
    from convatlas.files import write_text
    from convatlas.render.runs_page import runs_html

    write_text(file, runs_html(rows, differing))
    typer.echo(f"page: {file}", err=quiet)
