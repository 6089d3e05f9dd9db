"""Recipes as a table for the terminal, and as JSON.

Formats what the files say; rich is imported when the first table is made.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from convatlas.render.columns import Column, fitted_table, printable, terminal_width
from convatlas.render.units import plural

if TYPE_CHECKING:
    from rich.table import Table

    from convatlas.train.recipe import Recipe

__all__ = ["recipes_table", "recipes_to_json"]

_WHERE = re.compile(r", arXiv| \(|;|, section")  # what follows authors and year


def recipes_table(recipes: Sequence[Recipe], width: int | None = None) -> Table:
    """Return the recipes with their main values.

    Args:
        recipes: One row each.
        width: Terminal cells; those of this terminal by default.
    """
    columns = [
        Column("name", [recipe.name for recipe in recipes]),
        Column("epochs", [str(recipe.training.epochs) for recipe in recipes], is_number=True),
        Column("batch", [f"{recipe.training.batch_size:,}" for recipe in recipes], is_number=True),
        Column("optimizer", [recipe.optimizer.name for recipe in recipes]),
        Column("peak lr", [f"{recipe.optimizer.lr:g}" for recipe in recipes], 3, is_number=True),
        Column("schedule", [recipe.schedule.name for recipe in recipes], 2),
        Column("paper", [_paper(recipe) for recipe in recipes], 1),
        Column("evidence", [_evidence(recipe) for recipe in recipes], 0, is_prose=True),
    ]
    notes = [
        f"{plural(len(recipes), 'recipe')}. Batch: images per optimizer step, which the learning "
        "rate goes with.",
        "`convatlas recipes NAME` shows every value with its unit and its source.",
    ]
    return fitted_table(columns, width or terminal_width(), notes=notes)


def recipes_to_json(recipes: Sequence[Recipe]) -> str:
    """Return every value of the recipes as a JSON list, ended by a line break."""
    return json.dumps([recipe.to_dict() for recipe in recipes], indent=1, ensure_ascii=False) + "\n"


def _paper(recipe: Recipe) -> str:
    """Return who wrote it and when."""
    return printable(_WHERE.split(recipe.paper)[0])


def _evidence(recipe: Recipe) -> str:
    """Return the first sentence, without the place in the paper."""
    return printable(recipe.evidence.partition(" (")[0].partition(". ")[0])
