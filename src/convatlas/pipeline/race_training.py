"""The training in a race: each network up to the end of a rung, and later on from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convatlas.models.pretrained.sources import pretrained_preprocessing
from convatlas.pipeline.preparation import (
    Images,
    Prepared,
    fitting_recipe,
    lasting,
    load_images,
)
from convatlas.pipeline.training import Job, first_network, make_parts, threads_for
from convatlas.pipeline.watching import Listener, Watch
from convatlas.search.choose import Candidate
from convatlas.search.halving import Rung, Stint
from convatlas.tasks.metrics import wilson_interval
from convatlas.train.checkpoint import RunFolder
from convatlas.train.interrupt import Interrupted
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.session import Session

__all__ = ["RaceTrainer", "race_recipe"]


def race_recipe(
    candidate: Candidate, train_images: int, rounds: Sequence[Rung], seed: int
) -> Recipe:
    """Return the fitting recipe for as many epochs as the last rung has.

    Its schedule spans all of them, so that a network that goes on does what it would have done
    had it never been stopped. A pretrained body stays frozen during the first rung at most:
    later ones compare what the networks learnt here.
    """
    recipe = lasting(fitting_recipe(candidate, train_images), rounds[-1].epochs)
    frozen = min(recipe.transfer.freeze_epochs, rounds[0].epochs)
    return recipe.override({"training.seed": seed, "transfer.freeze_epochs": frozen})


class RaceTrainer:
    """Trains one network after the other, each in its own run folder.

    Args:
        prepared: The images to train on and to judge by.
        rounds: The rungs of the race.
        seed: Decides the first weights, order and augmentation.
        folder: Gets a run folder per network, called by its name.
        listener: Who is told.
    """

    def __init__(
        self,
        prepared: Prepared,
        rounds: Sequence[Rung],
        seed: int,
        folder: Path,
        listener: Listener,
    ) -> None:
        self._prepared = prepared
        self._rounds = rounds
        self._seed = seed
        self._folder = folder
        self._listener = listener
        self._latest: tuple[object, Images] | None = None

    def train(self, candidate: Candidate, rung: Rung) -> Stint:
        """Train a network to the end of a rung, unless its checkpoint is there already."""
        run = RunFolder(self._folder / candidate.name)
        if not run.has_run() or run.load_last().metadata["epochs_done"] < rung.epochs:
            self._go_on(self._job(candidate), rung, run)
        history = run.load_last().metadata["history"][: rung.epochs]
        accuracy, images = history[-1]["headline"], history[-1]["metrics"]["images"]
        interval = wilson_interval(round(accuracy * images), images)
        seconds = sum(epoch["seconds"] for epoch in history)
        return Stint(rung.epochs, accuracy, interval, images, seconds)

    def forget(self, candidate: Candidate) -> None:
        """Remove the weights of a network that is out, which are most of what its folder holds."""
        for file in (self._folder / candidate.name).glob("*.safetensors"):
            file.unlink(missing_ok=True)

    def _go_on(self, job: Job, rung: Rung, run: RunFolder) -> None:
        model = first_network(job, run.path, Watch(self._listener))
        parts = make_parts(job, model)
        session = Session(
            resume=run.has_run(),
            stop_after_steps=rung.epochs * len(parts.train_batches),
            describe=job.prepared.splits.train.describe,
        )
        try:
            with threads_for(job):
                fit(
                    model,
                    parts.task,
                    parts.train_batches,
                    parts.eval_batches,
                    job.recipe,
                    run=run,
                    observers=[self._listener.training()],
                    session=session,
                )
        except Interrupted as stop:
            if stop.epochs_done < rung.epochs:  # by Ctrl-C, not by the end of the rung
                raise

    def _job(self, candidate: Candidate) -> Job:
        recipe = race_recipe(candidate, self._prepared.train.images, self._rounds, self._seed)
        return Job(candidate, self._prepared, self._images(candidate), recipe)

    def _images(self, candidate: Candidate) -> Images:
        """Return the images for a network, decoded anew only if the one before wants others."""
        wanted: object = (candidate.input_size, candidate.in_channels, candidate.stem)
        if candidate.weights:
            wanted = pretrained_preprocessing(candidate.name, candidate.weights)
        if self._latest is None or self._latest[0] != wanted:
            self._latest = None  # two of them may be more than memory holds
            progress = self._listener.progress(f"decoding the images for {candidate.name}")
            self._latest = wanted, load_images(self._prepared, candidate, progress)
        return self._latest[1]
