"""Before a training begins: does its batch fit into the memory, and how long will it take?

Memory is predicted without allocating it; time is measured in a few steps of the very loop, on a
network that is thrown away.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from convatlas.analysis.memory import predict_memory
from convatlas.data.batches import EvalBatches
from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.preparation import build, halved, lasting
from convatlas.pipeline.rehearsal import SAFETY_SHARE, Reserve, ReserveSource
from convatlas.pipeline.training import Job, make_parts, threads_for
from convatlas.render.units import bytes_text, plural, seconds_text
from convatlas.tasks.classify import Classification
from convatlas.train.checkpoint import Checkpoint, RunFolder
from convatlas.train.distributed import Workers
from convatlas.train.loop import fit
from convatlas.train.out_of_memory import SAFE_SHARE, free_bytes, training_memory
from convatlas.train.recipe import Recipe
from convatlas.train.session import Session

__all__ = ["Pace", "Room", "TrainingPlan", "fit_to_memory", "make_plan", "measure_pace"]

_FEWEST = 2  # images: BatchNorm cannot train on a single value
_STEPS = 8
_SHORT, _LONG = 4.0, 20.0  # seconds after which two steps, or the first alone, are enough
_JUDGED = 64


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a training goes on this machine.

    Attributes:
        step_ms: Milliseconds of a step in which everything learns, the reading of its images
            included.
        frozen_step_ms: The same while only a part learns; equal where the recipe freezes nothing.
        image_ms: Milliseconds of judging one held-out image.
    """

    step_ms: float
    frozen_step_ms: float
    image_ms: float

    def seconds(self, recipe: Recipe, train_images: int, held_out: int) -> float:
        """Return the predicted seconds of a training, the evaluation of each epoch included."""
        epochs = recipe.training.epochs
        frozen = min(recipe.transfer.freeze_epochs, epochs)
        steps = math.ceil(train_images / recipe.training.batch_size)
        training = steps * (frozen * self.frozen_step_ms + (epochs - frozen) * self.step_ms)
        return (training + epochs * held_out * self.image_ms) / 1e3


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a run has to keep to.

    Attributes:
        memory_bytes: Most bytes of a training step, besides what is free here; None for any.
        time_limit: Seconds that the run may take in all; None for any.
        seconds_left: Those that are left of them.
        reserve: Those of them that are kept for what follows on the training; None for none.
        trainings: How many trainings of the same length have to fit into what is left.
    """

    memory_bytes: float | None = None
    time_limit: float | None = None
    seconds_left: float = math.inf
    reserve: Reserve | None = None
    trainings: int = 1

    @property
    def reserve_seconds(self) -> float:
        """Seconds of the reserve."""
        return self.reserve.seconds if self.reserve else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What was predicted of a training before it began.

    Attributes:
        batch_size: Images per step.
        recipe_batch_size: The same in the recipe, before it was fitted to the memory.
        epochs: Passes over the training images.
        recipe_epochs: The same in the recipe, before it was fitted to the time.
        steps: Optimizer steps in all.
        peak_bytes: Predicted peak memory of a training step.
        memory_bytes: The memory that it was fitted to; None where nobody tells.
        step_ms: Measured milliseconds of a step in which everything learns.
        frozen_step_ms: The same while only a part learns.
        seconds: Predicted seconds of the training.
        reserve_seconds: Seconds kept for what follows on it; 0 without a limit.
        reserve_source: Where they were measured; None without a limit.
        reserve_share: Share of what was measured that they hold for safety; None likewise.
        time_limit: Seconds that the run may take in all; None without a limit.
    """

    batch_size: int
    recipe_batch_size: int
    epochs: int
    recipe_epochs: int
    steps: int
    peak_bytes: int
    memory_bytes: int | None
    step_ms: float
    frozen_step_ms: float
    seconds: float
    reserve_seconds: float
    reserve_source: ReserveSource | None
    reserve_share: float | None
    time_limit: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """Return the plan in words, for the terminal."""
        step, peak = seconds_text(self.step_ms / 1e3), bytes_text(self.peak_bytes)
        room = "" if self.memory_bytes is None else f" of {bytes_text(self.memory_bytes)}"
        lines = [
            f"plan: {plural(self.epochs, 'epoch')} in batches of {self.batch_size}, about "
            f"{seconds_text(self.seconds)} ({step} per step, measured); {peak}{room} memory at the "
            "peak, predicted"
        ]
        if self.batch_size < self.recipe_batch_size:
            lines.append(
                f"plan: the recipe's batch of {self.recipe_batch_size} does not fit: "
                f"{self.batch_size} images per step, and a learning rate as much lower"
            )
        if self.epochs < self.recipe_epochs:
            lines.append(
                f"plan: {self.epochs} of the recipe's {self.recipe_epochs} epochs, to end within "
                f"{seconds_text(self.time_limit)} with {seconds_text(self.reserve_seconds)} for "
                "what follows"
            )
        if self.reserve_share is not None:
            lines.append(
                f"plan: {seconds_text(self.reserve_seconds)} are kept for what follows on the "
                f"training, measured in the {self.reserve_source}, {self.reserve_share:.0%} on top"
            )
        return lines


def make_plan(job: Job, room: Room) -> tuple[Recipe, TrainingPlan]:
    """Fit the recipe of ``job`` to memory and time, and say what is to be expected of it.

    Raises:
        OptionError: Not even the smallest batch, or a single epoch, fits.
    """
    with TemporaryDirectory(prefix="convatlas-") as folder, threads_for(job):
        model = build(replace(job.candidate, weights=None), len(job.prepared.classes))
        memory_bytes = _memory(room)
        fitted, peak_bytes = _fitted_to_memory(job, model, memory_bytes)
        start = time.monotonic()
        pace = measure_pace(replace(job, recipe=fitted), model, Path(folder))
        room = replace(room, seconds_left=room.seconds_left - (time.monotonic() - start))
    images, held_out = job.prepared.train.images, len(job.prepared.splits.validation)

    def seconds(recipe: Recipe) -> float:
        return pace.seconds(recipe, images, held_out)

    recipe = _fitted_to_time(fitted, seconds, room)
    training = recipe.training
    return recipe, TrainingPlan(
        batch_size=training.batch_size,
        recipe_batch_size=job.recipe.training.batch_size,
        epochs=training.epochs,
        recipe_epochs=fitted.training.epochs,
        steps=training.epochs * math.ceil(images / training.batch_size),
        peak_bytes=peak_bytes,
        memory_bytes=memory_bytes,
        step_ms=pace.step_ms,
        frozen_step_ms=pace.frozen_step_ms,
        seconds=seconds(recipe),
        reserve_seconds=room.reserve_seconds,
        reserve_source=room.reserve.source if room.reserve else None,
        reserve_share=SAFETY_SHARE if room.reserve else None,
        time_limit=room.time_limit,
    )


def fit_to_memory(job: Job, room: Room) -> Recipe:
    """Return the recipe of ``job`` with a batch that fits into the memory.

    Raises:
        OptionError: Not even the smallest one fits.
    """
    with torch.device("meta"):
        model = build(replace(job.candidate, weights=None), len(job.prepared.classes))
    return _fitted_to_memory(job, model, _memory(room))[0]


def measure_pace(job: Job, model: ConvNet, folder: Path) -> Pace:
    """Train a few steps, and judge a few images; ``model`` is good for nothing afterwards."""
    step_ms = frozen_ms = _step_ms(job, model, folder, job.recipe)
    if job.recipe.transfer.freeze_epochs:
        thawed = job.recipe.override({"transfer.freeze_epochs": 0})
        step_ms = _step_ms(job, model, folder, thawed)
    start = time.perf_counter()
    judged = len(Classification().predict(model, _few_held_out(job)).labels)
    return Pace(step_ms, frozen_ms, (time.perf_counter() - start) * 1e3 / judged)


class _Nowhere(RunFolder):
    """A run folder that keeps no weights."""

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Keep nothing."""

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Keep nothing."""


class _Stopwatch:
    """Ends a training after a few steps, and knows how long they took."""

    def __init__(self) -> None:
        self._marks = [time.perf_counter()]

    def __call__(self) -> bool:
        """Take the time between two steps, and tell whether these were enough."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self._marks.append(time.perf_counter())
        steps, seconds = len(self._marks) - 1, self._marks[-1] - self._marks[0]
        return steps >= _STEPS or seconds > _LONG or (steps > 1 and seconds > _SHORT)

    @property
    def step_ms(self) -> float:
        """Median milliseconds of a step; of the first only if there is no other."""
        marks = self._marks if len(self._marks) > 1 else [*self._marks, time.perf_counter()]
        steps = [end - start for start, end in pairwise(marks)]
        return 1e3 * median(steps[1:] or steps)


def _step_ms(job: Job, model: ConvNet, folder: Path, recipe: Recipe) -> float:
    parts, clock = make_parts(replace(job, recipe=recipe), model), _Stopwatch()
    fit(
        model,
        parts.task,
        parts.train_batches,
        _few_held_out(job),
        recipe.override({"training.keep": "last"}),
        run=_Nowhere(folder),
        session=Session(out_of_time=clock, checkpoint_minutes=0),
    )
    return clock.step_ms


def _few_held_out(job: Job) -> EvalBatches:
    labels = job.prepared.splits.validation.labels[:_JUDGED]
    images = job.images.validation[np.arange(len(labels))]
    return EvalBatches(images, labels, job.images.preprocessing, _JUDGED)


def _memory(room: Room) -> int | None:
    """Return the bytes that a training step may take; None where nobody knows."""
    free = free_bytes(Workers().device)
    limits = [None if free is None else SAFE_SHARE * free, room.memory_bytes]
    return min((int(limit) for limit in limits if limit is not None), default=None)


def _fitted_to_memory(job: Job, model: ConvNet, memory_bytes: int | None) -> tuple[Recipe, int]:
    """Halve the batch until its predicted peak fits; return the recipe, and the peak in bytes."""
    recipe, given = job.recipe, job.images.preprocessing
    shape = (given.channels, given.input_size, given.input_size)
    while True:
        batch = recipe.training.batch_size
        training = training_memory(recipe)
        model.train()
        peak = predict_memory(
            model, shape, batch=batch, training=training, channels_last=True
        ).peak_bytes
        if memory_bytes is None or peak <= memory_bytes:
            return recipe, peak
        if batch <= _FEWEST:
            raise OptionError(
                f"expected {bytes_text(peak)} of memory for a training step of {batch} images of "
                f"{job.candidate.name}, got {bytes_text(memory_bytes)}: free some, raise "
                "--train-memory, or take a smaller network with --max-macs or --model"
            )
        recipe = halved(recipe)


def _fitted_to_time(recipe: Recipe, seconds: Callable[[Recipe], float], room: Room) -> Recipe:
    """Return the recipe with as many of its epochs as the time allows."""
    longest = (room.seconds_left - room.reserve_seconds) / room.trainings
    for epochs in range(recipe.training.epochs, 0, -1):
        shorter = lasting(recipe, epochs)
        if seconds(shorter) <= longest:
            return shorter
    spent = (room.time_limit or 0.0) - room.seconds_left
    fewest = spent + room.reserve_seconds + room.trainings * seconds(lasting(recipe, 1))
    raise OptionError(
        f"expected a time limit of {seconds_text(math.ceil(fewest))} or more, for one epoch and "
        f"what goes with it, got {seconds_text(room.time_limit)}: raise --time-limit, or take a "
        "smaller network with --max-macs"
    )
