"""A network of the catalogue for the commands that only look at it, and its flags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from convatlas.cli.completion import networks, words

if TYPE_CHECKING:
    from convatlas.models.anatomy import ConvNet

__all__ = [
    "Channels",
    "Classes",
    "InputSize",
    "Network",
    "Networks",
    "OutputStride",
    "Stem",
    "network_to_look_at",
]

Network: TypeAlias = Annotated[
    str,
    typer.Argument(help="Name of a network; see `convatlas list`.", autocompletion=networks),
]
Networks: TypeAlias = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME...", help="Networks; see `convatlas list`.", autocompletion=networks
    ),
]
InputSize: TypeAlias = Annotated[
    int | None,
    typer.Option("--input", help="Height and width in pixels; the paper's if left out."),
]
Classes: TypeAlias = Annotated[
    int | None, typer.Option(help="Number of classes; the paper's if left out.")
]
Channels: TypeAlias = Annotated[
    int | None, typer.Option(help="Channels of the image; the paper's if left out.")
]
Stem: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="'small' for images of 8–64 pixels; the paper's if left out.",
        autocompletion=words("small"),
    ),
]
OutputStride: TypeAlias = Annotated[
    int,
    typer.Option(
        help="Pixels per place of the last map: 8, 16 or 32.", autocompletion=words("8 16 32")
    ),
]


def network_to_look_at(
    name: str,
    *,
    input_size: int | None = None,
    classes: int | None = None,
    channels: int | None = None,
    stem: str | None = None,
    output_stride: int = 32,
) -> tuple[ConvNet, int]:
    """Return a network without memory and the input size, the paper's for what is None."""
    from convatlas.models.catalogue import find_entry

    entry = find_entry(name)
    import torch

    from convatlas.models.registry import create_model

    options: dict[str, Any] = {"num_classes": classes, "in_channels": channels, "stem": stem}
    given = {key: value for key, value in options.items() if value is not None}
    with torch.device("meta"):
        model = create_model(name, output_stride=output_stride, **given)
    return model, entry.input_size if input_size is None else input_size
