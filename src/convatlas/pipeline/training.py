"""A network, its images and a recipe, brought together in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from convatlas.data.batches import EvalBatches, TrainBatches
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.preparation import Images, Prepared, Progress, build, load_images
from convatlas.pipeline.teacher import load_teacher
from convatlas.pipeline.trained import TrainedModel, save_trained
from convatlas.search.choose import Candidate
from convatlas.tasks.classify import Classification
from convatlas.tasks.metrics import Evaluation
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.reports import Observer
from convatlas.train.session import Session

__all__ = ["Job", "classification", "evaluate", "held_out", "make_job", "train"]

_ONE_THREAD_MACS = 1_000_000_000  # per batch, forward only


@dataclass(frozen=True, slots=True)
class Job:
    """All that a training needs.

    Attributes:
        candidate: The network, as it is built for the images.
        prepared: The verified data set.
        images: Both parts of it, as the network wants them.
        recipe: What to train with.
    """

    candidate: Candidate
    prepared: Prepared
    images: Images
    recipe: Recipe


def make_job(
    candidate: Candidate, prepared: Prepared, recipe: Recipe, progress: Progress | None = None
) -> Job:
    """Decode the images for ``candidate`` and return what training needs."""
    images = load_images(prepared, candidate, recipe.augmentation, progress)
    return Job(candidate, prepared, images, recipe)


def train(job: Job, folder: Path, observers: Sequence[Observer]) -> TrainedModel:
    """Train the network in ``folder``, going on where a stopped run left off, and keep it there."""
    candidate, recipe = job.candidate, job.recipe
    model = build(candidate, len(job.prepared.classes), recipe.training.seed)
    run = RunFolder(folder)
    with _threads_for(candidate.cost.macs * recipe.training.batch_size):
        fit(
            model,
            classification(job),
            _batches(job),
            held_out(job, recipe.training.batch_size),
            recipe,
            run=run,
            observers=observers,
            session=Session(resume=run.has_run()),
        )
    trained = _trained(job, model)
    save_trained(folder, trained)
    return trained


def classification(job: Job) -> Classification:
    """Return the task with the loss that the recipe asks for."""
    loss, given = job.recipe.loss, job.images.preprocessing
    teacher = load_teacher(loss.teacher, job.prepared.classes, given) if loss.teacher else None
    return Classification(
        loss=loss.name,
        label_smoothing=loss.label_smoothing,
        auxiliary_weight=loss.auxiliary_weight,
        teacher=teacher,
        distillation_weight=loss.distillation_weight,
        temperature=loss.temperature,
    )


def evaluate(model: ConvNet, job: Job) -> Evaluation:
    """Measure the network on the held-out images."""
    return Classification().evaluate(model, held_out(job, 64))


def held_out(job: Job, batch_size: int) -> EvalBatches:
    """Return the held-out images in order, as evaluation sees them."""
    labels = job.prepared.splits.validation.labels
    return EvalBatches(job.images.validation, labels, job.images.preprocessing, batch_size)


def _batches(job: Job) -> TrainBatches:
    return TrainBatches(
        job.images.train,
        job.prepared.splits.train.labels,
        job.images.preprocessing,
        job.images.augmentation,
        job.recipe.training.batch_size,
        job.recipe.training.seed,
    )


def _trained(job: Job, model: ConvNet) -> TrainedModel:
    candidate, classes = job.candidate, job.prepared.classes
    options = {
        "num_classes": len(classes),
        "in_channels": candidate.in_channels,
        "stem": candidate.stem,
    }
    return TrainedModel(candidate.name, options, model, classes, job.images.preprocessing)


@contextmanager
def _threads_for(macs: int) -> Iterator[None]:
    """Use one thread where a batch is so little work that threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if macs < _ONE_THREAD_MACS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
