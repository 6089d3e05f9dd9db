"""The words that a shell offers for a flag or an argument. Nothing here imports torch.

Where a path may stand too, the shell offers files once no word begins so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import typer

__all__ = ["claim_ids", "families", "networks", "recipe_names", "stages", "words"]

Offer = Callable[[], list[str]]


def networks() -> list[str]:
    """Return the networks of the catalogue."""
    from convatlas.models.catalogue import list_models

    return list_models()


def families() -> list[str]:
    """Return the families of the catalogue."""
    from convatlas.models.catalogue import list_families

    return list_families()


def recipe_names() -> list[str]:
    """Return the shipped recipes."""
    from convatlas.train.recipe import list_recipes

    return list_recipes()


def claim_ids() -> list[str]:
    """Return the lectures' claims."""
    from convatlas.claims.records import list_claims

    return [claim.id for claim in list_claims()]


def stages(ctx: typer.Context) -> list[str]:
    """Return the stages of the run that ``--resume`` names on the line."""
    from convatlas.pipeline.stage_names import STAGES, stages_of

    folder = ctx.params.get("resume")
    return list(STAGES if folder is None else stages_of(Path(folder)))


def words(text: str) -> Offer:
    """Return what offers the words of a text, for a flag that takes one of few."""

    def offer() -> list[str]:
        return text.split()

    return offer
