"""``convatlas data``: what a data set holds, and what is wrong with it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.completion import words
from convatlas.cli.drawing import drawing_file
from convatlas.cli.flags import Json

if TYPE_CHECKING:
    from convatlas.data.description import DataReport

__all__ = ["data"]


def data(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="Images, as for `convatlas train`.",
            autocompletion=words("digits"),
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(help="HTML page to write, or a folder for it; else none.")
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(help="PNG to write with a few images per class, or a folder; else none."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Most images to decode; all if left out.", min=1)
    ] = None,
    json: Json = False,
) -> None:
    """Describe images: classes, sizes, channels, bad files, duplicates across splits."""
    page = drawing_file(html, "data", "--html", ".html") if html else None
    picture = drawing_file(sheet, "contact-sheet", "--sheet", ".png") if sheet else None
    from convatlas.cli.terminal import Terminal
    from convatlas.pipeline.describing import describe

    report = describe(source, limit=limit, progress=Terminal().progress)
    for what, file in (("page", page), ("sheet", picture)):
        if file is not None:
            _write(report, file)
            typer.echo(f"{what}: {file}", err=json)
    if json:
        from convatlas.render.data_tables import data_to_json

        sys.stdout.write(data_to_json(report))
    else:
        _show(report)


def _write(report: DataReport, file: Path) -> None:
    from convatlas.files import write_file, write_text
    from convatlas.render.contact_sheet import contact_sheet_png
    from convatlas.render.data_page import data_html

    if file.suffix.lower() == ".png":
        write_file(file, contact_sheet_png(report))
    else:
        write_text(file, data_html(report))


def _show(report: DataReport) -> None:
    from rich.console import Console

    from convatlas.render.data_tables import data_headline, data_lists, data_tables, findings

    console = Console()
    console.print(data_headline(report), highlight=False, markup=False)
    for table in data_tables(report):
        console.print()
        console.print(table)
    console.print()
    for finding in findings(report):
        mark = {"bad": "!", "good": "✓", "note": "·"}[finding.kind]
        console.print(f"{mark} {finding.text}", highlight=False, markup=False)
    for line in data_lists(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
