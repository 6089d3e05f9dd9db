"""``convatlas list``: the networks of the atlas, filtered. Does not import torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convatlas.cli.numbers import parse_count

__all__ = ["list_networks"]


def list_networks(
    pattern: Annotated[str, typer.Argument(help="Shell pattern of the name: 'resnet*'.")] = "*",
    family: Annotated[str | None, typer.Option(help="Name of a family.")] = None,
    max_params: Annotated[str | None, typer.Option(help="Largest parameter count: 5M.")] = None,
    max_macs: Annotated[
        str | None, typer.Option(help="Largest number of multiply-accumulates per image: 300M.")
    ] = None,
    min_top1: Annotated[
        float | None, typer.Option(help="Smallest published top-1 accuracy, in per cent.")
    ] = None,
    year: Annotated[int | None, typer.Option(help="Year of the paper.")] = None,
    pretrained: Annotated[
        bool, typer.Option("--pretrained", help="Only networks with weights at hand, offline.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """List networks with their published figures."""
    from convatlas.models.catalogue import list_entries
    from convatlas.render.data import entries_to_csv, entries_to_json

    entries = list_entries(
        pattern,
        family=family,
        max_params=parse_count(max_params, "--max-params"),
        max_macs=parse_count(max_macs, "--max-macs"),
        min_top1=min_top1,
        year=year,
        pretrained=pretrained,
    )
    if json or csv:
        sys.stdout.write(entries_to_json(entries) if json else entries_to_csv(entries))
        return
    from rich.console import Console

    from convatlas.render.tables import models_table

    Console().print(models_table(entries))
