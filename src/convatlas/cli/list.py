"""``convatlas list``: the networks of the atlas, filtered. Does not import torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convatlas.cli.completion import networks
from convatlas.cli.flags import Csv, Json
from convatlas.cli.limits import Family, MaxMacs, MaxParams, MinTop1, told_in_flags

__all__ = ["list_networks"]


def list_networks(
    pattern: Annotated[
        str,
        typer.Argument(help="Shell pattern of the name: 'resnet*'.", autocompletion=networks),
    ] = "*",
    family: Family = None,
    max_params: MaxParams = None,
    max_macs: MaxMacs = None,
    min_top1: MinTop1 = None,
    year: Annotated[int | None, typer.Option(help="Year of the paper; any if left out.")] = None,
    pretrained: Annotated[
        bool,
        typer.Option("--pretrained", help="Only networks with weights at hand, offline; else all."),
    ] = False,
    json: Json = False,
    csv: Csv = False,
) -> None:
    """List networks with their published figures."""
    from convatlas.models.catalogue import list_entries
    from convatlas.render.data import entries_to_csv, entries_to_json
    from convatlas.search.budget import Budget

    with told_in_flags():  # what no limit can be is refused as by `choose`
        Budget(max_params=max_params, max_macs=max_macs, min_top1=min_top1)
    entries = list_entries(
        pattern,
        family=family,
        max_params=max_params,
        max_macs=max_macs,
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
