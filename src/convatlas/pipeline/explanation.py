"""Pictures of where the trained network looks: its worst mistakes, and right answers."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convatlas.explain.cam import default_stage, grad_cam
from convatlas.files import write_file
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.training import Job, held_out
from convatlas.render.overlay import heat_overlay
from convatlas.tasks.classify import Classification

__all__ = ["explain"]

_MOST = 8


@dataclass(frozen=True, slots=True)
class _Case:
    kind: str
    index: int
    true: int
    predicted: int
    confidence: float


def explain(model: ConvNet, job: Job, folder: Path) -> dict[str, Any]:
    """Write pictures with Grad-CAM overlays below ``folder / "images"``.

    Returns:
        The record of the pictures, as JSON values.
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
    return {"stage": stage, "pictures": pictures}


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


def _write_png(path: Path, pixels: np.typing.NDArray[np.uint8]) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze()).save(buffer, format="PNG")
    write_file(path, buffer.getvalue())
