"""``convatlas evaluate``: how good runs are, how sure that is, and which of them is better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from convatlas.data.parallel import Progress
from convatlas.data.source import ImageSource
from convatlas.errors import CheckpointError, OptionError
from convatlas.files import require_writable, write_json
from convatlas.pipeline.predicted import (
    PREDICTIONS,
    load_predictions,
    require_comparable,
    save_predictions,
)
from convatlas.pipeline.subject import (
    Subject,
    Views,
    find_subject,
    held_out_images,
    predict,
    subject_model,
)
from convatlas.tasks.bootstrap import (
    DEFAULT_RESAMPLES,
    bootstrap_intervals,
    require_resamples,
)
from convatlas.tasks.calibration import (
    cross_fitted_scaling,
    measure_calibration,
)
from convatlas.tasks.ensembles import ensemble
from convatlas.tasks.judged import (
    EvaluatedNetwork,
    EvaluationReport,
    Pair,
    Picture,
    PredictionSet,
)
from convatlas.tasks.metrics import Evaluation, evaluate_predictions
from convatlas.tasks.paired import compare_predictions

__all__ = [
    "EvaluationSettings",
    "evaluate_runs",
    "judge",
]

_LARGEST_SIDE = 320  # pixels of a picture on a page


class Listener(Protocol):
    """Who watches: the command line, or nobody."""

    def progress(self, what: str) -> Progress:
        """Return a function that takes (done, total) of a stage called ``what``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSettings:
    """The flags of ``convatlas evaluate``.

    Attributes:
        data: Other images than those that the runs held out; their held-out part is taken.
        views: What the networks are shown of each image.
        ensemble: Whether the mean of all runs' probabilities is judged too.
        compare: Whether every other network is compared with the first.
        saved: Whether the predictions that an earlier evaluation left are judged.
        resamples: Draws of the bootstrap.
        pictures: How many of the worst mistakes are shown.
    """

    data: str | None = None
    views: Views = field(default_factory=Views)
    ensemble: bool = False
    compare: bool = True
    saved: bool = False
    resamples: int = DEFAULT_RESAMPLES
    pictures: int = 0


def evaluate_runs(
    paths: Sequence[Path], settings: EvaluationSettings, listener: Listener
) -> EvaluationReport:
    """Judge runs, and write ``evaluation.json`` and the predictions into each one's folder.

    Raises:
        CheckpointError: A path without a finished run, or without the predictions asked for.
        DataError: Images that cannot be used, or that do not allow the comparison.
        OptionError: Flags that make no sense together.
        OutputError: A run folder cannot be written.
    """
    _check(paths, settings)
    subjects = _subjects(paths, settings)
    for subject in subjects:
        require_writable(_record(subject))
    sets: list[PredictionSet] = []
    sources: list[ImageSource | None] = []
    for subject in subjects:
        found, source = _predictions(subject, settings, listener)
        sets.append(found)
        sources.append(source)
    if settings.compare or settings.ensemble:
        for first, other in pairwise(sets):
            require_comparable(first, other)
    networks = [
        judge(found, settings, source, subject.chose_on_these)
        for found, source, subject in zip(sets, sources, subjects, strict=True)
    ]
    for network, subject in zip(networks, subjects, strict=True):
        write_json(_record(subject), network.as_dict())
    if settings.ensemble:
        chose = any(subject.chose_on_these for subject in subjects)
        networks.append(judge(_together(sets), settings, sources[0], chose))
    pairs = _pairs(networks, settings) if settings.compare else ()
    return EvaluationReport(tuple(networks), pairs, tuple(s.folder for s in subjects))


def judge(
    found: PredictionSet,
    settings: EvaluationSettings,
    source: ImageSource | None = None,
    chose_on_these: bool = False,
) -> EvaluatedNetwork:
    """Return all figures of a set of predictions.

    Args:
        found: The predictions.
        settings: The number of draws and of pictures.
        source: Where the pictures are taken from; None for none.
        chose_on_these: Whether the images decided which weights were kept.
    """
    logits, labels = found.predictions.logits, found.predictions.labels
    evaluation = evaluate_predictions(found.predictions)
    return EvaluatedNetwork(
        found=found,
        evaluation=evaluation,
        calibration=measure_calibration(logits, labels),
        scaling=cross_fitted_scaling(logits, labels),
        intervals=bootstrap_intervals(found.predictions, resamples=settings.resamples),
        chose_on_these=chose_on_these,
        pictures=_pictures(found, evaluation, source, settings.pictures) if source else (),
    )


def _record(subject: Subject) -> Path:
    return subject.folder / f"evaluation{subject.stem}.json"


def _subjects(paths: Sequence[Path], settings: EvaluationSettings) -> list[Subject]:
    """Return the runs, called by their whole paths where two have the same name."""
    found = [find_subject(path, settings.data) for path in paths]
    names = [subject.name for subject in found]
    if len(set(names)) == len(names):
        return found
    return [replace(each, name=str(path)) for each, path in zip(found, paths, strict=True)]


def _check(paths: Sequence[Path], settings: EvaluationSettings) -> None:
    resolved = [path.resolve() for path in paths]
    if len(set(resolved)) < len(resolved):
        raise OptionError("expected different runs, got one of them twice: name each once")
    if settings.ensemble and len(paths) < 2:
        raise OptionError(
            "an ensemble needs 2 runs or more, got 1: name several runs, or checkpoints of one"
        )
    require_resamples(settings.resamples)
    if any(size < 1 for size in settings.views.scales):
        raise OptionError(f"expected scales of 1 px or more, got {list(settings.views.scales)}")
    if settings.saved and (settings.data is not None or settings.views != Views()):
        raise OptionError(
            "--saved takes predictions as they are: leave out --data, --ten-crop and --scales"
        )


def _predictions(
    subject: Subject, settings: EvaluationSettings, listener: Listener
) -> tuple[PredictionSet, ImageSource | None]:
    """Return the predictions of a subject, and the images where they are at hand."""
    stem = f"{PREDICTIONS}{subject.stem}"
    if settings.saved:
        found = load_predictions(subject.folder, stem)
        if found.weights_sha256 != subject.weights_hash():
            raise CheckpointError(
                f"expected predictions by the weights in {subject.weights}, got those of other "
                "weights: evaluate the run without --saved"
            )
        return found, None
    trained = subject_model(subject)
    splits = held_out_images(subject, trained.classes, listener.progress("reading the images"))
    showing = listener.progress(f"asking {subject.name}")
    found = predict(subject, trained, splits, settings.views, showing)
    save_predictions(subject.folder, found, stem)
    return found, splits.validation


def _together(sets: Sequence[PredictionSet]) -> PredictionSet:
    first = sets[0]
    return PredictionSet(
        name=f"ensemble of {len(sets)}",
        predictions=ensemble([found.predictions for found in sets]),
        classes=first.classes,
        images=first.images,
        data=first.data,
        origin=first.origin,
        views="; ".join(dict.fromkeys(found.views for found in sets)),
        weights_sha256="",
    )


def _pairs(networks: Sequence[EvaluatedNetwork], settings: EvaluationSettings) -> tuple[Pair, ...]:
    first = networks[0]
    return tuple(
        Pair(
            first.name,
            other.name,
            compare_predictions(
                first.found.predictions, other.found.predictions, resamples=settings.resamples
            ),
        )
        for other in networks[1:]
    )


def _pictures(
    found: PredictionSet, evaluation: Evaluation, source: ImageSource, most: int
) -> tuple[Picture, ...]:
    pictures = []
    for mistake in evaluation.mistakes[:most]:
        image = source.load(mistake.index, _LARGEST_SIDE)
        image.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
        pixels = np.asarray(image).reshape(image.height, image.width, -1)
        true, predicted = found.classes[mistake.true], found.classes[mistake.predicted]
        words = found.images[mistake.index]
        pictures.append(Picture(pixels, words, true, predicted, mistake.confidence))
    return tuple(pictures)
