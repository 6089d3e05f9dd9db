"""What to train with: one frozen record of every number a run depends on.

It knows neither models nor data; optim, schedule, freeze, ema and loop read it.
``batch_size`` is for whoever makes the batches, ``label_smoothing`` for the task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from convatlas.errors import OptionError, nearest

__all__ = ["Keep", "OptimizerName", "Precision", "Recipe", "ScheduleName"]

OptimizerName = Literal["sgd", "adamw"]
ScheduleName = Literal["cosine", "plateau", "constant"]
Precision = Literal["fp32", "bf16"]
Keep = Literal["best", "last"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "optimizer": get_args(OptimizerName),
    "schedule": get_args(ScheduleName),
    "precision": get_args(Precision),
    "keep": get_args(Keep),
}
_WHOLE = ("epochs", "batch_size", "patience", "freeze_epochs", "seed")


@dataclass(frozen=True, slots=True)
class _Range:
    """Where a number may lie: from ``low``, to below ``high``."""

    low: float = 0
    high: float = math.inf
    low_allowed: bool = True

    def holds(self, value: float) -> bool:
        return (value >= self.low if self.low_allowed else value > self.low) and value < self.high

    def around(self, name: str) -> str:
        upper = "" if math.isinf(self.high) else f" < {self.high:g}"
        return f"{self.low:g} {'≤' if self.low_allowed else '<'} {name}{upper}"


_POSITIVE = _Range(low_allowed=False)
_RANGES = {
    "epochs": _Range(low=1),
    "batch_size": _Range(low=1),
    "lr": _POSITIVE,
    "momentum": _Range(high=1),
    "weight_decay": _Range(),
    "patience": _Range(low=1),
    "warmup_epochs": _Range(),
    "label_smoothing": _Range(high=1),
    "freeze_epochs": _Range(),
    "finetune_lr": _POSITIVE,
    "stage_lr_decay": _POSITIVE,
    "ema_decay": _Range(high=1),
    "clip_norm": _Range(),
    "seed": _Range(high=2**63),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a network is trained.

    Attributes:
        epochs: Passes over the training images, frozen ones included.
        batch_size: Images per optimizer step.
        optimizer: ``"sgd"`` or ``"adamw"``.
        lr: Peak learning rate; while the body is frozen, that of the classifier.
        momentum: Momentum of SGD, the first beta of AdamW.
        nesterov: Whether SGD looks ahead.
        weight_decay: L2 factor of SGD, decoupled decay of AdamW; norms and biases are spared.
        schedule: ``"cosine"`` (to zero), ``"plateau"`` (÷10 whenever the headline metric has
            not risen for ``patience`` epochs) or ``"constant"``.
        patience: Epochs without a rise before the plateau rule acts.
        warmup_epochs: Epochs of linear warm-up; half an epoch is allowed.
        label_smoothing: Share of the target spread over all classes, for the task's loss.
        freeze_epochs: First epochs in which only the classifier learns; then all learns.
        finetune_lr: Peak learning rate once all learns again; None for ``lr``.
        stage_lr_decay: The learning rate of a stage divided by that of the next deeper one.
        ema_decay: Decay per step of the averaged weights that are evaluated; 0 for none.
        clip_norm: Largest L2 norm of all gradients together; 0 for no clipping.
        seed: Decides dropout and drop path; the batches have the same one.
        precision: ``"fp32"``, or ``"bf16"`` for bfloat16 autocast in training; evaluation is
            always fp32.
        keep: Weights of the epoch with the ``"best"`` headline, or of the ``"last"`` one: a
            figure on the images that chose the best epoch would be flattered.
    """

    epochs: int = 90
    batch_size: int = 256
    optimizer: OptimizerName = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: ScheduleName = "cosine"
    patience: int = 5
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    freeze_epochs: int = 0
    finetune_lr: float | None = None
    stage_lr_decay: float = 1.0
    ema_decay: float = 0.0
    clip_norm: float = 0.0
    seed: int = 0
    precision: Precision = "fp32"
    keep: Keep = "best"

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(
                    f"{name} must be one of {', '.join(choices)}, got {getattr(self, name)!r}"
                )
        if not isinstance(self.nesterov, bool):
            raise OptionError(f"nesterov must be true or false, got {self.nesterov!r}")
        for name, allowed in _RANGES.items():
            value = getattr(self, name)
            if not (name == "finetune_lr" and value is None):
                _check_number(name, value, allowed)
        self._check_together()

    def _check_together(self) -> None:
        if self.freeze_epochs >= self.epochs:
            raise OptionError(
                f"freeze_epochs must be less than epochs, got {self.freeze_epochs} of "
                f"{self.epochs}: lower freeze_epochs or raise epochs"
            )
        if self.nesterov and (self.optimizer != "sgd" or self.momentum == 0):
            raise OptionError(
                f"nesterov needs sgd with momentum, got {self.optimizer} with momentum "
                f"{self.momentum}: set nesterov to false"
            )
        if self.warmup_epochs >= self.epochs:
            raise OptionError(
                f"warmup_epochs must be less than epochs, got {self.warmup_epochs} of "
                f"{self.epochs}: lower warmup_epochs or raise epochs"
            )

    @classmethod
    def small_images(cls, **changes: Any) -> Recipe:
        """Return the recipe for images of 8 to 32 pixels and a residual net of that size.

        Evidence: cifar_resnet20 on scikit-learn's 8×8 digits, a fifth of them held out, with
        shifts of a pixel, 10° and 10 % zoom; 10 seeds, each with its own split. The last epoch
        is right on 99.36 % of the held-out images in the mean and 98.89 % in the worst case.
        """
        return cls.from_dict(
            {
                "epochs": 30,
                "batch_size": 32,
                "lr": 0.05,
                "nesterov": True,
                "weight_decay": 1e-3,
                "warmup_epochs": 2,
                "label_smoothing": 0.1,
                "ema_decay": 0.995,
                **changes,
            }
        )

    @classmethod
    def finetune(cls, **changes: Any) -> Recipe:
        """Return the recipe for a few hundred photos and a network pretrained on ImageNet."""
        return cls.from_dict(
            {
                "epochs": 12,
                "batch_size": 32,
                "optimizer": "adamw",
                "lr": 1e-2,
                "weight_decay": 0.05,
                "freeze_epochs": 4,
                "finetune_lr": 3e-4,
                "stage_lr_decay": 0.7,
                "warmup_epochs": 1,
                "label_smoothing": 0.1,
                "clip_norm": 1.0,
                **changes,
            }
        )

    @classmethod
    def from_scratch(cls, **changes: Any) -> Recipe:
        """Return the recipe for thousands of photos and random first weights."""
        return cls.from_dict(
            {
                "epochs": 90,
                "batch_size": 256,
                "lr": 0.1,
                "nesterov": True,
                "weight_decay": 5e-5,
                "warmup_epochs": 5,
                "label_smoothing": 0.1,
                **changes,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """Build the recipe from :meth:`to_dict`'s values; fields left out keep their default.

        Raises:
            OptionError: A field that does not exist, or an impossible value.
        """
        known = [field.name for field in fields(cls)]
        for name in values:
            if name not in known:
                raise OptionError(f"a recipe has no field {name!r}{nearest(str(name), known)}")
        return cls(**values)


def _check_number(name: str, value: Any, allowed: _Range) -> None:
    whole = name in _WHOLE
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        raise OptionError(f"{name} must be a {'whole ' if whole else ''}number, got {value!r}")
    if not allowed.holds(value):
        raise OptionError(f"expected {allowed.around(name)}, got {value:g}")
