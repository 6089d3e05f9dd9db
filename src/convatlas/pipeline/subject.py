"""A run that is to be judged: its network, and the images that it was not trained on."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from convatlas.data.batches import EvalBatches
from convatlas.data.cache import evaluation_images
from convatlas.data.fingerprint import data_fingerprint
from convatlas.data.parallel import Progress
from convatlas.data.preprocess import Preprocessing
from convatlas.data.source import ImageSource, Splits, open_source
from convatlas.data.sources.stream_source import open_stream
from convatlas.data.testtime import Crop, ViewBatches, multi_scale, ten_crop
from convatlas.data.verify import verify
from convatlas.errors import CheckpointError, DataError, OptionError
from convatlas.models.pretrained.reading import read_state
from convatlas.pipeline.settings import RECIPE_FILE, RUN_FILE, how_to_finish
from convatlas.pipeline.trained import TrainedModel, load_trained
from convatlas.tasks.classify import Classification
from convatlas.tasks.judged import PredictionSet
from convatlas.tasks.metrics import Predictions
from convatlas.train.checkpoint import read_checkpoint

__all__ = ["Subject", "Views", "find_subject", "held_out_images", "predict", "subject_model"]

_WEIGHTS = "trained.safetensors"
_DATA_FILE = "data.json"
_BATCH = 64
_PARTS = ("ema.", "model.")  # a checkpoint to resume from holds both; the mean is what is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """What the network is shown of each image; the probabilities of all views are averaged.

    Without arguments that is the one view that its preprocessing gives.

    Attributes:
        ten_crop: Whether it is shown corners and centre of the resized image, and their mirror
            images; else the centre and its mirror image.
        scales: Lengths, in pixels, that the resized image's shorter side has in turn; empty for
            the one of the preprocessing.
    """

    ten_crop: bool = False
    scales: tuple[int, ...] = ()

    def crops(self, preprocessing: Preprocessing) -> tuple[Crop, ...]:
        """Return the views of each image; none stands for the one of the preprocessing.

        Raises:
            OptionError: A scale that leaves no room for them.
        """
        if not self.ten_crop:
            return multi_scale(preprocessing, self.scales) if self.scales else ()
        if not self.scales:
            return ten_crop(preprocessing)
        size = preprocessing.input_size
        if min(self.scales) < size:
            raise OptionError(
                f"expected scales above {size} pixels, got {list(self.scales)}: leave them out"
            )
        records = [
            replace(preprocessing, resize_mode="crop", crop_fraction=size / side)
            for side in self.scales
        ]
        return tuple(crop for record in records for crop in ten_crop(record))

    def __str__(self) -> str:
        """Return the views in words."""
        crops = "ten crops" if self.ten_crop else "one view"
        sizes = ", ".join(map(str, self.scales))
        if not sizes:
            return crops
        return f"{crops if self.ten_crop else 'centre and mirror image'} at {sizes} px"


@dataclass(frozen=True, slots=True)
class Subject:
    """A run folder, or one checkpoint in it.

    Attributes:
        name: What to call it.
        folder: The run folder.
        weights: The file of the weights.
        stem: End of the names of the files that its evaluation leaves; empty for the run itself.
        data: What the images are opened from.
        seed: Decides which images are held out where no such part exists.
        holdout: Share that is held out then.
        skip_bad: Whether unreadable images are left out.
        stream: Whether the run was trained from a stream.
        validation: What was given to judge the stream by.
        is_own_data: Whether these are the images that the run held out.
        chose_on_these: Whether these images decided which epoch's weights were kept.
    """

    name: str
    folder: Path
    weights: Path
    stem: str
    data: str
    seed: int
    holdout: float
    skip_bad: bool
    stream: bool
    validation: str | None
    is_own_data: bool
    chose_on_these: bool

    def weights_hash(self) -> str:
        """Return the SHA-256 of the weights' file."""
        with self.weights.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def find_subject(path: Path, data: str | None = None) -> Subject:
    """Return the run at ``path``.

    Args:
        path: A run folder, or a ``.safetensors`` checkpoint in one.
        data: Other images than those that the run held out.

    Raises:
        CheckpointError: Neither of the two.
    """
    is_file = path.is_file() and path.suffix == ".safetensors"
    folder = path.parent if is_file else path
    weights = path if is_file else folder / _WEIGHTS
    try:
        settings = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["settings"]
        subject = Subject(
            name=f"{folder.resolve().name}/{path.stem}" if is_file else folder.resolve().name,
            folder=folder,
            weights=weights,
            stem=f"-{path.stem}" if is_file else "",
            data=settings["data"] if data is None else data,
            seed=settings.get("seed", 0),
            holdout=settings.get("holdout", 0.2),
            skip_bad=settings.get("skip_bad", False),
            stream=data is None and settings.get("stream", False),
            validation=settings.get("validation"),
            is_own_data=data is None,
            chose_on_these=data is None and _kept_the_best(folder),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"expected a run folder with {RUN_FILE}, or a checkpoint in one, got {path}: pass a "
            "folder that `convatlas run` or `convatlas train` made"
        ) from error
    if not weights.is_file():
        raise CheckpointError(
            f"expected a finished run with {_WEIGHTS} in {folder}, got none: "
            f"{how_to_finish(folder)}"
        )
    return subject


def subject_model(subject: Subject) -> TrainedModel:
    """Return the network with the weights of the subject.

    Raises:
        CheckpointError: It cannot be read, or the checkpoint does not fit.
    """
    trained = load_trained(subject.folder)
    if not subject.stem or subject.weights.name == _WEIGHTS:
        return trained
    state = _checkpoint_state(subject.weights)
    for part in _PARTS:
        inside = {k.removeprefix(part): v for k, v in state.items() if k.startswith(part)}
        if inside:
            state = inside
            break
    try:
        trained.model.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(
            f"expected a checkpoint of {trained.name} in {subject.weights}, got other tensors: "
            "pass a checkpoint of this run"
        ) from error
    return trained


def _checkpoint_state(weights: Path) -> Mapping[str, Tensor]:
    """Return the tensors, checked by their hash where the metadata that hold it lie beside."""
    if weights.with_suffix(".json").is_file():
        return read_checkpoint(weights).tensors
    return read_state(weights)


def held_out_images(subject: Subject, classes: Sequence[str], progress: Progress) -> Splits:
    """Return the images of the subject; those to judge by are checked to be readable.

    Raises:
        DataError: Images that cannot be used, or other classes than the network's.
    """
    splits = _opened(subject)
    if tuple(splits.validation.classes) != tuple(classes):
        odd = sorted({*splits.validation.classes} ^ {*classes}) or ["another order"]
        raise DataError(
            f"expected images of the {len(classes)} classes of {subject.name}, got "
            f"{len(splits.validation.classes)} classes in {subject.data} (first difference: "
            f"{odd[0]}): pass data with the same classes"
        )
    readable = replace(splits, validation=verify(splits.validation, progress, subject.skip_bad))
    if subject.is_own_data:
        _require_unchanged(subject, readable)
    return readable


def _opened(subject: Subject) -> Splits:
    if not subject.stream:
        return open_source(subject.data, seed=subject.seed, holdout=subject.holdout)
    _, judged = open_stream(subject.data, subject.validation, seed=subject.seed)
    return Splits(judged, judged, f"{judged.name}, which the stream was judged by")


def predict(
    subject: Subject, trained: TrainedModel, splits: Splits, views: Views, progress: Progress
) -> PredictionSet:
    """Return what the network says of the held-out images.

    Raises:
        DataError: Images that cannot be used.
        OptionError: Views of images that leave no room for them.
    """
    source = splits.validation
    return PredictionSet(
        name=subject.name,
        predictions=_ask(trained, source, views, progress),
        classes=tuple(trained.classes),
        images=tuple(source.describe(index) for index in range(len(source))),
        data=source.name,
        origin=splits.origin,
        views=str(views),
        weights_sha256=subject.weights_hash(),
    )


def _ask(
    trained: TrainedModel, source: ImageSource, views: Views, progress: Progress
) -> Predictions:
    task, preprocessing = Classification(), trained.preprocessing
    crops = views.crops(preprocessing)
    if crops:
        several = ViewBatches(source, preprocessing, crops, max(1, _BATCH // len(crops)))
        return task.predict_views(trained.model, several)
    images = evaluation_images(source, preprocessing, progress)
    one_each = EvalBatches(images, source.labels, preprocessing, _BATCH)
    return task.predict(trained.model, one_each)


def _require_unchanged(subject: Subject, splits: Splits) -> None:
    """Raise if images came or went since the training: what is held out now may be another part.

    Raises:
        DataError: Another number of images in some class, or others in those held out.
    """
    try:
        record = json.loads((subject.folder / _DATA_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    parts = {"validation": splits.validation}
    # What was left out of the training images is not known here, nor what a stream holds.
    if not subject.skip_bad and not subject.stream:
        parts["train"] = splits.train
    for name, part in parts.items():
        then, now = record["counts"][name], Counter(part.labels)
        if then != [now[label] for label in range(len(then))]:
            raise DataError(
                f"expected the {sum(then)} {name} images of {subject.name}, got {len(part)} of "
                f"{subject.data}, which changed since the training: some may have been trained "
                "on, so restore them or pass other images by --data"
            )
    expected = record.get("held_out_sha256")
    if expected is not None and data_fingerprint(splits.validation) != expected:
        raise DataError(
            f"expected the validation images of {subject.name}, got others under {subject.data} in "
            "equal number, which changed since the training: restore them or pass them by --data"
        )


def _kept_the_best(folder: Path) -> bool:
    """Tell whether the recipe kept the weights with the best figures on the held-out images."""
    try:
        recipe: dict[str, Any] = tomllib.loads((folder / RECIPE_FILE).read_text("utf-8"))
    except FileNotFoundError:
        return False
    return bool(recipe["training"]["keep"] == "best")
