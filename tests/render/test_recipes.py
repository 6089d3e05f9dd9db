from __future__ import annotations

import io

import pytest
from rich.console import Console

from convatlas.render.recipes import recipes_table
from convatlas.train.recipe import Recipe, find_recipe, list_recipes


def drawn(recipes, width):
    console = Console(width=width, file=io.StringIO(), record=True)
    console.print(recipes_table(recipes, width))
    return console.export_text().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
def test_a_table_fits_its_terminal_and_names_every_recipe(width):
    recipes = list(map(find_recipe, list_recipes()))
    lines = drawn(recipes, width)
    assert all(len(line.rstrip()) <= width for line in lines)
    if width >= 60:
        assert {line.split()[0] for line in lines if line.strip()} >= set(list_recipes())


def test_paper_and_evidence_are_shortened_to_what_tells_them_apart():
    recipe = Recipe().override(
        {
            "name": "mine",
            "paper": "A, B & C 2020, arXiv:2000.00000, table 1",
            "evidence": "Published: net, 12.5 % on it (table 9). Not measured by us.",
        }
    )
    line = next(line for line in drawn([recipe], 200) if line.startswith("mine"))
    assert "A, B & C 2020  " in line
    assert line.rstrip().endswith("Published: net, 12.5 % on it")
