"""``convatlas recipes``: what to train with, and where each value comes from. Without torch."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from convatlas.cli.completion import recipe_names
from convatlas.cli.flags import Json

__all__ = ["recipes"]


def recipes(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A recipe, or a .toml file; all of them if left out.",
            autocompletion=recipe_names,
        ),
    ] = None,
    change: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Show another value: optimizer.lr=0.02, repeatable; its own if left out.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List the shipped recipes, or show one of them value by value."""
    from convatlas.errors import OptionError
    from convatlas.render.recipes import recipes_table, recipes_to_json
    from convatlas.train.recipe import find_recipe, list_recipes, parse_setting, recipe_text

    settings = dict(parse_setting(each) for each in change or ())
    if name is None:
        if settings:
            raise OptionError("--set changes one recipe, got none: give its name")
        found = [find_recipe(each) for each in list_recipes()]
    else:
        found = [find_recipe(name).override(settings)]
    if json:
        sys.stdout.write(recipes_to_json(found))
    elif name in list_recipes() and not settings:
        sys.stdout.write(recipe_text(str(name)))
    elif name is not None:
        sys.stdout.write(found[0].to_toml())
    else:
        from rich.console import Console

        Console().print(recipes_table(found))
