"""``convatlas see``: what a layer of a network sees of a photo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.completion import networks
from convatlas.cli.flags import Json, Weights
from convatlas.cli.numbers import parse_place
from convatlas.errors import DataError

__all__ = ["see"]


def see(
    model: Annotated[
        str,
        typer.Argument(
            help="A run folder, or a network with ImageNet weights.", autocompletion=networks
        ),
    ],
    photo: Annotated[Path, typer.Argument(help="Image file.")],
    layer: Annotated[str, typer.Option(help="Path of a module; see `convatlas show`.")],
    position: Annotated[
        str | None,
        typer.Option(
            metavar="<row,column>", help="Place in the layer's map: 3,4; its middle if left out."
        ),
    ] = None,
    weights: Weights = None,
    output: Annotated[
        Path | None, typer.Option(help="PNG to write; PHOTO-LAYER.png if left out.")
    ] = None,
    json: Json = False,
) -> None:
    """Draw the theoretical and the effective receptive field of a layer on a photo."""
    place = None if position is None else parse_place(position, "--position")
    from convatlas.files import require_writable, write_file

    if not photo.is_file():
        raise DataError(f"expected an image file, got {photo}: there is no such file")
    target = output or Path(f"{photo.stem}-{layer.replace('/', '-')}.png")
    require_writable(target)
    from convatlas.pipeline.seeing import see as look
    from convatlas.render.data import to_json
    from convatlas.render.field import field_picture, field_values

    sight = look(photo, model, layer, weights=weights, position=place)
    write_file(target, field_picture(sight))
    values = field_values(sight)
    if json:
        sys.stdout.write(to_json({**values, "picture": target}))
        return
    theory = values["theoretical_size_px"]
    size = (
        "×".join(map(str, theory)) + " px (blue square)"
        if theory
        else f"unknown: {sight.theoretical_note}"
    )
    height, width = values["effective_size_px"]
    row, column = values["position"]
    typer.echo(
        f"{layer}, output {row},{column}, input {'×'.join(map(str, values['input_size_px']))} px"
    )
    typer.echo(f"theoretical receptive field: {size}")
    typer.echo(f"effective, ± two sigma: {height}×{width} px (white ellipse)")
    typer.echo(f"picture: {target}")
