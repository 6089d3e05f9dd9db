"""The trained network as an ONNX file, with proof that it agrees."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from convatlas.deploy.export import export_onnx
from convatlas.deploy.parity import certify, require_parity
from convatlas.pipeline.trained import TrainedModel
from convatlas.pipeline.training import Job

__all__ = ["ship"]

_MOST_COMPARED = 1000


def ship(trained: TrainedModel, job: Job, folder: Path) -> dict[str, Any]:
    """Write ``model.onnx`` and compare it with the network on held-out images.

    Up to 1,000 of them are compared, evenly spread over the classes' order; those images are
    prepared anew from their files, by the record that the ONNX file carries.

    Returns:
        The parity report, as JSON values.

    Raises:
        ExportError: The file cannot be written as ONNX, or disagrees.
    """
    exported = export_onnx(
        trained.model,
        folder / "model.onnx",
        trained.preprocessing,
        trained.classes,
        model_name=trained.name,
    )
    validation = job.prepared.splits.validation
    step = -(-len(validation) // _MOST_COMPARED)
    indices = np.arange(0, len(validation), step)
    report = certify(
        trained.model,
        exported.path,
        trained.preprocessing.tensor(job.images.validation[indices]),
        [validation.labels[index] for index in indices],
        sources=[validation.load(int(index)) for index in indices],
    )
    require_parity(report)
    return {
        **asdict(report),
        "file": exported.path.name,
        "opset": exported.opset,
        "bytes": exported.bytes,
    }
