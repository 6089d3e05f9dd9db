"""``convatlas show``: one network, layer by layer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convatlas.cli.drawing import drawing_file

if TYPE_CHECKING:
    from convatlas.models.anatomy import ConvNet

__all__ = ["show"]


def show(
    name: Annotated[str, typer.Argument(help="Name of a network; see `convatlas list`.")],
    input_size: Annotated[
        int | None,
        typer.Option("--input", help="Height and width in pixels; the paper's if left out."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="Number of classes; the paper's if left out.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option(help="Channels of the image; the paper's if left out.")
    ] = None,
    stem: Annotated[str | None, typer.Option(help="'small' for images of 8–64 pixels.")] = None,
    output_stride: Annotated[int, typer.Option(help="8, 16 or 32.")] = 32,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    diagram: Annotated[
        Path | None,
        typer.Option(help="Draw the network into this SVG file instead; NAME.svg in a folder."),
    ] = None,
) -> None:
    """Show the layers of a network: shape, parameters, MACs, FLOPs, memory, receptive field."""
    from convatlas.models.catalogue import find_entry

    entry = find_entry(name)
    drawing = drawing_file(diagram, name, "--diagram") if diagram else None
    import torch

    from convatlas.analysis.cost import analyze
    from convatlas.models.registry import create_model
    from convatlas.render.data import cost_to_csv, cost_to_json

    options: dict[str, Any] = {"num_classes": classes, "in_channels": channels, "stem": stem}
    given = {key: value for key, value in options.items() if value is not None}
    with torch.device("meta"):
        model = create_model(name, output_stride=output_stride, **given)
    if drawing is not None:
        _draw(model, name, input_size or entry.input_size, drawing)
        return
    report = analyze(model, input_size or entry.input_size, in_channels=model.in_channels)
    if json or csv:
        sys.stdout.write(cost_to_json(report) if json else cost_to_csv(report))
        return
    from rich.console import Console

    from convatlas.render.tables import cost_table

    Console().print(cost_table(report))


def _draw(model: ConvNet, name: str, input_size: int, file: Path) -> None:
    from convatlas.analysis.diagram import diagram
    from convatlas.files import write_text
    from convatlas.render.diagram import diagram_svg

    write_text(file, diagram_svg(diagram(model, input_size), name))
    typer.echo(f"drawing: {file}")
