"""The training loop, on one screen.

accelerate gives the device and runs backward and clipping; everything else is plain torch.
The loop knows neither what a task measures nor where batches come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from convatlas.errors import CheckpointError, OptionError
from convatlas.train.checkpoint import RunFolder
from convatlas.train.contracts import EvalBatches, PlacedBatches, Task, TrainBatches, place
from convatlas.train.interrupt import Interrupted, StopRequest
from convatlas.train.out_of_memory import memory_told
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
        One report per epoch, those before a resume included.

    Raises:
        OptionError: The loss or a weight is not finite or runs away, memory is exhausted, or
            the recipe does not fit the model.
        CheckpointError: Nothing to resume, a run of something else, or one in the way.
        OutputError: The run folder cannot be written.
        Interrupted: Ctrl-C; the run folder holds a checkpoint to go on from.
    """
    accelerator, session = Accelerator(mixed_precision="no"), session or Session()
    _check(accelerator, len(train_batches), run, session.resume)
    state = _begin(model, recipe, len(train_batches), accelerator.device, run, session)
    audience = Audience([MetricsFile(run.metrics), *observers])
    with ExitStack() as stack:
        stack.callback(state.unfreeze)
        stack.callback(audience.stop)
        stack.enter_context(kept_random_state(accelerator.device))
        stop = stack.enter_context(StopRequest())
        live = _Live(state, accelerator, run, audience, stop, CheckpointClock(session))
        try:
            audience.start(state.plan())
            run.remove_leftovers()
            while not state.finished:
                _train_epoch(live, task, train_batches, session.stop_after_steps)
                _evaluate_epoch(live, task, eval_batches)
        except KeyboardInterrupt:
            raise _interrupted(live) from None
    state.load_weights(run.load_best() if recipe.training.keep == "best" else state.to_weights())
    model.eval()
    return History(tuple(state.history))


@dataclass(frozen=True, slots=True)
class _Live:
    """A run that is going on, and who takes part in it."""

    state: TrainState
    accelerator: Accelerator
    run: RunFolder
    audience: Audience
    stop: StopRequest
    clock: CheckpointClock

    def save(self) -> None:
        """Write a checkpoint of this moment between two steps."""
        self.audience.steps(self.state.meter.fetch())
        self.run.save_last(self.state.to_checkpoint())
        self.clock.restart()


def _begin(
    model: nn.Module,
    recipe: Recipe,
    steps: int,
    device: torch.device,
    run: RunFolder,
    session: Session,
) -> TrainState:
    state = TrainState(model, recipe, steps, device, data=session.data, describe=session.describe)
    if session.resume:
        saved = run.load_last()
        state.restore(saved, other_data=session.data_changed(saved.metadata["data"]))
    return state


def _train_epoch(live: _Live, task: Task, batches: TrainBatches, last_step: int) -> None:
    state = live.state
    state.begin_epoch()
    for batch in _remaining(batches, state.epochs_done, state.step):
        live.stop.check()
        if 0 < last_step <= state.steps_done:
            raise KeyboardInterrupt
        state.begin_step()
        with memory_told(state, tuple(batch.images.shape)):
            loss = _train_step(state, task, batch, live.accelerator)
        live.audience.steps(state.end_step(loss, batch.indices))
        if live.clock.due():
            live.save()
    live.audience.steps(state.meter.close())
    state.check_weights()


def _train_step(state: TrainState, task: Task, batch: Any, accelerator: Accelerator) -> Tensor:
    recipe, optimizer = state.recipe, state.optimizer
    batch = place(batch, state.device)
    bf16 = recipe.training.precision == "bf16"
    with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
        loss, _ = task.loss(state.model, batch)
    accelerator.backward(loss)
    if recipe.regularization.clip_norm:
        accelerator.clip_grad_norm_(state.parameters, recipe.regularization.clip_norm)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


def _evaluate_epoch(live: _Live, task: Task, batches: EvalBatches) -> None:
    state = live.state
    state.begin_evaluation()
    metrics = task.evaluate(state.shipped, PlacedBatches(batches, state.device, live.stop))
    numbers = {k: v for k, v in metrics.as_dict().items() if isinstance(v, int | float)}
    report = state.end_epoch(metrics.headline, numbers)
    live.audience.epoch(report)
    if report.best:
        live.run.save_best(state.to_weights())
    live.save()


def _remaining(batches: TrainBatches, epoch: int, step: int) -> Iterator[Any]:
    if step == 0:
        return iter(batches.epoch(epoch))
    return (batches.batch(epoch, number) for number in range(step, len(batches)))


def _interrupted(live: _Live) -> KeyboardInterrupt:
    state, run = live.state, live.run
    if state.in_step:  # a second Ctrl-C: this step is lost, what was saved before is not
        if not run.has_run():
            return KeyboardInterrupt("stopped before the first checkpoint")
        meta = run.load_last().metadata
        epochs = meta["epochs_done"]
        return Interrupted(epochs, epochs * meta["steps_per_epoch"] + meta["step"])
    live.save()
    return Interrupted(state.epochs_done, state.steps_done)


def _check(accelerator: Accelerator, steps: int, run: RunFolder, resume: bool) -> None:
    if accelerator.num_processes > 1:
        raise OptionError(
            f"training runs in one process, got {accelerator.num_processes}: start it without a "
            "distributed launcher"
        )
    if steps < 1:
        raise OptionError(
            f"expected at least 1 step per epoch, got {steps}: lower batch_size or add images"
        )
    if not resume and run.has_run():
        raise CheckpointError(
            f"{run.path} already holds a run: resume it, or choose another folder"
        )
