"""``convatlas lint``: which design guidelines a network breaks, and by which numbers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

__all__ = ["lint"]


def lint(
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
    ignore: Annotated[
        list[str] | None, typer.Option(help="Id of a rule to silence; may be repeated.")
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(help="FLOPs that your machine does per byte it moves; an A100's if left out."),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with status 1 on any warning or worse.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold a network against the design guidelines: what looks odd, by how much, what to try."""
    from convatlas.cli.networks import network_to_look_at

    model, size = network_to_look_at(
        name,
        input_size=input_size,
        classes=classes,
        channels=channels,
        stem=stem,
        output_stride=output_stride,
    )
    from convatlas.analysis.lint.check import lint as check
    from convatlas.analysis.lint.rules import MACHINE_BALANCE
    from convatlas.render.lint import lint_list, lint_to_json

    report = check(
        model,
        size,
        in_channels=model.in_channels,
        ignore=ignore or (),
        machine_balance=MACHINE_BALANCE if balance is None else balance,
    )
    if json:
        sys.stdout.write(lint_to_json(report))
    else:
        from rich.console import Console

        Console().print(lint_list(report))
    if strict and report.of_severity("serious", "warning"):
        raise typer.Exit(1)
