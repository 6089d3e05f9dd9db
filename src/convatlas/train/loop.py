"""The training loop, on one screen.

accelerate gives the device and the processes, and runs backward and clipping; everything else
is plain torch.
The loop knows neither what a task measures nor where batches come from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import CheckpointError, OptionError
from convatlas.train.allocator import keep_freed_memory
from convatlas.train.checkpoint import RunFolder
from convatlas.train.contracts import EvalBatches, PlacedBatches, Task, TrainBatches, place
from convatlas.train.depthwise import depthwise_backward
from convatlas.train.distributed import Workers
from convatlas.train.interrupt import Interrupted, StopRequest
from convatlas.train.lone_image import lone_image_told
from convatlas.train.out_of_memory import memory_told
from convatlas.train.precision import (
    Precision,
    check_bf16,
    multiplies_bf16,
    require_sound_bf16,
)
from convatlas.train.randomness import kept_random_state
from convatlas.train.recipe import Recipe
from convatlas.train.reports import Audience, History, Observer
from convatlas.train.session import CheckpointClock, Session
from convatlas.train.state import TrainState
from convatlas.train.tracking import MetricsFile

__all__ = ["fit"]


def fit(
    model: nn.Module,
    task: Task,
    train_batches: TrainBatches,
    eval_batches: EvalBatches,
    recipe: Recipe,
    *,
    run: RunFolder,
    observers: Sequence[Observer] = (),
    session: Session | None = None,
) -> History:
    """Train ``model`` in place; afterwards it holds the kept weights, in evaluation mode.

    Args:
        model: The network; it moves to the device, its memory becomes channels-last.
        task: Loss and evaluation.
        train_batches: The same batch for the same epoch and step, whenever asked.
        eval_batches: What the task is evaluated on after every epoch.
        recipe: What to train with.
        run: Where checkpoints and metrics go.
        observers: Who else listens, such as a progress bar.
        session: Whether to go on from the last checkpoint, and how often to write one. On one
            machine's CPU the outcome is bit for bit that of a run that was never stopped.

    Returns:
        One report per whole epoch, those before a resume included.

    Raises:
        OptionError: The loss or a weight is not finite or runs away, memory is exhausted, or
            the recipe does not fit the model.
        CheckpointError: Nothing to resume, a run of something else, or one in the way.
        OutputError: The run folder cannot be written.
        WorkerError: Another of several processes ended.
        Interrupted: Ctrl-C; the run folder holds a checkpoint to go on from.
    """
    workers, session = Workers(), session or Session()
    train_batches = workers.share(train_batches)
    workers.from_first(lambda: _check(len(train_batches), run, session.resume))
    state = _begin(model, recipe, len(train_batches), workers, run, session)
    _settle_precision(state, task, train_batches, workers)
    audience = Audience([MetricsFile(run.metrics), *observers] if workers.is_first else [])
    with ExitStack() as stack:
        stack.callback(state.unfreeze)
        stack.callback(audience.stop)
        stack.callback(workers.release)
        stack.enter_context(kept_random_state(state.device))
        stop = stack.enter_context(StopRequest())
        stack.enter_context(workers.watched())
        live = _Live(state, workers, run, audience, stop, CheckpointClock(session))
        try:
            audience.start(state.plan())
            workers.from_first(run.remove_leftovers)
            while not state.finished and _train_epoch(live, task, train_batches, session):
                _evaluate_epoch(live, task, eval_batches)
            if not state.finished:  # the time is up
                live.save()
        except KeyboardInterrupt:
            raise _interrupted(live) from None
    best = recipe.training.keep == "best" and state.history
    state.load_weights(workers.from_first(run.load_best) if best else state.to_weights())
    model.eval()
    return History(tuple(state.history))


@dataclass(frozen=True, slots=True)
class _Live:
    """A run that is going on, and who takes part in it."""

    state: TrainState
    workers: Workers
    run: RunFolder
    audience: Audience
    stop: StopRequest
    clock: CheckpointClock

    def save(self) -> None:
        """Write a checkpoint of this moment between two steps."""
        self.audience.steps(self.state.meter.fetch())
        if self.workers.is_first:
            self.run.save_last(self.state.to_checkpoint())
        self.clock.restart()


def _begin(
    model: nn.Module,
    recipe: Recipe,
    steps: int,
    workers: Workers,
    run: RunFolder,
    session: Session,
) -> TrainState:
    device = workers.device
    if device.type == "cpu":
        keep_freed_memory()
    state = TrainState(model, recipe, steps, device, data=session.data, describe=session.describe)
    if session.resume:
        saved = workers.from_first(run.load_last)
        state.restore(saved, other_data=session.data_changed(saved.metadata["data"]))
    return state


def _settle_precision(
    state: TrainState, task: Task, batches: TrainBatches, workers: Workers
) -> None:
    wanted = state.recipe.training.precision
    if state.precision is not None:  # a resumed run goes on in that of its first steps
        wanted = state.precision.name

    def decide() -> Precision:
        checked = wanted == "bf16" or (wanted == "auto" and multiplies_bf16(state.device))
        if not checked:
            return state.precision or Precision("fp32")
        batch = place(batches.batch(0, 0), state.device)
        with memory_told(state, tuple(batch.images.shape)), lone_image_told():
            if wanted == "auto":
                return check_bf16(state.model, task, batch, state.device)
            require_sound_bf16(state.model, task, batch, state.device)
            return state.precision or Precision("bf16")

    state.precision = workers.from_first(decide)


def _train_epoch(live: _Live, task: Task, batches: TrainBatches, session: Session) -> bool:
    """Train to the end of the epoch; return False if the time is up before."""
    state, last_step = live.state, session.stop_after_steps
    state.begin_epoch()
    loss_of = live.workers.bind(state.model, task, compiles=state.recipe.training.compile)
    for batch in batches.epoch(state.epochs_done, state.step):
        if live.workers.any(live.stop.asked) or 0 < last_step <= state.steps_done:
            raise KeyboardInterrupt
        if state.steps_done and session.out_of_time and live.workers.any(session.out_of_time()):
            return False
        state.begin_step(live.workers.rank)
        with memory_told(state, tuple(batch.images.shape)), lone_image_told():
            loss = _train_step(state, loss_of, batch, live.workers)
        live.audience.steps(state.end_step(loss, live.workers.gather(batch.indices)))
        if live.clock.due():
            live.save()
    live.audience.steps(state.meter.close())
    state.check_weights()
    return True


def _train_step(
    state: TrainState, loss_of: Callable[[Any], Tensor], batch: Any, workers: Workers
) -> Tensor:
    recipe, optimizer, accelerator = state.recipe, state.optimizer, workers.accelerator
    batch = place(batch, state.device)
    bf16 = state.in_bf16
    with workers.statistics(), torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
        loss = loss_of(batch)
    with depthwise_backward(state.model, in_bf16=bf16):
        accelerator.backward(loss)
    if recipe.regularization.clip_norm:
        accelerator.clip_grad_norm_(state.parameters, recipe.regularization.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return workers.mean(loss.detach())


def _evaluate_epoch(live: _Live, task: Task, batches: EvalBatches) -> None:
    state = live.state
    state.begin_evaluation()

    def measure() -> tuple[float, dict[str, float]]:
        metrics = task.evaluate(state.shipped, PlacedBatches(batches, state.device, live.stop))
        values = metrics.as_dict().items()
        return metrics.headline, {k: v for k, v in values if isinstance(v, int | float)}

    report = state.end_epoch(*live.workers.from_first(measure))
    live.audience.epoch(report)
    if report.best and live.workers.is_first:
        live.run.save_best(state.to_weights())
    live.save()


def _interrupted(live: _Live) -> KeyboardInterrupt:
    state, run = live.state, live.run
    if state.in_step:  # a second Ctrl-C: this step is lost, what was saved before is not
        if not live.workers.is_first or not run.has_run():
            return KeyboardInterrupt("stopped before the first checkpoint")
        meta = run.load_last().metadata
        epochs = meta["epochs_done"]
        return Interrupted(epochs, epochs * meta["steps_per_epoch"] + meta["step"])
    live.save()
    return Interrupted(state.epochs_done, state.steps_done)


def _check(steps: int, run: RunFolder, resume: bool) -> None:
    if steps < 1:
        raise OptionError(
            f"expected at least 1 step per epoch, got {steps}: lower batch_size or add images"
        )
    if not resume and run.has_run():
        raise CheckpointError(
            f"{run.path} already holds a run: resume it, or choose another folder"
        )
