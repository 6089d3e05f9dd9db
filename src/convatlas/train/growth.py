"""What grows in the course of a run: the network from shallow to deep, and the images.

It knows neither networks nor data, and imports no torch.
"""

from __future__ import annotations

from convatlas.train.recipe import Recipe

__all__ = ["shallow_recipe", "side_of", "sizes_of"]


def shallow_recipe(recipe: Recipe) -> Recipe | None:
    """Return what the shallow network of ``recipe.growth`` is trained with first, or None.

    It is the same recipe over the epochs of the growth. The deep network then begins with the
    shallow one's first and last layers and goes through ``recipe`` itself, at the full learning
    rate (Simonyan & Zisserman 2014, arXiv:1409.1556, section 3.1).

    Raises:
        OptionError: The warm-up or the freezing is longer than the growth.
    """
    if not recipe.growth.network:
        return None
    epochs = recipe.growth.epochs or recipe.training.epochs
    return recipe.override({"training.epochs": epochs, "growth.network": "", "growth.epochs": 0})


def sizes_of(recipe: Recipe, size: int) -> tuple[int, ...]:
    """Return the side of the training images in every epoch, in pixels.

    The sizes of ``recipe.input.sizes`` follow each other in equal parts of the run; what does
    not divide goes to the last ones, and the last epoch always has the last size.

    Args:
        recipe: The recipe.
        size: The side at evaluation, which is taken when the recipe names no sizes.
    """
    return tuple(side_of(recipe, epoch, size) for epoch in range(recipe.training.epochs))


def side_of(recipe: Recipe, epoch: int, size: int) -> int:
    """Return the side of the training images in ``epoch``, counted from 0; see :func:`sizes_of`."""
    sizes, epochs = recipe.input.sizes, recipe.training.epochs
    if not sizes:
        return size
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]
