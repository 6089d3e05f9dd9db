"""What a run ships: the network as ONNX files, with proof that they agree, and a script.

``model.onnx``, in single precision, must agree with the network; ``model.int8.onnx``, with 8-bit
weights and activations, is there only if its accuracy holds; ``predict.py`` asks either of them.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, overload

import numpy as np
from PIL import Image
from torch import Tensor

from convatlas.data.source import ImageSource
from convatlas.deploy.export import ExportedModel, export_onnx
from convatlas.deploy.parity import certify, require_parity
from convatlas.deploy.precision import PrecisionReport, compare_precision
from convatlas.deploy.quantize import ASIDE, CALIBRATION_IMAGES, full_disk, is_full, quantize_onnx
from convatlas.deploy.script import write_script
from convatlas.errors import ConvAtlasError, OptionError, OutputError
from convatlas.files import write_file
from convatlas.pipeline.preparation import Progress
from convatlas.pipeline.trained import TrainedModel
from convatlas.pipeline.training import Job

__all__ = ["INT8_FILE", "MODEL_FILE", "MOST_COMPARED", "Photos", "ship", "spread"]

MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
MOST_COMPARED = 1000


class Photos(Sequence[Image.Image]):
    """Some images of a source, decoded whenever they are asked for: few are ever in memory."""

    def __init__(self, source: ImageSource, indices: Sequence[int]) -> None:
        self._source = source
        self._indices = indices

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> Image.Image: ...

    @overload
    def __getitem__(self, place: slice) -> list[Image.Image]: ...

    def __getitem__(self, place: int | slice) -> Image.Image | list[Image.Image]:
        if isinstance(place, slice):
            return [self._source.load(index) for index in self._indices[place]]
        return self._source.load(self._indices[place])


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """Held-out images as the network sees them, their classes, and where they come from."""

    images: Tensor
    labels: list[int]
    photos: Photos


def ship(
    trained: TrainedModel,
    job: Job,
    folder: Path,
    max_drop: float = 0.01,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write ``model.onnx``, ``predict.py`` and, if it is good enough, ``model.int8.onnx``.

    Up to 1,000 held-out images are compared, evenly spread over the classes' order; those images
    are prepared anew from their files, by the record that the ONNX file carries. The 8-bit file is
    calibrated on up to 256 training images, spread likewise.

    Args:
        trained: The network.
        job: What it was trained with.
        folder: The run folder.
        max_drop: How far the accuracy of the 8-bit file may fall, as a share of the images.
        progress: Called as ``progress(done, total)`` while the 8-bit file is calibrated.

    Returns:
        The parity report, as JSON values, of which ``"conclusive"`` is False if the network gives
        all images the same logits, and under ``"int8"``:

        - ``status``: ``"accepted"``, ``"refused"`` (its accuracy falls too far) or ``"failed"``
          (it cannot be made or measured); only the first leaves a file.
        - ``reason``: why, as one sentence.
        - ``file``: the file's name, or None.
        - ``max_drop``: what was allowed.
        - but for ``"failed"``: ``calibration_images``; ``images``, ``accuracy``,
          ``fp32_accuracy``, ``drop`` (a share of the images), ``top1_agreement``,
          ``max_probability_difference`` (None: not finite), ``latency_ms``,
          ``fp32_latency_ms`` (of one image, measured in turn), ``threads``, ``bytes``,
          ``fp32_bytes``.

    Raises:
        ExportError: ``model.onnx`` cannot be written, or disagrees.
        OptionError: ``max_drop`` outside 0 … 1.
        OutputError: The folder cannot be written.
    """
    if not 0 <= max_drop <= 1:
        raise OptionError(f"max_drop must be in 0 … 1, 0.01 for one point, got {max_drop}")
    _remove_int8(folder)  # one from before would not belong to the file written now
    exported = export_onnx(
        trained.model,
        folder / MODEL_FILE,
        trained.preprocessing,
        trained.classes,
        model_name=trained.name,
    )
    held_out = _held_out(trained, job)
    report = certify(
        trained.model,
        exported.path,
        held_out.images,
        held_out.labels,
        sources=held_out.photos,
    )
    if not report.inconclusive:  # that is told, and does not take the rest of the run away
        require_parity(report)
    write_script(folder, trained.name)
    return {
        **_finite(asdict(report)),
        "file": exported.path.name,
        "opset": exported.opset,
        "bytes": exported.bytes,
        "int8": _ship_int8(exported, job, held_out, max_drop, progress),
    }


def _finite(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with None for what is infinite, which JSON cannot say."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in figures.items()
    }


def _held_out(trained: TrainedModel, job: Job) -> _HeldOut:
    validation = job.prepared.splits.validation
    indices = spread(len(validation), MOST_COMPARED)
    return _HeldOut(
        trained.preprocessing.tensor(job.images.validation[np.array(indices)]),
        [validation.labels[index] for index in indices],
        Photos(validation, indices),
    )


def _ship_int8(
    exported: ExportedModel,
    job: Job,
    held_out: _HeldOut,
    max_drop: float,
    progress: Progress | None,
) -> dict[str, Any]:
    """Make the 8-bit file aside, measure it, and keep it if its accuracy holds."""
    training = job.prepared.splits.train
    photos = Photos(training, spread(len(training), CALIBRATION_IMAGES))
    try:
        with TemporaryDirectory(prefix=ASIDE, dir=exported.path.parent) as aside:
            quantized = quantize_onnx(
                exported.path, Path(aside) / INT8_FILE, photos, progress=progress
            )
            report = compare_precision(
                exported.path, quantized.path, held_out.images.numpy(), held_out.labels
            )
            paths = (quantized.record_path, quantized.path)
            files = {path.name: path.read_bytes() for path in paths}
    except OutputError:  # a full disk ends the run, which goes on when there is room
        raise
    except (ConvAtlasError, OSError) as error:  # the run has a file that works
        if is_full(error):
            raise full_disk(exported.path, exported.path.parent) from error
        _remove_int8(exported.path.parent)
        return {"status": "failed", "reason": str(error), "file": None, "max_drop": max_drop}
    accepted = report.keeps_within(max_drop)
    for name, content in files.items() if accepted else ():  # a full disk ends the run here
        write_file(exported.path.with_name(name), content)
    figures = _finite(asdict(report))
    return {
        "status": "accepted" if accepted else "refused",
        "reason": _reason(report, max_drop),
        "file": INT8_FILE if accepted else None,
        "max_drop": max_drop,
        "calibration_images": quantized.images,
        "drop": report.drop,
        **{name: value for name, value in figures.items() if name != "lost"},
    }


def _reason(report: PrecisionReport, max_drop: float) -> str:
    if not math.isfinite(report.max_probability_difference):
        return "it gives logits that are not numbers"
    change = f"falls by {report.drop:.2%}" if report.lost > 0 else "does not fall"
    return (
        f"accuracy {change} ({report.fp32_accuracy:.2%} to {report.accuracy:.2%} of "
        f"{report.images} images); {max_drop:.2%} is allowed"
    )


def spread(images: int, most: int) -> list[int]:
    """Return the places of up to ``most`` images, evenly spread."""
    count = min(images, most)
    return [place * images // count for place in range(count)]


def _remove_int8(folder: Path) -> None:
    for name in (INT8_FILE, Path(INT8_FILE).with_suffix(".json")):
        (folder / name).unlink(missing_ok=True)
    for left in folder.glob(f"{ASIDE}*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
