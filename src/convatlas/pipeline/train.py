"""``convatlas train``: one network, one recipe, one folder; stopped at will and gone on with."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from convatlas.errors import DataError
from convatlas.files import require_writable, write_json, write_text
from convatlas.models.catalogue import find_entry
from convatlas.models.pretrained.sources import pretrained_preprocessing
from convatlas.pipeline.preparation import (
    Prepared,
    fitting_recipe,
    prepare,
    require_apart,
    task_of,
)
from convatlas.pipeline.records import Logbook, data_record
from convatlas.pipeline.settings import (
    RECIPE_FILE,
    RUN_FILE,
    TrainSettings,
    new_folder,
    read_training,
)
from convatlas.pipeline.stopping import resumable
from convatlas.pipeline.streaming import prepare_stream
from convatlas.pipeline.training import (
    evaluate,
    first_network,
    make_job,
    make_parts,
    threads_for,
)
from convatlas.pipeline.training import train as train_job
from convatlas.pipeline.watching import Listener, Watch
from convatlas.search.budget import Budget, Cost
from convatlas.search.candidate import Candidate
from convatlas.search.costing import as_built
from convatlas.search.rules import candidate_of
from convatlas.tasks.metrics import Evaluation
from convatlas.train.checkpoint import RunFolder
from convatlas.train.distributed import Workers
from convatlas.train.recipe import Recipe
from convatlas.train.verification import ResumeReport, verify_resume

__all__ = ["TrainOutcome", "find_candidate", "find_weights", "resume", "sized", "train", "verify"]

RecipeOf = Callable[[Candidate, int], Recipe]
"""Given the network and the number of training images, the recipe."""


@dataclass(frozen=True, slots=True)
class TrainOutcome:
    """A finished training.

    Attributes:
        folder: The run folder.
        evaluation: Figures of the kept weights on the held-out images.
    """

    folder: Path
    evaluation: Evaluation


def train(
    settings: TrainSettings,
    parent: Path,
    listener: Listener,
    recipe_of: RecipeOf = fitting_recipe,
) -> TrainOutcome:
    """Train a network in a new folder below ``parent``.

    Args:
        settings: Data, network and weights.
        parent: Where the run folder is made.
        listener: Who is told.
        recipe_of: Gives the recipe.

    Raises:
        ConvAtlasError: Data, options or folders that cannot be used.
        Interrupted: Ctrl-C; ``resume`` goes on from the folder it names.
    """
    require_apart(settings.data, parent)
    require_writable(parent / RUN_FILE)
    prepared = _prepared(settings, listener)
    candidate = find_candidate(prepared, settings.model, settings.weights)
    recipe = recipe_of(candidate, prepared.train.images)
    name = f"{prepared.name}-{candidate.name}-{recipe.name}"
    folder = Workers().from_first(lambda: _begun(new_folder(parent, name), settings, recipe))
    return _guided(settings, prepared, recipe, folder, Watch(listener, settings.experiment))


def resume(folder: Path, listener: Listener, *, accept_changed_data: bool = False) -> TrainOutcome:
    """Go on with a stopped training, with the settings and the recipe that it started with.

    Args:
        folder: The run folder.
        listener: Who is told.
        accept_changed_data: Whether to go on although the images changed since.

    Raises:
        CheckpointError: The folder holds no run of ``convatlas train``, or the images changed.
        ConvAtlasError: Data or folders that cannot be used any more.
    """
    settings, recipe = read_training(folder)
    watch = Watch(listener, settings.experiment, accept_changed_data)
    return _guided(settings, _prepared(settings, listener), recipe, folder, watch)


def verify(
    settings: TrainSettings, steps: int, listener: Listener, recipe_of: RecipeOf = fitting_recipe
) -> ResumeReport:
    """Train some steps straight, and as many with a stop in the middle, and compare all tensors.

    Args:
        settings: Data, network and weights.
        steps: Optimizer steps.
        listener: Who is told.
        recipe_of: Gives the recipe.

    Raises:
        ConvAtlasError: As for :func:`train`.
    """
    prepared = _prepared(settings, listener)
    candidate = find_candidate(prepared, settings.model, settings.weights)
    recipe = recipe_of(candidate, prepared.train.images).override({"growth.network": ""})
    progress = listener.progress("decoding the images")
    job = make_job(sized(candidate, recipe), prepared, recipe, progress)
    with TemporaryDirectory(prefix="convatlas-") as folder, threads_for(job):
        watch = Watch(listener)
        return verify_resume(
            lambda: make_parts(job, first_network(job, Path(folder), watch)), steps
        )


def find_weights(name: str, asked: str) -> str | None:
    """Return the source of weights for ``"auto"``, ``"none"`` or a source by name."""
    if asked == "none":
        return None
    if asked != "auto":
        return asked
    at_hand = find_entry(name).weights_at_hand
    return at_hand.source if at_hand else None


def find_candidate(prepared: Prepared, name: str, weights: str | None) -> Candidate:
    """Return the network ``name`` as it is built for the images, from ``weights`` if given.

    Raises:
        UnknownNameError: No such network.
        WeightsError: No such weights of it.
    """
    task, entry = task_of(prepared), find_entry(name)
    plain = as_built(candidate_of(entry, task, Budget(), pretrained=False), task)
    if weights is None:
        return plain
    return replace(
        plain,
        weights=weights,
        stem=None,
        input_size=pretrained_preprocessing(name, weights).input_size,
        in_channels=entry.in_channels,
        cost=Cost(params=entry.params, macs=entry.macs),  # not that of a small image
        figures={},
    )


def _prepared(settings: TrainSettings, listener: Listener) -> Prepared:
    progress = listener.progress("reading the images")
    if settings.stream:
        return prepare_stream(settings, progress)
    return prepare(
        settings.data,
        progress,
        seed=settings.seed,
        holdout=settings.holdout,
        skip_bad=settings.skip_bad,
    )


def _begun(folder: Path, settings: TrainSettings, recipe: Recipe) -> Path:
    """Write into ``folder`` what a training that is stopped at once resumes with."""
    write_text(folder / RECIPE_FILE, recipe.to_toml())
    Logbook(folder, settings.to_dict(), "train")
    return folder


def _guided(
    settings: TrainSettings, prepared: Prepared, recipe: Recipe, folder: Path, watch: Watch
) -> TrainOutcome:
    """Carry the training out; after Ctrl-C or a fault of the data, say how to go on."""
    try:
        with resumable("train", folder):
            return _carry_out(settings, prepared, recipe, folder, watch)
    except DataError:
        if RunFolder(folder).has_run():
            resume = f"convatlas train --resume {shlex.quote(str(folder))}"
            watch.listener.say(f"stopped by a fault of the data; once it is mended: {resume}")
        raise


def _carry_out(
    settings: TrainSettings, prepared: Prepared, recipe: Recipe, folder: Path, watch: Watch
) -> TrainOutcome:
    candidate = sized(find_candidate(prepared, settings.model, settings.weights), recipe)
    start = f"from {candidate.weights} weights" if candidate.weights else "from scratch"
    watch.listener.say(
        f"{folder}: {candidate.name} at {candidate.input_size} px, {start}, by {recipe.name}"
    )
    progress = watch.listener.progress("decoding the images")
    job = make_job(candidate, prepared, recipe, progress)
    if not Workers().is_first:
        return TrainOutcome(folder, evaluate(train_job(job, folder, watch).model, job))
    logbook = Logbook(folder, settings.to_dict(), "train")
    write_json(folder / "data.json", data_record(prepared, job.images))
    with logbook.stage("train"):
        trained = train_job(job, folder, watch)
    with logbook.stage("evaluate"):
        evaluation = evaluate(trained.model, job)
    write_json(folder / "metrics.json", {"evaluation": evaluation.as_dict()})
    return TrainOutcome(folder, evaluation)


def sized(candidate: Candidate, recipe: Recipe) -> Candidate:
    """Return the candidate with the input size that the recipe asks for, if it does."""
    return replace(candidate, input_size=recipe.input.size or candidate.input_size)
