"""What one layer of a network sees of a photo: theoretical and effective receptive field."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from convatlas.analysis.cost import analyze
from convatlas.data.decode import decode
from convatlas.data.preprocess import Preprocessing
from convatlas.explain.effective_field import Sight, effective_field
from convatlas.pipeline.prediction import load_network

__all__ = ["see", "sight"]


def see(
    photo: Path,
    model: str,
    layer: str,
    *,
    weights: str | None = None,
    position: tuple[int, int] | None = None,
) -> Sight:
    """Measure what an output of ``layer`` listens to in a photo.

    Args:
        photo: An image file.
        model: A run folder, or the name of a network with ImageNet weights.
        layer: Path of a module, such as ``"stages.3"``.
        weights: A source of the network's weights; those at hand if None.
        position: Row and column in the layer's map; the middle if None.

    Raises:
        DataError: A file that is missing or no image.
        OptionError: No such layer or position.
        ConvAtlasError: What loading the network raises.
    """
    image = decode(photo)
    network = load_network(model, weights)
    pixels = network.preprocessing.image(image)
    return sight(network.model, network.preprocessing, pixels, layer, position)


def sight(
    model: nn.Module,
    preprocessing: Preprocessing,
    pixels: NDArray[np.uint8],
    layer: str,
    position: tuple[int, int] | None = None,
) -> Sight:
    """Measure what an output of ``layer`` listens to in prepared pixels, uint8 ``(H, W, C)``.

    Raises:
        OptionError: No such layer or position, or an output that is deaf to the photo.
    """
    batch = preprocessing.tensor(pixels[None])
    effective = effective_field(model, batch, layer, position)
    report = analyze(model, tuple(batch.shape[1:]))
    inside = [row for row in report.layers if f"{row.name}.".startswith(f"{layer}.")]
    last = inside[-1] if inside else None
    return Sight(
        pixels=pixels,
        effective=effective,
        theoretical=last.receptive_field if last else None,
        theoretical_note=last.receptive_field_note if last else "the layer does no arithmetic",
    )
