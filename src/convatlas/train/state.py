"""Everything that changes while a run trains, in one place that can be saved and restored.

It knows no task, no batches and no files: the loop moves it forward, a checkpoint carries
it. What is not in it (order of the images, dropout, drop path, any other draw inside a step) is
a function of the recipe's seed and the step alone: every step begins by seeding the generators
of torch, numpy and Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import CheckpointError, OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.train.checkpoint import Checkpoint
from convatlas.train.ema import EMA
from convatlas.train.freeze import Frozen, freeze, frozen_until, set_training_mode, unfreeze
from convatlas.train.guard import LossGuard
from convatlas.train.meter import EpochMeter
from convatlas.train.optim import build_optimizer, named_state, restore_state, set_lr, start_momenta
from convatlas.train.precision import Precision
from convatlas.train.randomness import seed_with
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, Plan, StepReport, stalled_epochs
from convatlas.train.schedule import Plateau, lr_at, momentum_at

__all__ = ["TrainState"]

_CHANNELS_LAST: Any = {"memory_format": torch.channels_last}


class TrainState:
    """A network in training.

    Args:
        model: The network; it is moved to ``device`` and to channels-last memory, in which
            convolutions run faster on CPUs and on tensor cores.
        recipe: What to train with.
        steps_per_epoch: Optimizer steps in each epoch.
        device: Where to train.
        data: What the images look like, as JSON values, for the checkpoints.
        describe: Says what an image is, by its index, when its loss ends the run.

    Attributes:
        parameters: All parameters, frozen ones too, for clipping.
        precision: What the steps compute in; None until that is settled.
        epochs_done: Epochs that are trained and evaluated.
        step: Steps finished in the epoch that is going on.
        lr: Learning rate of the head in the latest step.
        in_step: Whether a step is half done, so that nothing consistent can be saved.
        history: One report per epoch done.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        steps_per_epoch: int,
        device: torch.device,
        *,
        data: Mapping[str, Any] | None = None,
        describe: Callable[[int], str] | None = None,
    ) -> None:
        self.model = model.to(device=device, **_CHANNELS_LAST)
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.device = device
        self.data = data
        self.model.zero_grad(set_to_none=True)
        self.parameters = list(model.parameters())
        self.optimizer = build_optimizer(model, recipe)
        self.ema = (
            EMA(model, recipe.regularization.ema_decay) if recipe.regularization.ema_decay else None
        )
        self.plateau = Plateau(recipe.schedule.patience, recipe.schedule.factor)
        self.guard = LossGuard(describe)
        self.meter = EpochMeter(device, self.guard)
        self.precision: Precision | None = None
        self.epochs_done = 0
        self.step = 0
        self.lr = 0.0
        self.in_step = False
        self.history: list[EpochReport] = []
        self._frozen = Frozen()

    @property
    def steps_done(self) -> int:
        """Optimizer steps finished over the whole run."""
        return self.epochs_done * self.steps_per_epoch + self.step

    def plan(self) -> Plan:
        """Return what lies ahead from here."""
        epochs = self.recipe.training.epochs
        return Plan(epochs, self.steps_per_epoch, self.epochs_done, self.steps_done)

    @property
    def shipped(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one when there is one."""
        return self.model if self.ema is None else self.ema.model

    @property
    def in_bf16(self) -> bool:
        """Whether steps run under autocast to bfloat16."""
        return self.precision is not None and self.precision.is_bf16

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the recipe's patience with the headline is over."""
        training = self.recipe.training
        stalled = stalled_epochs(self.history[self.recipe.transfer.freeze_epochs :])
        return self.epochs_done >= training.epochs or 0 < training.stop_after <= stalled

    def begin_epoch(self) -> None:
        """Freeze or unfreeze as the recipe says, and switch to training mode."""
        infos = self.model.feature_info if isinstance(self.model, ConvNet) else ()
        stages = [feature.name for feature in infos]
        until = frozen_until(self.recipe.transfer, self.epochs_done, stages)
        if until != self._frozen.until:
            self.unfreeze()
            self._frozen = freeze(self.model, until)
        start_momenta(self.optimizer)
        set_training_mode(self.model, self._frozen)
        before = self.meter
        self.meter = EpochMeter(
            self.device, self.guard, before.loss_sum, before.images, before.seconds_before
        )

    def begin_step(self, rank: int = 0) -> None:
        """Set the learning rate and the seed of the next step, another in each process."""
        self.in_step = True
        step = self.steps_done
        self.lr = lr_at(self.recipe, step, self.steps_per_epoch) * self.plateau.scale
        momentum = momentum_at(self.recipe, step, self.steps_per_epoch)
        set_lr(self.optimizer, self.lr, momentum)
        process = f"/{rank}" if rank else ""
        seed_with(f"{self.recipe.training.seed}/{step}{process}", self.device)

    def end_step(self, loss: Tensor, indices: Tensor) -> list[StepReport]:
        """Update the averaged weights, count the step, and return the reports that are due.

        Args:
            loss: The step's mean loss, a scalar on the device.
            indices: Positions of its images in the data set.
        """
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.in_step = False
        return self.meter.add(self.epochs_done + 1, self.steps_done, self.lr, indices, loss)

    def begin_evaluation(self) -> None:
        """Set the seed of what an evaluation may draw."""
        seed_with(f"{self.recipe.training.seed}/evaluation/{self.epochs_done}", self.device)

    def check_weights(self) -> None:
        """Look for what a finite loss can leave behind when its gradient was not finite.

        Raises:
            OptionError: A weight is NaN or infinite.
        """
        sound = torch.stack([p.detach().isfinite().all() for p in self.parameters]).tolist()
        if not all(sound):
            names = [name for name, _ in self.model.named_parameters()]
            raise OptionError(
                f"{names[sound.index(False)]} is not finite any more at step {self.steps_done} "
                f"with learning rate {self.lr:.3g}: start anew with a lower lr, more "
                "warmup_epochs or clip_norm=1; what was saved before it is kept"
            )

    def end_epoch(self, headline: float, metrics: dict[str, float]) -> EpochReport:
        """Close the epoch that was just evaluated."""
        meter, before = self.meter, [report.headline for report in self.history]
        report = EpochReport(
            epoch=self.epochs_done + 1,
            step=self.steps_done,
            loss=meter.loss,
            lr=self.lr,
            headline=headline,
            metrics=metrics,
            best=all(headline >= other for other in before),
            seconds=meter.seconds,
            images_per_second=meter.images_per_second,
        )
        if (
            self.recipe.schedule.name == "plateau"
            and self.epochs_done >= self.recipe.transfer.freeze_epochs
        ):
            self.plateau.step(headline)
        self.history.append(report)
        self.epochs_done += 1
        self.step = 0
        self.meter = EpochMeter(self.device, self.guard)
        return report

    def unfreeze(self) -> None:
        """Let all parameters learn that this state had frozen."""
        unfreeze(self._frozen)
        self._frozen = Frozen()

    def to_checkpoint(self) -> Checkpoint:
        """Return all that a run needs to go on from here.

        Raises:
            OptionError: A weight is NaN or infinite, from which nothing can go on.
        """
        self.check_weights()
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in named_state(self.optimizer).items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
        return Checkpoint(tensors, {**self._metadata(), "data": self.data})

    def to_weights(self) -> Checkpoint:
        """Return the weights to keep, under the model's own names."""
        return Checkpoint(self.shipped.state_dict(), self._metadata())

    def _metadata(self) -> dict[str, Any]:
        return {
            "epochs_done": self.epochs_done,
            "step": self.step,
            "steps_per_epoch": self.steps_per_epoch,
            "lr": self.lr,
            "loss_sum": self.meter.loss_sum,
            "images": self.meter.images,
            "seconds": self.meter.seconds if self.step else 0.0,
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "plateau": self.plateau.state_dict(),
            "guard": self.guard.state_dict(),
            "precision": self.precision and self.precision.as_dict(),
            "recipe": self.recipe.to_dict(),
            "history": [report.as_dict() for report in self.history],
        }

    def restore(self, checkpoint: Checkpoint, *, other_data: bool = False) -> None:
        """Go on from :meth:`to_checkpoint`.

        Args:
            checkpoint: Where to go on from.
            other_data: Whether other images than before are wanted. When their steps per
                epoch differ, the epoch that was going on begins again.

        Raises:
            CheckpointError: It belongs to another recipe, other data or another network.
        """
        meta = checkpoint.metadata
        same_steps = meta["steps_per_epoch"] == self.steps_per_epoch
        self._check_same_run(meta, other_data or same_steps)
        _load(self.model, _part(checkpoint, "model."))
        restore_state(self.optimizer, _part(checkpoint, "optimizer."))
        if self.ema is not None:
            _load(self.ema.model, _part(checkpoint, "ema."))
            self.ema.updates = meta["ema_updates"]
        self.precision = meta["precision"] and Precision.from_dict(meta["precision"])
        self.plateau.load_state_dict(meta["plateau"])
        self.guard.load_state_dict(meta["guard"])
        self.epochs_done, self.lr = meta["epochs_done"], meta["lr"]
        if same_steps:
            self.step = meta["step"]
            before = (meta["loss_sum"], meta["images"], meta["seconds"])
            self.meter = EpochMeter(self.device, self.guard, *before)
        self.history = [EpochReport(**report) for report in meta["history"]]

    def load_weights(self, checkpoint: Checkpoint) -> None:
        """Give the model the weights of :meth:`to_weights`."""
        _load(self.model, checkpoint.tensors)

    def _check_same_run(self, meta: Any, steps_fit: bool) -> None:
        ours, theirs = self.recipe.flat(), Recipe.from_dict(meta["recipe"]).flat()
        changed = [f"{k} {theirs[k]} → {ours[k]}" for k in ours if ours[k] != theirs[k]]
        if changed:
            raise CheckpointError(
                f"the recipe differs from the run's ({', '.join(changed)}): resume with the same "
                "recipe, or start a new run in another folder"
            )
        if not steps_fit:
            raise CheckpointError(
                f"expected {meta['steps_per_epoch']} steps per epoch as in the saved run, got "
                f"{self.steps_per_epoch}: resume with the same images and batch size"
            )


def _part(checkpoint: Checkpoint, prefix: str) -> dict[str, Tensor]:
    tensors = checkpoint.tensors.items()
    return {k.removeprefix(prefix): v for k, v in tensors if k.startswith(prefix)}


def _load(model: nn.Module, tensors: Any) -> None:
    shapes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    saved = {name: tuple(value.shape) for name, value in tensors.items()}
    for name in sorted(shapes.keys() | saved.keys()):
        if shapes.get(name) != saved.get(name):
            raise CheckpointError(
                f"the checkpoint is of another network: {name} is {saved.get(name, 'missing')} "
                f"there and {shapes.get(name, 'missing')} in the model"
            )
    model.load_state_dict(tensors)
