"""How long does what follows on a training take? Known by doing it with the untrained network.

Evaluation, explanation and shipping are gone through with a few images, in a folder that is thrown
away. What the others add is counted: so many passes over so many images, each as fast as measured.
"""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import numpy as np
import torch

from convatlas.data.source import Splits, Subset
from convatlas.deploy.export import export_onnx
from convatlas.deploy.quantize import CALIBRATION_IMAGES
from convatlas.errors import ExportError
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.evaluation import EvaluationSettings, judge
from convatlas.pipeline.explanation import MOST_PICTURES, explain
from convatlas.pipeline.preparation import Images, build
from convatlas.pipeline.shipping import MOST_COMPARED, ship, spread
from convatlas.pipeline.trained import TrainedModel
from convatlas.pipeline.training import Job, held_out
from convatlas.tasks.classify import Classification
from convatlas.tasks.judged import PredictionSet
from convatlas.tasks.metrics import Predictions

__all__ = ["SAFETY_SHARE", "Rehearsal", "Reserve", "ReserveSource", "rehearse"]

ReserveSource = Literal["rehearsal", "earlier pass"]

SAFETY_SHARE = 0.2
"""Share of what was measured that is kept besides it: a machine is not always equally fast."""

_ASIDE = ".rehearsal-"
_LOADED = ("torch.onnx", "onnx", "onnxruntime.quantization")  # seconds, once in a process
_FEW = 16  # held-out images of a rehearsal
_CALIBRATING = 4  # and training images
_JUDGED = 1000
_PAGE_SECONDS = 2.0  # for report and model card, which are not rehearsed
_PASSES = 5  # of each image that is compared: the network, its file from pixels and from photos
# (those three to prove that they agree), and both files, to compare the 8-bit one


@dataclass(frozen=True, slots=True)
class Reserve:
    """The time that a run keeps for what follows on its training.

    Attributes:
        seconds: How long, the safety included.
        source: Where it was measured.
    """

    seconds: float
    source: ReserveSource

    @classmethod
    def with_safety(cls, measured: float, source: ReserveSource) -> Reserve:
        """Return measured seconds and a share for safety."""
        return cls(measured * (1 + SAFETY_SHARE), source)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """What was measured with a few images.

    Attributes:
        judge_ms: Milliseconds of the arithmetic on one image's predictions.
        explain_seconds: Seconds of all pictures.
        ship_seconds: Seconds of exporting, comparing and trying 8 bits.
        image_ms: Milliseconds in which the network answers for one image.
        photo_ms: Milliseconds in which one image is read from its file and prepared.
        calibration_ms: Milliseconds of one training image on which ranges are found.
    """

    judge_ms: float
    explain_seconds: float
    ship_seconds: float
    image_ms: float
    photo_ms: float
    calibration_ms: float

    def seconds(self, training: int, held_out: int, networks: int = 1) -> float:
        """Return the seconds of all that follows on a training.

        Args:
            training: Number of training images.
            held_out: Number of held-out images.
            networks: How many are evaluated; one of them is explained and shipped.
        """
        compared = min(held_out, MOST_COMPARED)
        calibrating = min(training, CALIBRATION_IMAGES)
        per_image = (
            networks * held_out * (self.image_ms + self.judge_ms)
            + held_out * self.image_ms  # explaining asks for all answers too
            + compared * (_PASSES * self.image_ms + self.photo_ms)
            + calibrating * self.calibration_ms
        )
        return per_image / 1e3 + self.explain_seconds + self.ship_seconds + _PAGE_SECONDS


def rehearse(job: Job, folder: Path) -> Rehearsal:
    """Go through what follows on a training, with its network before the first step.

    What is loaded once in a process is loaded before anything is timed, for it will be there when
    it is needed again.

    Args:
        job: The network, and the images that it will be judged on.
        folder: Where a folder for its files may be made, by no other process meanwhile; nothing of
            it stays, nor of one that a killed process left.

    Raises:
        OutputError: The folder cannot be written.
    """
    model, few = build(job.candidate, len(job.prepared.classes)).eval(), _few(job)
    for left in folder.glob(f"{_ASIDE}*"):
        shutil.rmtree(left, ignore_errors=True)
    for name in _LOADED:  # an import is where Ctrl-C may end the process and leave the folder
        import_module(name)
    held_out_images = len(job.prepared.splits.validation)
    with TemporaryDirectory(prefix=_ASIDE, dir=folder) as aside:
        Classification().predict(model, held_out(few, 64))  # whose first call sets things up
        start = time.perf_counter()
        answers = Classification().predict(model, held_out(few, 64))
        image_ms = _ms_each(start, len(answers.labels))
        start = time.perf_counter()
        record = explain(model, few, Path(aside))
        explain_seconds = time.perf_counter() - start
        ship_seconds, calibration_ms = _shipping(model, few, Path(aside))
    return Rehearsal(
        judge_ms=_judging(answers, held_out_images),
        explain_seconds=explain_seconds
        * min(MOST_PICTURES, held_out_images)
        / len(record["pictures"]),
        ship_seconds=ship_seconds,
        image_ms=image_ms,
        photo_ms=_reading(few),
        calibration_ms=calibration_ms,
    )


def _few(job: Job) -> Job:
    """Return the job with a few images of either part."""
    splits, images = job.prepared.splits, job.images
    places = spread(len(splits.validation), _FEW)
    learning = spread(len(splits.train), _CALIBRATING)
    parts = Splits(Subset(splits.train, learning), Subset(splits.validation, places), splits.origin)
    shown = Images(images.train, images.validation[np.array(places)], images.preprocessing)
    return replace(job, prepared=replace(job.prepared, splits=parts), images=shown)


def _shipping(model: ConvNet, few: Job, folder: Path) -> tuple[float, float]:
    """Return the seconds of shipping, and the milliseconds of an image that ranges are found on."""
    classes, given = few.prepared.classes, few.images.preprocessing
    trained = TrainedModel(few.candidate.name, {}, model, classes, given)
    marks: list[float] = []
    start = time.perf_counter()
    with suppress(ExportError):  # which the stage will tell; what it took by then counts
        export_onnx(model, folder / "first.onnx", given, classes)  # which loads the exporter
        start = time.perf_counter()
        ship(trained, few, folder, progress=lambda *_: marks.append(time.perf_counter()))
    seconds = time.perf_counter() - start
    return seconds, 1e3 * (marks[-1] - marks[0]) / (len(marks) - 1) if len(marks) > 1 else 0.0


def _judging(answers: Predictions, held_out: int) -> float:
    """Return the milliseconds of the arithmetic on one image, of so many or a thousand."""
    count = min(held_out, _JUDGED)
    places = torch.arange(count) % len(answers.labels)
    predictions = Predictions(answers.logits[places], answers.labels[places], torch.arange(count))
    found = PredictionSet(
        name="",
        predictions=predictions,
        classes=(),
        images=(),
        data="",
        origin="",
        views="",
        weights_sha256="",
    )
    start = time.perf_counter()
    judge(found, EvaluationSettings())
    return _ms_each(start, count)


def _reading(few: Job) -> float:
    """Return the milliseconds of reading and preparing one held-out image."""
    source = few.prepared.splits.validation
    start = time.perf_counter()
    for place in range(len(source)):
        few.images.preprocessing.image(source.load(place))
    return _ms_each(start, len(source))


def _ms_each(start: float, count: int) -> float:
    return 1e3 * (time.perf_counter() - start) / count
