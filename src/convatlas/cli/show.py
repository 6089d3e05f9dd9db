"""``convatlas show``: one network, layer by layer or in sums."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convatlas.cli.drawing import drawing_file
from convatlas.cli.flags import Csv, Json
from convatlas.cli.networks import (
    Channels,
    Classes,
    InputSize,
    Network,
    OutputStride,
    Stem,
    network_to_look_at,
)
from convatlas.errors import OptionError

if TYPE_CHECKING:
    from convatlas.analysis.report import CostReport, GroupCost
    from convatlas.models.anatomy import ConvNet

__all__ = ["show"]

_GROUPINGS = ("layer", "stage", "operator", "size", "module")


def show(
    name: Network,
    input_size: InputSize = None,
    classes: Classes = None,
    channels: Channels = None,
    stem: Stem = None,
    output_stride: OutputStride = 32,
    by: Annotated[
        str,
        typer.Option(
            help="One row per layer, stage, operator, size of the map, or module.",
            autocompletion=lambda: list(_GROUPINGS),
        ),
    ] = "layer",
    depth: Annotated[
        int, typer.Option(min=1, help="With --by module: how many parts of the path count.")
    ] = 1,
    json: Json = False,
    csv: Csv = False,
    diagram: Annotated[
        Path | None,
        typer.Option(help="Draw it into this SVG file, or NAME.svg in this folder; else print."),
    ] = None,
) -> None:
    """Show the layers of a network: shape, parameters, MACs, FLOPs, memory, receptive field."""
    if by not in _GROUPINGS:
        raise OptionError(f"--by expects one of {', '.join(_GROUPINGS)}, got {by!r}")
    drawing = drawing_file(diagram, name, "--diagram") if diagram else None
    model, size = network_to_look_at(
        name,
        input_size=input_size,
        classes=classes,
        channels=channels,
        stem=stem,
        output_stride=output_stride,
    )
    if drawing is not None:
        _draw(model, name, size, drawing)
        return
    from convatlas.analysis.cost import analyze

    report = analyze(model, size, in_channels=model.in_channels)
    groups = _grouped(report, by, depth)
    if json or csv:
        from convatlas.render.data import cost_to_csv, cost_to_json

        sys.stdout.write((cost_to_json if json else cost_to_csv)(report, groups))
    else:
        _print(report, groups, by)


def _grouped(report: CostReport, by: str, depth: int) -> Sequence[GroupCost] | None:
    """Return the sums that ``--by`` asks for, or None for the layers themselves."""
    if by == "layer":
        return None
    if by == "module":
        return report.by_prefix(depth)
    if by == "size":
        return report.by_size()
    return report.by_stage() if by == "stage" else report.by_operator()


def _print(report: CostReport, groups: Sequence[GroupCost] | None, by: str) -> None:
    from rich.console import Console

    from convatlas.render.tables import cost_table, group_table

    Console().print(cost_table(report) if groups is None else group_table(report, groups, by))


def _draw(model: ConvNet, name: str, input_size: int, file: Path) -> None:
    from convatlas.analysis.diagram import diagram
    from convatlas.files import write_text
    from convatlas.render.diagram import diagram_svg

    write_text(file, diagram_svg(diagram(model, input_size), name))
    typer.echo(f"drawing: {file}")
