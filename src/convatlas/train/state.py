"""Everything that changes while a run trains, in one place that can be saved and restored.

It knows no task, no batches and no files: the loop moves it forward, a checkpoint carries
it. What is not in it (order of the images, dropout) is a function of the seed and the step.
"""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.errors import CheckpointError
from convatlas.train.checkpoint import Checkpoint
from convatlas.train.ema import EMA
from convatlas.train.freeze import Frozen, freeze, set_training_mode, unfreeze
from convatlas.train.meter import EpochMeter
from convatlas.train.optim import build_optimizer, named_state, restore_state, set_lr
from convatlas.train.recipe import Recipe
from convatlas.train.reports import EpochReport, StepReport
from convatlas.train.schedule import Plateau, lr_at

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

    Attributes:
        parameters: All parameters, frozen ones too, for clipping.
        epochs_done: Epochs that are trained and evaluated.
        step: Steps finished in the epoch that is going on.
        lr: Learning rate of the head in the latest step.
        in_step: Whether a step is half done, so that nothing consistent can be saved.
        history: One report per epoch done.
    """

    def __init__(
        self, model: nn.Module, recipe: Recipe, steps_per_epoch: int, device: torch.device
    ) -> None:
        self.model = model.to(device=device, **_CHANNELS_LAST)
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.device = device
        self.model.zero_grad(set_to_none=True)
        self.parameters = list(model.parameters())
        self.optimizer = build_optimizer(model, recipe)
        self.ema = (
            EMA(model, recipe.regularization.ema_decay) if recipe.regularization.ema_decay else None
        )
        self.plateau = Plateau(recipe.schedule.patience)
        self.meter = EpochMeter(device)
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

    @property
    def shipped(self) -> nn.Module:
        """The network to evaluate and keep: the averaged one when there is one."""
        return self.model if self.ema is None else self.ema.model

    def begin_epoch(self) -> None:
        """Freeze or unfreeze as the recipe says, and switch to training mode."""
        if self.epochs_done >= self.recipe.transfer.freeze_epochs:
            self.unfreeze()
        elif not self._frozen.modules:
            self._frozen = freeze(self.model, "classifier")
        set_training_mode(self.model, self._frozen)
        self.meter = EpochMeter(self.device, self.meter.loss_sum, self.meter.images)

    def begin_step(self) -> None:
        """Set the learning rate and the seed of the next step."""
        self.in_step = True
        step = self.steps_done
        self.lr = lr_at(self.recipe, step, self.steps_per_epoch) * self.plateau.scale
        set_lr(self.optimizer, self.lr)
        _seed_step(self.recipe.training.seed, step, self.device)

    def end_step(self, loss: Tensor, images: int) -> list[StepReport]:
        """Update the averaged weights, count the step, and return the reports that are due."""
        if self.ema is not None:
            self.ema.update()
        self.step += 1
        self.in_step = False
        return self.meter.add(self.epochs_done + 1, self.steps_done, self.lr, images, loss)

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
        self.meter = EpochMeter(self.device)
        return report

    def unfreeze(self) -> None:
        """Let all parameters learn that this state had frozen."""
        unfreeze(self._frozen)
        self._frozen = Frozen()

    def to_checkpoint(self) -> Checkpoint:
        """Return all that a run needs to go on from here."""
        tensors = {f"model.{k}": v for k, v in self.model.state_dict().items()}
        tensors |= {f"optimizer.{k}": v for k, v in named_state(self.optimizer).items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in self.ema.model.state_dict().items()}
        return Checkpoint(tensors, self._metadata())

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
            "ema_updates": 0 if self.ema is None else self.ema.updates,
            "plateau": self.plateau.state_dict(),
            "recipe": self.recipe.to_dict(),
            "history": [report.as_dict() for report in self.history],
        }

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on from :meth:`to_checkpoint`.

        Raises:
            CheckpointError: It belongs to another recipe, other data or another network.
        """
        meta = checkpoint.metadata
        self._check_same_run(meta)
        _load(self.model, _part(checkpoint, "model."))
        restore_state(self.optimizer, _part(checkpoint, "optimizer."))
        if self.ema is not None:
            _load(self.ema.model, _part(checkpoint, "ema."))
            self.ema.updates = meta["ema_updates"]
        self.plateau.load_state_dict(meta["plateau"])
        self.epochs_done, self.step, self.lr = meta["epochs_done"], meta["step"], meta["lr"]
        self.meter = EpochMeter(self.device, meta["loss_sum"], meta["images"])
        self.history = [EpochReport(**report) for report in meta["history"]]

    def load_weights(self, checkpoint: Checkpoint) -> None:
        """Give the model the weights of :meth:`to_weights`."""
        _load(self.model, checkpoint.tensors)

    def _check_same_run(self, meta: Any) -> None:
        ours, theirs = self.recipe.to_dict(), meta["recipe"]
        changed = [f"{k} {theirs.get(k)} → {ours[k]}" for k in ours if ours[k] != theirs.get(k)]
        if changed:
            raise CheckpointError(
                f"the recipe differs from the run's ({', '.join(changed)}): resume with the same "
                "recipe, or start a new run in another folder"
            )
        if meta["steps_per_epoch"] != self.steps_per_epoch:
            raise CheckpointError(
                f"expected {meta['steps_per_epoch']} steps per epoch as in the saved run, got "
                f"{self.steps_per_epoch}: resume with the same images and batch size"
            )


def _seed_step(seed: int, step: int, device: torch.device) -> None:
    # Hashed, because the CPU's generator takes 32 bits and near seeds start alike.
    digest = hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=4).digest()
    if device.type == "cpu":
        torch.default_generator.manual_seed(int.from_bytes(digest))
    else:
        torch.manual_seed(int.from_bytes(digest))


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
