"""A network, its images and a recipe, brought together in a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from convatlas.data.batches import EvalBatches, TrainBatches
from convatlas.data.fingerprint import DataSummary, differences, summarise
from convatlas.data.stream_batches import StreamBatches
from convatlas.layers.norm import span_statistics
from convatlas.models.anatomy import ConvNet
from convatlas.models.registry import create_model
from convatlas.models.vgg import grow
from convatlas.pipeline.preparation import Images, Prepared, Progress, build, load_images
from convatlas.pipeline.teacher import load_teacher
from convatlas.pipeline.trained import TrainedModel, save_trained
from convatlas.pipeline.watching import FreezeNews, Watch
from convatlas.search.choose import Candidate
from convatlas.tasks.classify import Classification
from convatlas.tasks.metrics import Evaluation
from convatlas.train.checkpoint import RunFolder
from convatlas.train.distributed import Workers
from convatlas.train.growth import shallow_recipe, sizes_of
from convatlas.train.loop import fit
from convatlas.train.network import network_options
from convatlas.train.recipe import Recipe
from convatlas.train.session import Session
from convatlas.train.verification import Parts

__all__ = [
    "Job",
    "changes_since_checkpoint",
    "classification",
    "evaluate",
    "first_network",
    "held_out",
    "make_job",
    "make_parts",
    "threads_for",
    "train",
]

_ONE_THREAD_MACS = 1_000_000_000  # per batch, forward only
_SHALLOW = "shallow"


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
    images = load_images(prepared, candidate, progress)
    return Job(candidate, prepared, images, recipe)


def train(job: Job, folder: Path, watch: Watch) -> TrainedModel:
    """Train the network in ``folder``, going on where a stopped run left off, and keep it there.

    Raises:
        CheckpointError: The images changed since the checkpoint, and that is not accepted.
        ConvAtlasError: What :func:`convatlas.train.loop.fit` finds wrong.
        Interrupted: Ctrl-C; the folder holds a checkpoint to go on from.
    """
    recipe, run = job.recipe, RunFolder(folder)
    model = first_network(job, folder, watch)
    parts = make_parts(job, model)
    news = FreezeNews(model, recipe.transfer, watch.listener)
    with threads_for(job):
        fit(
            model,
            parts.task,
            parts.train_batches,
            parts.eval_batches,
            recipe,
            run=run,
            observers=[*watch.observers(folder, recipe), news],
            session=_session(job, run.has_run(), watch),
        )
    trained = _trained(job, model)
    if Workers().is_first:
        save_trained(folder, trained)
    return trained


def make_parts(job: Job, model: ConvNet) -> Parts:
    """Return what the training loop takes; new running statistics span an epoch at most."""
    judged = held_out(job, job.recipe.training.batch_size)
    batches = _train_batches(job)
    if job.candidate.weights is None:
        span_statistics(model, len(batches))
    return Parts(model, classification(job), batches, judged, job.recipe)


def _train_batches(job: Job) -> TrainBatches | StreamBatches:
    recipe, preprocessing, prepared = job.recipe, job.images.preprocessing, job.prepared
    training = recipe.training
    how = (preprocessing, recipe.augmentation, training.batch_size, training.seed)
    sizes = sizes_of(recipe, preprocessing.input_size)
    if prepared.stream is None:
        return TrainBatches(job.images.train, prepared.splits.train.labels, *how, sizes=sizes)
    return StreamBatches(prepared.stream, prepared.train.images, *how, sizes=sizes)


def first_network(job: Job, folder: Path, watch: Watch) -> ConvNet:
    """Return the network before its first step; grown from a shallow one if the recipe says so."""
    shallow = shallow_recipe(job.recipe)
    if shallow is None or job.candidate.name == job.recipe.growth.network:
        options = network_options(job.recipe, job.candidate.name)
        return build(job.candidate, len(job.prepared.classes), job.recipe.training.seed, options)
    with torch.device("meta"):  # whether the one grows from the other is known before hours pass
        grow(create_model(job.recipe.growth.network), job.candidate.name)
    candidate = replace(job.candidate, name=job.recipe.growth.network, weights=None)
    below = folder / _SHALLOW
    trained = train(replace(job, candidate=candidate, recipe=shallow), below, watch)
    with torch.random.fork_rng():
        torch.manual_seed(job.recipe.training.seed)
        deep, copied = grow(trained.model, job.candidate.name)
    watch.listener.say(
        f"{job.candidate.name} begins with {len(copied)} tensors of {candidate.name}"
    )
    return deep


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


def changes_since_checkpoint(prepared: Prepared, folder: Path) -> list[str]:
    """Return in words how the images differ from those of the last checkpoint in ``folder``."""
    run = RunFolder(folder)
    if not run.has_run():
        return []
    return _changes(run.load_last().metadata["data"], _summaries(prepared))


def _summaries(prepared: Prepared) -> dict[str, DataSummary]:
    splits = prepared.splits
    return {"train": summarise(splits.train), "validation": summarise(splits.validation)}


def _session(job: Job, resume: bool, watch: Watch) -> Session:
    now = _summaries(job.prepared)
    return Session(
        resume=resume,
        out_of_time=watch.out_of_time,
        data={part: summary.to_dict() for part, summary in now.items()},
        data_changes=lambda saved: _changes(saved, now),
        accept_changed_data=watch.accept_changed_data,
        describe=None if job.prepared.stream else job.prepared.splits.train.describe,
    )


def _changes(saved: Mapping[str, Any], now: Mapping[str, DataSummary]) -> list[str]:
    """Return what changed since a checkpoint, in either part of the images."""
    return [
        f"{part}: {words}"
        for part, summary in now.items()
        for words in differences(DataSummary.from_dict(saved[part]), summary)
    ]


def _trained(job: Job, model: ConvNet) -> TrainedModel:
    candidate, classes = job.candidate, job.prepared.classes
    options = {
        "num_classes": len(classes),
        "in_channels": candidate.in_channels,
        "stem": candidate.stem,
    }
    return TrainedModel(candidate.name, options, model, classes, job.images.preprocessing)


@contextmanager
def threads_for(job: Job) -> Iterator[None]:
    """Use one thread where a batch is so little work that threads would wait for each other."""
    before = torch.get_num_threads()
    macs = job.candidate.cost.macs * job.recipe.training.batch_size
    torch.set_num_threads(1 if macs < _ONE_THREAD_MACS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
