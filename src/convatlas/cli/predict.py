"""``convatlas predict``: the most probable classes of photos."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from convatlas.cli.completion import networks
from convatlas.cli.flags import Json, Weights

__all__ = ["predict"]


def predict(
    photos: Annotated[list[Path], typer.Argument(help="Image files, such as photos/*.jpg.")],
    model: Annotated[
        str,
        typer.Option(
            help="A run folder, or a network with ImageNet weights.", autocompletion=networks
        ),
    ] = "efficientnet_lite0",
    weights: Weights = None,
    top: Annotated[int, typer.Option(help="Number of classes to print.", min=1)] = 5,
    json: Json = False,
) -> None:
    """Print the most probable classes of each photo, with probabilities."""
    from convatlas.pipeline.prediction import predict_files
    from convatlas.render.data import predictions_to_json

    predictions = predict_files(photos, model, top, weights)
    if json:
        sys.stdout.write(predictions_to_json(predictions))
        return
    from rich.console import Console

    from convatlas.render.tables import predictions_table

    for prediction in predictions:
        Console().print(predictions_table(prediction))
