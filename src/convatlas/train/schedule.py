"""The learning rate: a pure function of the step, and the plateau rule.

It knows neither optimizers nor models.
"""

from __future__ import annotations

import math

from convatlas.train.recipe import Recipe

__all__ = ["Plateau", "lr_at"]


def lr_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of ``step``, counted from 0 over the whole run.

    A run has one phase, or two when the recipe freezes the body first. Each phase warms up
    linearly and then follows the schedule to its own end: with *t* of *T* steps after the
    warm-up done, cosine gives ``lr · (1 + cos(π t / T)) / 2`` (Loshchilov & Hutter 2017,
    arXiv:1608.03983, equation 5). The plateau rule's factor is not in it.
    """
    start, end, peak = 0, recipe.training.epochs * steps_per_epoch, recipe.optimizer.lr
    if recipe.transfer.freeze_epochs:
        frozen_steps = recipe.transfer.freeze_epochs * steps_per_epoch
        if step < frozen_steps:
            end = frozen_steps
        else:
            start, peak = frozen_steps, recipe.transfer.finetune_lr or recipe.optimizer.lr
    warmup = min(round(recipe.schedule.warmup_epochs * steps_per_epoch), end - start)
    done = step - start
    if done < warmup:
        return peak * (done + 1) / warmup
    if recipe.schedule.name == "cosine":
        return peak * (1 + math.cos(math.pi * (done - warmup) / (end - start - warmup))) / 2
    return peak


class Plateau:
    """Divide the learning rate by ten whenever a metric stops rising.

    Args:
        patience: Epochs without a new best value before the factor drops.

    Attributes:
        scale: The factor on the learning rate.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.scale = 1.0
        self._best = -math.inf
        self._stalled = 0

    def step(self, metric: float) -> None:
        """Take the metric of one epoch; higher is better."""
        if metric > self._best:
            self._best, self._stalled = metric, 0
            return
        self._stalled += 1
        if self._stalled >= self.patience:
            self.scale /= 10
            self._stalled = 0

    def state_dict(self) -> dict[str, float | int | None]:
        """Return the state as JSON values."""
        best = self._best if math.isfinite(self._best) else None
        return {"scale": self.scale, "best": best, "stalled": self._stalled}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        best = state["best"]
        self._best = -math.inf if best is None else float(best)
        self.scale = float(state["scale"] or 0.0)
        self._stalled = int(state["stalled"] or 0)
