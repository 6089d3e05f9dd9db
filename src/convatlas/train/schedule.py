"""Learning rate and momentum: pure functions of the step, and the plateau rule.

It knows neither optimizers nor models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from convatlas.train.recipe import Recipe
from convatlas.train.sections import Schedule

__all__ = ["Plateau", "lr_at", "momentum_at"]

_FIRST = 1 / 25  # of the peak, where one-cycle begins
_LAST = _FIRST / 1e4  # where it ends: nearly nothing


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a step lies in its phase, in steps.

    Attributes:
        done: Steps of the phase before this one.
        total: Steps of the phase.
        epoch: Steps of an epoch.
        peak: The phase's peak learning rate.
    """

    done: int
    total: int
    epoch: int
    peak: float


def lr_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of ``step``, counted from 0 over the whole run.

    A run has one phase, or two when the recipe freezes the body first. Each phase warms up
    linearly and then follows the schedule to its own end: with *t* of *T* steps after the
    warm-up done, cosine goes from the peak to its final share along ``(1 + cos(π t / T)) / 2``
    (Loshchilov & Hutter 2017, arXiv:1608.03983, equation 5) and linear along ``1 − t / T``. Step
    and exponential count the epochs of the phase, its warm-up included. The plateau rule's
    factor is not in it.
    """
    place = _place(recipe, step, steps_per_epoch)
    schedule = recipe.schedule
    warmup = min(round(schedule.warmup_epochs * steps_per_epoch), place.total)
    if place.done < warmup:
        return place.peak * (place.done + 1) / warmup
    return place.peak * _share(schedule, place, warmup)


def momentum_at(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """Return the momentum of ``step``: one-cycle's goes down while the rate goes up, and back."""
    high, low = recipe.optimizer.momentum, recipe.schedule.low_momentum
    if recipe.schedule.name != "one-cycle" or low is None:
        return high
    place = _place(recipe, step, steps_per_epoch)
    rising, share = _half(recipe.schedule.rise, place)
    return _cosine(high, low, share) if rising else _cosine(low, high, share)


def _place(recipe: Recipe, step: int, steps_per_epoch: int) -> _Place:
    total, peak = recipe.training.epochs * steps_per_epoch, recipe.optimizer.lr
    frozen = recipe.transfer.freeze_epochs * steps_per_epoch
    if step < frozen:
        return _Place(step, frozen, steps_per_epoch, peak)
    peak = recipe.transfer.finetune_lr or peak  # of a run that is never frozen, too
    return _Place(step - frozen, total - frozen, steps_per_epoch, peak)


def _share(schedule: Schedule, place: _Place, warmup: int) -> float:
    """Return the learning rate of a step after the warm-up as a share of the peak."""
    epochs = place.done / place.epoch
    along = (place.done - warmup) / (place.total - warmup)
    if schedule.name == "cosine":
        return _cosine(1.0, schedule.final, along)
    if schedule.name == "linear":
        return 1 - (1 - schedule.final) * along
    if schedule.name == "step":
        passed = sum(place.done >= round(each * place.epoch) for each in schedule.milestones)
        return schedule.factor**passed
    if schedule.name == "exponential":
        return schedule.factor ** math.floor(epochs / schedule.every_epochs + 1e-9)
    if schedule.name == "one-cycle":
        rising, share = _half(schedule.rise, place)
        return _cosine(_FIRST, 1.0, share) if rising else _cosine(1.0, _LAST, share)
    return 1.0


def _half(rise: float, place: _Place) -> tuple[bool, float]:
    """Tell whether one-cycle still rises, and how much of its rise or fall is done."""
    top, last = max(rise * place.total - 1, 0.0), place.total - 1
    if place.done < top:
        return True, place.done / top
    return False, (place.done - top) / (last - top) if last > top else 0.0


def _cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


class Plateau:
    """Multiply the learning rate by a factor whenever a metric stops rising.

    Args:
        patience: Epochs without a new best value before the factor acts.
        factor: What it is multiplied by: a tenth in the papers.

    Attributes:
        scale: The product of the factors so far.
    """

    def __init__(self, patience: int, factor: float = 0.1) -> None:
        self.patience = patience
        self.factor = factor
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
            self.scale *= self.factor
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
