"""Run an exported file: images in, class probabilities out, with ONNX Runtime on the CPU.

Everything it needs stands in the file. It does not know the network that was exported.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from PIL import Image

from convatlas.deploy.agreement import Floats, softmax
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.errors import ExportError, InputSizeError

__all__ = ["OnnxClassifier"]

_ERRORS_ONLY = 3  # ONNX Runtime's severity; its warnings go to stderr and are about the machine


class OnnxClassifier:
    """A classifier in an ONNX file that ``export_onnx`` wrote.

    Args:
        path: The file.
        threads: Threads per operator; ONNX Runtime's choice by default.

    Attributes:
        record: Model name, class names and preprocessing, as read from the file.

    Raises:
        ExportError: No such file, not an ONNX file, one cut short, or one without a record.
    """

    def __init__(self, path: str | Path, *, threads: int | None = None) -> None:
        self._session = _open(Path(path), threads)
        text = self._session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise ExportError(
                f"expected an ONNX file with the record of classes and preprocessing, "
                f"{path} has none: export the model with convatlas"
            )
        self.record = ExportRecord.from_json(text)
        self._input = self._session.get_inputs()[0]
        width = self._session.get_outputs()[0].shape[-1]
        if width != len(self.record.classes):
            raise ExportError(
                f"{path} gives {width} logits and names {len(self.record.classes)} classes: "
                "export the model again"
            )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the logits."""
        return self.record.classes

    def logits(self, images: npt.ArrayLike) -> Floats:
        """Return logits ``(N, num_classes)`` for preprocessed images ``(N, C, H, W)``.

        Raises:
            InputSizeError: Images of another shape than the file takes.
        """
        batch = np.ascontiguousarray(images, dtype=np.float32)
        expected = tuple(self._input.shape[1:])
        if batch.ndim != 4 or batch.shape[1:] != expected:
            raise InputSizeError(
                f"expected images of shape (N, {', '.join(map(str, expected))}), "
                f"got {batch.shape}: prepare them with the file's own preprocessing"
            )
        (logits,) = self._session.run(None, {self._input.name: batch})
        return np.asarray(logits, dtype=np.float32)

    def prepare(self, images: Sequence[Image.Image]) -> Floats:
        """Return ``images`` as the file's input ``(N, C, H, W)``, by the file's own record."""
        preprocessing = self.record.preprocessing
        pixels = np.stack([preprocessing.image(image) for image in images])
        return np.asarray(preprocessing.tensor(pixels).numpy())

    def predict(self, images: Sequence[Image.Image], *, batch_size: int = 32) -> Floats:
        """Return probabilities ``(N, num_classes)`` for images of any size.

        Raises:
            DataError: An image that the preprocessing cannot read.
        """
        parts = [np.zeros((0, len(self.classes)), np.float32)]
        for start in range(0, len(images), batch_size):
            parts.append(softmax(self.logits(self.prepare(images[start : start + batch_size]))))
        return np.concatenate(parts)


def _open(path: Path, threads: int | None) -> Any:
    if not path.is_file():
        raise ExportError(f"expected an ONNX file, there is no file {path}: check the path")
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors have no common base but this
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"expected an ONNX file that ONNX Runtime can load, got {path} ({reason}): "
            "it may be cut short, export it again"
        ) from error
