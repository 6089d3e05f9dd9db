"""Classes of photos, by a finished run or by a network with ImageNet weights."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import torch

from convatlas.data.decode import decode, printable, read_header
from convatlas.errors import DataError, OptionError, WeightsError
from convatlas.models.catalogue import find_entry, list_models
from convatlas.models.pretrained.sources import pretrained_preprocessing
from convatlas.models.registry import create_model
from convatlas.pipeline.trained import TrainedModel, load_trained

__all__ = ["Prediction", "load_network", "predict_files"]

_BATCH = 32  # photos in memory at once


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


def predict_files(
    paths: Sequence[Path], model: str, top: int = 5, weights: str | None = None
) -> list[Prediction]:
    """Return the ``top`` classes of each image.

    Args:
        paths: Image files.
        model: A run folder, or the name of a network with ImageNet weights.
        top: Number of classes.
        weights: A source of the network's weights, downloaded if need be; those at hand if None.

    Raises:
        DataError: A file that is missing or no image.
        CheckpointError: The folder holds no finished run.
        UnknownNameError: Neither a folder nor a network.
        WeightsError: A network without such weights, or without any at hand.
        FetchError: The weights cannot be downloaded.
        OptionError: Weights for a run folder.
    """
    for path in paths:
        _require_image(path)
    trained = load_network(model, weights)
    starts = range(0, len(paths), _BATCH)
    probabilities = torch.cat([_asked(trained, paths[at : at + _BATCH]) for at in starts])
    best = probabilities.topk(min(top, len(trained.classes)))
    return [
        Prediction(path, model, tuple(trained.classes[i] for i in places), tuple(values))
        for path, places, values in zip(
            paths, best.indices.tolist(), best.values.tolist(), strict=True
        )
    ]


def _require_image(path: Path) -> None:
    """Find out from the head of a file that it is no image, before the network is loaded."""
    if os.path.isdir(path):  # a Path raises over a name that is too long for the file system
        raise DataError(f"expected image files, got the folder {printable(path)}: name its files")
    if not os.path.isfile(path):
        raise DataError(f"expected an image file, got {printable(path)}: there is no such file")
    read_header(path)


def _asked(trained: TrainedModel, paths: Sequence[Path]) -> torch.Tensor:
    """Return the probabilities of all classes for some photos, (N, classes)."""
    batch = torch.stack([trained.preprocessing(decode(path)) for path in paths])
    with torch.inference_mode():
        probabilities: torch.Tensor = trained.model(batch).softmax(1)
    return probabilities


def load_network(model: str, weights: str | None = None) -> TrainedModel:
    """Return the network of a run folder, or one with ImageNet weights, in evaluation mode.

    Args:
        model: A run folder, or the name of a network.
        weights: A source of the network's weights; those at hand if None.

    Raises:
        ConvAtlasError: As for :func:`predict_files`.
    """
    return _trained(model, weights) if Path(model).is_dir() else _pretrained(model, weights)


def _trained(folder: str, weights: str | None) -> TrainedModel:
    if weights is not None:
        raise OptionError(f"{folder} is a run with weights of its own: leave out {weights!r}")
    return load_trained(Path(folder))


def _pretrained(name: str, weights: str | None) -> TrainedModel:
    source = weights or _source_at_hand(name)
    preprocessing = pretrained_preprocessing(name, source)
    model = create_model(name, weights=source).eval()
    return TrainedModel(name, {}, model, _imagenet_classes(), preprocessing)


def _source_at_hand(name: str) -> str:
    entry = find_entry(name)
    if entry.weights_at_hand is not None:
        return entry.weights_at_hand.source
    sources = [source.source for source in entry.weights]
    download = f"download them by weights {sources[0]!r}, or " if sources else ""
    raise WeightsError(
        f"expected a run folder or a network with ImageNet weights, got {name}, which has "
        f"none at hand: {download}take {', '.join(list_models(pretrained=True))}"
    )


@cache
def _imagenet_classes() -> tuple[str, ...]:
    text = (files("convatlas.models") / "facts" / "imagenet_classes.txt").read_text("utf-8")
    return tuple(line for line in text.splitlines() if not line.startswith("#"))
