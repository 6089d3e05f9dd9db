"""``convatlas evaluate``: how good runs are, how sure that is, and which of them is better."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.completion import words
from convatlas.cli.flags import Json
from convatlas.errors import OptionError

if TYPE_CHECKING:
    from convatlas.tasks.judged import EvaluationReport

__all__ = ["evaluate"]

_PICTURES = 12


def evaluate(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run folders, or checkpoints (.safetensors) in one."),
    ],
    data: Annotated[
        str | None,
        typer.Option(
            help="Judge by the held-out part of these images; the run's own if left out.",
            autocompletion=words("digits"),
        ),
    ] = None,
    ensemble: Annotated[
        bool,
        typer.Option("--ensemble", help="Also judge the runs' mean probabilities; else each run."),
    ] = False,
    ten_crop: Annotated[
        bool,
        typer.Option("--ten-crop", help="Show corners, centre and their mirror images; else one."),
    ] = False,
    scales: Annotated[
        str | None,
        typer.Option(help="Shorter sides of the images in turn: 224,256; its own if left out."),
    ] = None,
    compare: Annotated[
        bool, typer.Option(help="Whether to compare every other network with the first.")
    ] = True,
    bootstrap: Annotated[int, typer.Option(help="Draws that the intervals come from.")] = 2000,
    saved: Annotated[
        bool,
        typer.Option("--saved", help="Judge the last evaluation's predictions; else predict anew."),
    ] = False,
    html: Annotated[
        Path | None,
        typer.Option(help="Write charts and mistakes into this HTML file or folder; else none."),
    ] = None,
    json: Json = False,
) -> None:
    """Judge runs on the images they were not trained on: intervals, calibration, comparison."""
    from convatlas.cli.drawing import drawing_file

    sizes = _sizes(scales)
    page = None if html is None else drawing_file(html, "evaluation", "--html", ".html")
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.evaluation import EvaluationSettings, evaluate_runs
    from convatlas.pipeline.subject import Views

    settings = EvaluationSettings(
        data=data,
        views=Views(ten_crop=ten_crop, scales=sizes),
        ensemble=ensemble,
        compare=compare,
        saved=saved,
        resamples=bootstrap,
        pictures=0 if page is None else _PICTURES,
    )
    report = evaluate_runs(runs, settings, Terminal())
    if page is not None:
        from convatlas.files import write_text
        from convatlas.render.evaluation import evaluation_html

        write_text(page, evaluation_html(report))
        typer.echo(f"page: {page}", err=json)
    _show(report, json)


def _sizes(text: str | None) -> tuple[int, ...]:
    """Return ``"224,256"`` as (224, 256), and nothing as no sizes.

    Raises:
        OptionError: Not whole numbers.
    """
    try:
        return tuple(int(size) for size in text.split(",")) if text is not None else ()
    except ValueError:
        raise OptionError(f"--scales expects sizes such as 224,256,288, got {text!r}") from None


def _show(report: EvaluationReport, json: bool) -> None:
    from convatlas.render.evaluation import evaluation_notes, evaluation_tables, evaluation_to_json

    if json:
        sys.stdout.write(evaluation_to_json(report))
        return
    from rich.console import Console

    console = Console()
    for table in evaluation_tables(report):
        console.print(table)
        console.print()
    for note in evaluation_notes(report):
        console.print(note, highlight=False, markup=False)
