"""Which options a recipe asks of the network itself."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

import torch

from convatlas.errors import OptionError
from convatlas.models.registry import create_model
from convatlas.train.recipe import Recipe

__all__ = ["network_options"]

_LOG = logging.getLogger(__name__)
_DROP_PATH = "regularization.drop_path"


def network_options(recipe: Recipe, name: str, asked: Collection[str] = ()) -> dict[str, Any]:
    """Return the keywords of ``create_model`` that ``recipe.regularization`` sets.

    A recipe goes with many networks. Stochastic depth in one that has no branches to drop is
    left out with a word in the log, or refused if it was asked for by name.

    Args:
        recipe: The recipe.
        name: Name of the network.
        asked: Dotted names of the values that were set by hand.

    Raises:
        OptionError: Stochastic depth was set by hand, and the network cannot have it.
        UnknownNameError: No such network.
    """
    wanted = recipe.regularization
    options: dict[str, Any] = {}
    if wanted.dropout is not None:
        options["dropout"] = wanted.dropout
    if wanted.drop_path is None:
        return options
    try:
        with torch.device("meta"):
            create_model(name, drop_path=wanted.drop_path)
    except OptionError as error:
        if wanted.drop_path and _DROP_PATH in asked:
            raise OptionError(
                f"{name} has no branches to drop, got {_DROP_PATH}={wanted.drop_path:g}: leave it "
                "out, or take another network"
            ) from error
        if wanted.drop_path:
            _LOG.warning("%s has no branches to drop: stochastic depth is left out", name)
        return options
    return {**options, "drop_path": wanted.drop_path}
