"""``convatlas timeline``: the history of the networks. Does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.drawing import drawing_file

__all__ = ["timeline"]


def timeline(
    svg: Annotated[
        Path | None, typer.Option(help="Draw it into this SVG file or folder; else print.")
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(help="Write drawing, table and sources into this HTML file; else print."),
    ] = None,
) -> None:
    """Show how networks grew deeper and better: year, depth, costs, ImageNet errors."""
    from convatlas.files import write_text
    from convatlas.models.timeline import list_milestones
    from convatlas.render.timeline import timeline_html, timeline_svg, timeline_table

    milestones = list_milestones()
    if svg is not None:
        file = drawing_file(svg, "timeline", "--svg")
        write_text(file, timeline_svg(milestones))
        typer.echo(f"drawing: {file}")
    if html is not None:
        file = drawing_file(html, "timeline", "--html", ".html")
        write_text(file, timeline_html(milestones))
        typer.echo(f"page: {file}")
    if svg is None and html is None:
        from rich.console import Console

        Console().print(timeline_table(milestones))
