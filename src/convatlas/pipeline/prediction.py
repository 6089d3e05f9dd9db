"""Classes of photos, by a finished run or by a network with ImageNet weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from convatlas.data.decode import decode
from convatlas.errors import DataError, WeightsError
from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.pretrained.weights import pretrained_preprocessing
from convatlas.models.registry import create_model
from convatlas.pipeline.trained import TrainedModel, load_trained

__all__ = ["Prediction", "predict_files"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The most probable classes of one image.

    Attributes:
        path: The image's file.
        model: The network or run that was asked.
        classes: Class names, the most probable first.
        probabilities: Their probabilities, in 0 … 1.
    """

    path: Path
    model: str
    classes: tuple[str, ...]
    probabilities: tuple[float, ...]


def predict_files(paths: Sequence[Path], model: str, top: int = 5) -> list[Prediction]:
    """Return the ``top`` classes of each image.

    Args:
        paths: Image files.
        model: A run folder, or the name of a network with ImageNet weights.
        top: Number of classes.

    Raises:
        DataError: A file that is missing or no image.
        CheckpointError: The folder holds no finished run.
        UnknownNameError: Neither a folder nor a network.
        WeightsError: A network without weights at hand.
    """
    for path in paths:
        if not path.is_file():
            raise DataError(f"expected an image file, got {path}: there is no such file")
    images = [decode(path) for path in paths]
    trained = load_trained(Path(model)) if Path(model).is_dir() else _pretrained(model)
    batch = torch.stack([trained.preprocessing(image) for image in images])
    with torch.inference_mode():
        probabilities = trained.model(batch).softmax(1)
    best = probabilities.topk(min(top, len(trained.classes)))
    return [
        Prediction(path, model, tuple(trained.classes[i] for i in places), tuple(values))
        for path, places, values in zip(
            paths, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]


def _pretrained(name: str) -> TrainedModel:
    entry = find_entry(name)
    if not entry.weights:
        raise WeightsError(
            f"expected a run folder or a network with ImageNet weights, got {name}, which has "
            f"none at hand: take {', '.join(list_models(pretrained=True))}"
        )
    source = entry.weights[0].source
    model = create_model(name, weights=source).eval()
    return TrainedModel(
        name, {}, model, _imagenet_classes(), pretrained_preprocessing(name, source)
    )


@cache
def _imagenet_classes() -> tuple[str, ...]:
    text = (files("convatlas.models") / "facts" / "imagenet_classes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))
