"""Features of a data set by any layer of a network: for files, probes and other people's tools."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convatlas.data.cache import OnDemandImages
from convatlas.data.parallel import Progress
from convatlas.data.source import ImageSource
from convatlas.explain.activations import activations, require_layers
from convatlas.files import write_file
from convatlas.pipeline.trained import TrainedModel

__all__ = ["Features", "extract", "write_features"]

_BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """What layers answer to the images of one source.

    Attributes:
        source: The source's name.
        layers: Layer → float32 (N, …).
        labels: Classes, int64 (N,).
        names: What to call each image.
        classes: Class names.
    """

    source: str
    layers: dict[str, Tensor]
    labels: Tensor
    names: tuple[str, ...]
    classes: tuple[str, ...]


def extract(
    network: TrainedModel,
    source: ImageSource,
    layers: Sequence[str],
    progress: Progress | None = None,
    *,
    pooled: bool = True,
) -> Features:
    """Return what ``layers`` of ``network`` answer to all images of ``source``.

    Raises:
        OptionError: No such layer.
        DataError: An image that cannot be read.
    """
    require_layers(network.model, layers)
    images = OnDemandImages(source, network.preprocessing)

    def batches() -> Iterator[Tensor]:
        for start in range(0, len(images), _BATCH):
            places = np.arange(start, min(start + _BATCH, len(images)))
            yield network.preprocessing.tensor(images[places])
            if progress is not None:
                progress(int(places[-1]) + 1, len(images))

    return Features(
        source=source.name,
        layers=activations(network.model, batches(), layers, pooled=pooled),
        labels=torch.tensor(source.labels, dtype=torch.int64),
        names=tuple(source.describe(index) for index in range(len(source))),
        classes=tuple(source.classes),
    )


def write_features(path: Path, parts: Sequence[Features]) -> None:
    """Write ``path`` as a numpy archive (.npz) without pickles.

    It holds ``features/<layer>`` float32 (N, …), ``labels`` int64, ``names`` and ``split``
    (N,), and ``classes``.

    Raises:
        OutputError: The file cannot be written.
    """
    arrays: dict[str, Any] = {
        f"features/{layer}": torch.cat([part.layers[layer] for part in parts]).numpy()
        for layer in parts[0].layers
    }
    arrays["labels"] = torch.cat([part.labels for part in parts]).numpy()
    arrays["names"] = np.array([name for part in parts for name in part.names])
    arrays["split"] = np.array([part.source for part in parts for _ in part.names])
    arrays["classes"] = np.array(parts[0].classes)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    write_file(path, buffer.getvalue())
