"""``convatlas claims``: what the lectures say, and what our own code gets."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convatlas.cli.completion import claim_ids
from convatlas.cli.flags import Json
from convatlas.cli.terminal import Terminal

__all__ = ["claims"]


def claims(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Ids of claims, for the whole working; all of them if left out.",
            autocompletion=claim_ids,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Hold the lectures' claims against what our own code computes; nothing is trained."""
    from convatlas.claims.records import find_claim

    for identifier in ids or ():
        find_claim(identifier)
    from convatlas.claims.check import check
    from convatlas.render.claims import claim_parts, claims_table, claims_to_json

    outcomes = check(ids or (), Terminal().progress("claims"))
    if json:
        sys.stdout.write(claims_to_json(outcomes))
        return
    from rich.console import Console

    if not ids:
        Console().print(claims_table(outcomes))
        return
    for outcome in outcomes:
        for part in claim_parts(outcome):
            Console().print(part)
