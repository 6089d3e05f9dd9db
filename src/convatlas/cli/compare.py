"""``convatlas compare``: networks side by side, in the terminal, as a page, as a drawing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.drawing import drawing_file
from convatlas.cli.flags import Json
from convatlas.cli.networks import InputSize, Networks

if TYPE_CHECKING:
    from convatlas.analysis.comparison import Comparison

__all__ = ["compare"]


def compare(
    names: Networks,
    measure: Annotated[
        bool,
        typer.Option("--measure", help="Also time each on this machine; else run none."),
    ] = False,
    input_size: InputSize = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write tables and charts into this HTML file or folder; else none."),
    ] = None,
    svg: Annotated[
        Path | None,
        typer.Option(help="Draw accuracy over MACs into this SVG file or folder; else not."),
    ] = None,
    png: Annotated[
        Path | None, typer.Option(help="Draw the same into this PNG file or folder; else not.")
    ] = None,
    json: Json = False,
) -> None:
    """Compare networks: shapes and costs per stage, memory, accuracy, and their Pareto front."""
    from convatlas.models.catalogue import find_entry

    for name in names:
        find_entry(name)
    files = {
        suffix: drawing_file(path, "comparison", f"--{suffix[1:]}", suffix)
        for suffix, path in ((".html", html), (".svg", svg), (".png", png))
        if path is not None
    }
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.comparison import compare as collect

    show = Terminal().progress("networks") if measure else None
    comparison = collect(names, input_size=input_size, measure=measure, progress=show)
    for suffix, file in files.items():
        _write(comparison, file, suffix)
        typer.echo(f"{'page' if suffix == '.html' else 'drawing'}: {file}", err=json)
    if json:
        from convatlas.render.comparison import comparison_to_json

        sys.stdout.write(comparison_to_json(comparison))
    elif not files:
        _show(comparison)


def _write(comparison: Comparison, file: Path, suffix: str) -> None:
    from convatlas.files import write_file, write_text
    from convatlas.render.bubbles import bubbles_png, bubbles_svg
    from convatlas.render.comparison import comparison_html

    if suffix == ".png":
        write_file(file, bubbles_png(comparison))
    else:
        write_text(file, (comparison_html if suffix == ".html" else bubbles_svg)(comparison))


def _show(comparison: Comparison) -> None:
    from rich.console import Console

    from convatlas.render.comparison import comparison_notes, comparison_tables

    console = Console()
    for table in comparison_tables(comparison):
        console.print(table)
        console.print()
    for note in comparison_notes(comparison):
        console.print(note, highlight=False, markup=False)
