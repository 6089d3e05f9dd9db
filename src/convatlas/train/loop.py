"""The training loop, on one screen.

accelerate gives the device and runs backward and clipping; everything else is plain torch.
The loop knows neither what a task measures nor where batches come from.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from convatlas.errors import CheckpointError, OptionError
from convatlas.train.checkpoint import RunFolder
from convatlas.train.contracts import EvalBatches, PlacedBatches, Task, TrainBatches, place
from convatlas.train.interrupt import Interrupted, StopRequest
from convatlas.train.recipe import Recipe
from convatlas.train.reports import Audience, History, Observer, Plan
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
    resume: bool = False,
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
        resume: Whether to go on from the run's last checkpoint. On one machine's CPU the
            outcome is bit for bit that of a run that was never stopped.

    Returns:
        One report per epoch, those before a resume included.

    Raises:
        OptionError: The loss became infinite or NaN, or the recipe does not fit the model.
        CheckpointError: Nothing to resume, a run of something else, or one in the way.
        OutputError: The run folder cannot be written.
        Interrupted: Ctrl-C; the run folder holds a checkpoint to go on from.
    """
    accelerator = Accelerator(mixed_precision="no")
    _check(accelerator, len(train_batches), run, resume)
    state = TrainState(model, recipe, len(train_batches), accelerator.device)
    if resume:
        state.restore(run.load_last())
    audience = Audience([MetricsFile(run.metrics), *observers])
    with ExitStack() as stack:
        stack.callback(state.unfreeze)
        stack.callback(audience.stop)
        stack.enter_context(_kept_random_state(accelerator.device))
        stop = stack.enter_context(StopRequest())
        try:
            audience.start(
                Plan(
                    recipe.training.epochs,
                    state.steps_per_epoch,
                    state.epochs_done,
                    state.steps_done,
                )
            )
            while state.epochs_done < recipe.training.epochs:
                _train_epoch(state, task, train_batches, accelerator, audience, stop)
                _evaluate_epoch(state, task, eval_batches, run, audience, stop)
        except KeyboardInterrupt:
            raise _interrupted(state, run, audience) from None
    state.load_weights(run.load_best() if recipe.training.keep == "best" else state.to_weights())
    model.eval()
    return History(tuple(state.history))


def _train_epoch(
    state: TrainState,
    task: Task,
    batches: TrainBatches,
    accelerator: Accelerator,
    audience: Audience,
    stop: StopRequest,
) -> None:
    recipe, model, optimizer = state.recipe, state.model, state.optimizer
    bf16 = recipe.training.precision == "bf16"
    state.begin_epoch()
    for batch in _remaining(batches, state.epochs_done, state.step):
        stop.check()
        state.begin_step()
        batch = place(batch, state.device)
        with torch.autocast(state.device.type, torch.bfloat16, enabled=bf16):
            loss, _ = task.loss(model, batch)
        accelerator.backward(loss)
        if recipe.regularization.clip_norm:
            accelerator.clip_grad_norm_(state.parameters, recipe.regularization.clip_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        audience.steps(state.end_step(loss, len(batch.images)))
    audience.steps(state.meter.close())


def _evaluate_epoch(
    state: TrainState,
    task: Task,
    batches: EvalBatches,
    run: RunFolder,
    audience: Audience,
    stop: StopRequest,
) -> None:
    placed = PlacedBatches(batches, state.device, stop)
    metrics = task.evaluate(state.shipped, placed)
    numbers = {k: v for k, v in metrics.as_dict().items() if isinstance(v, int | float)}
    report = state.end_epoch(metrics.headline, numbers)
    audience.epoch(report)
    if report.best:
        run.save_best(state.to_weights())
    run.save_last(state.to_checkpoint())


def _remaining(batches: TrainBatches, epoch: int, step: int) -> Iterator[Any]:
    if step == 0:
        return iter(batches.epoch(epoch))
    return (batches.batch(epoch, number) for number in range(step, len(batches)))


def _interrupted(state: TrainState, run: RunFolder, audience: Audience) -> KeyboardInterrupt:
    if state.in_step:  # a second Ctrl-C: this step is lost, what was saved before is not
        if not run.has_run():
            return KeyboardInterrupt("stopped before the first checkpoint")
        meta = run.load_last().metadata
        epochs = meta["epochs_done"]
        return Interrupted(epochs, epochs * meta["steps_per_epoch"] + meta["step"])
    audience.steps(state.meter.fetch())
    run.save_last(state.to_checkpoint())
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


def _kept_random_state(device: torch.device) -> AbstractContextManager[None]:
    devices = range(torch.cuda.device_count()) if device.type == "cuda" else ()
    return torch.random.fork_rng(devices)
