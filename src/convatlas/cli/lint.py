"""``convatlas lint``: which design guidelines a network breaks, and by which numbers."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convatlas.cli.flags import Json
from convatlas.cli.networks import (
    Channels,
    Classes,
    InputSize,
    Network,
    OutputStride,
    Stem,
    network_to_look_at,
)

__all__ = ["lint"]


def lint(
    name: Network,
    input_size: InputSize = None,
    classes: Classes = None,
    channels: Channels = None,
    stem: Stem = None,
    output_stride: OutputStride = 32,
    ignore: Annotated[
        list[str] | None,
        typer.Option(help="Id of a rule to silence, repeatable; none if left out."),
    ] = None,
    balance: Annotated[
        float | None,
        typer.Option(help="FLOPs that your machine does per byte it moves; an A100's if left out."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with status 1 on any warning or worse; else with 0."),
    ] = False,
    json: Json = False,
) -> None:
    """Hold a network against the design guidelines: what looks odd, by how much, what to try."""
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
