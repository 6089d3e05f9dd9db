"""Pictures of where the trained network looks and what it sees.

Grad-CAM on its worst mistakes and on right answers, the filters of its first layer, and the
receptive field of its last stage on one photo.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import nn

from convatlas.errors import OptionError
from convatlas.explain.cam import default_stage, grad_cam
from convatlas.explain.filters import first_layer_filters
from convatlas.files import write_file
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.seeing import sight
from convatlas.pipeline.training import Job, held_out
from convatlas.render.field import field_picture, field_values
from convatlas.render.filter_sheet import filter_sheet
from convatlas.render.overlay import heat_overlay
from convatlas.tasks.classify import Classification

__all__ = ["MOST_PICTURES", "explain"]

_MOST = 8
MOST_PICTURES = 2 * _MOST
"""Of mistakes and right answers together."""

_MOST_FILTERS = 128
_FILTERS, _FIELD = "images/filters.png", "images/field.png"


@dataclass(frozen=True, slots=True)
class _Case:
    kind: str
    index: int
    true: int
    predicted: int
    confidence: float


def explain(model: ConvNet, job: Job, folder: Path) -> dict[str, Any]:
    """Write pictures below ``folder / "images"``.

    Returns:
        The record, as JSON values:

        - ``stage`` and ``pictures``: Grad-CAM overlays, mistakes before right answers.
        - ``filters``: the first layer's filters; None where they are no pictures, as of images
          with 2 or 4 channels.
        - ``field``: theoretical and effective receptive field of the last stage's middle, on the
          first right answer (a mistake, if there is none); None where it is deaf to that photo.
    """
    images, prepared = job.images, job.prepared
    cases = _cases(model, job)
    first = images.validation[np.array([0])]
    stage = default_stage(model, images.preprocessing.tensor(first))
    pictures = []
    for number, case in enumerate(cases, 1):
        pixels = images.validation[np.array([case.index])]
        heat = grad_cam(model, images.preprocessing.tensor(pixels), case.predicted, stage=stage)
        name = f"images/{case.kind}-{number:02d}"
        _write_png(folder / f"{name}.png", pixels[0])
        _write_png(folder / f"{name}-cam.png", heat_overlay(pixels[0], heat[0].numpy()))
        pictures.append(
            {
                "kind": case.kind,
                "image": f"{name}.png",
                "overlay": f"{name}-cam.png",
                "true": prepared.classes[case.true],
                "predicted": prepared.classes[case.predicted],
                "confidence": case.confidence,
                "source": prepared.splits.validation.describe(case.index),
            }
        )
    shown = next((case for case in cases if case.kind == "right"), cases[0])
    return {
        "stage": stage,
        "pictures": pictures,
        "filters": _filters(model, folder),
        "field": _field(model, job, shown.index, folder),
    }


def _cases(model: ConvNet, job: Job) -> list[_Case]:
    """Return the most confident mistakes, then the most confident right answer of each class."""
    predictions = Classification().predict(model, held_out(job, 64))
    confidence, predicted = predictions.logits.softmax(1).max(1)
    order = confidence.argsort(descending=True, stable=True).tolist()
    wrong: list[_Case] = []
    right: dict[int, _Case] = {}
    for place in order:
        true, guess = int(predictions.labels[place]), int(predicted[place])
        case = _Case(
            "mistake" if true != guess else "right",
            int(predictions.indices[place]),
            true,
            guess,
            float(confidence[place]),
        )
        if true != guess:
            wrong.append(case)
        else:
            right.setdefault(true, case)
    return wrong[:_MOST] + list(right.values())[:_MOST]


def _filters(model: ConvNet, folder: Path) -> dict[str, Any] | None:
    """Draw the first layer's filters, at most 128 of them."""
    try:
        filters = first_layer_filters(model)
    except OptionError:
        return None
    count, height, width, channels = filters.shape
    layer = next(name for name, part in model.named_modules() if isinstance(part, nn.Conv2d))
    shown = min(count, _MOST_FILTERS)
    _write_png(folder / _FILTERS, filter_sheet(filters[:shown]))
    of_all = "" if shown == count else f" of {count}"
    return {
        "image": _FILTERS,
        "layer": layer,
        "count": count,
        "shown": shown,
        "size_px": [height, width],
        "channels": channels,
        "alt": f"{shown}{of_all} filters of {layer} as tiles of {height} × {width} weights, "
        f"{'in grey' if channels == 1 else 'in colour'}, each stretched to its own range",
    }


def _field(model: ConvNet, job: Job, index: int, folder: Path) -> dict[str, Any] | None:
    """Draw what the middle of the last stage listens to in one held-out photo."""
    pixels = job.images.validation[np.array([index])]
    layer = model.feature_info[-1].name
    try:
        found = sight(model, job.images.preprocessing, pixels[0], layer)
    except OptionError:
        return None
    write_file(folder / _FIELD, field_picture(found))
    values, source = field_values(found), job.prepared.splits.validation.describe(index)
    height, width = values["effective_size_px"]
    return {
        **values,
        "image": _FIELD,
        "source": source,
        "alt": f"{source} in grey; colour marks the pixels that the middle of {layer} listens to, "
        f"a white ellipse the bell that holds most of them: {height:g} × {width:g} pixels",
    }


def _write_png(path: Path, pixels: np.typing.NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="PNG")
    write_file(path, buffer.getvalue())
