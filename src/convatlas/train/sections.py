"""The sections of a recipe: frozen records whose fields know their unit and range.

They know neither models nor data. ``batch_size`` is for whoever makes the batches, ``loss`` for
the task, ``input`` and the augmentation for whoever prepares the images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from convatlas.errors import OptionError
from convatlas.train.fields import Range, check_fields, choice, number, switch, text, whole

__all__ = [
    "Growth",
    "Input",
    "Loss",
    "Optimizer",
    "Precision",
    "Regularization",
    "Schedule",
    "Training",
    "Transfer",
]

Precision = Literal["auto", "fp32", "bf16"]

_POSITIVE = Range(low_allowed=False)
_SHARE = Range(high=1)


class _Section:
    """A record that checks its fields as soon as it is made."""

    __slots__ = ()

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Training(_Section):
    """How long, in what portions and in what precision.

    ``precision`` is that of the training step; evaluation is always fp32. ``"auto"`` takes
    bfloat16 where the processor multiplies it in hardware. ``keep`` names the weights that
    remain: of the epoch with the best headline metric, or of the last one, because a figure on
    the images that chose the best epoch would be flattered.
    """

    epochs: int = whole(90, "passes over the training images, frozen ones included", low=1)
    batch_size: int = whole(256, "images per optimizer step, all processes together", low=1)
    seed: int = whole(0, "decides dropout, order and augmentation", high=2**63)
    precision: str = choice("auto", "auto", "fp32", "bf16")
    compile: bool = switch(False, "whether one process compiles the network by torch.compile")
    keep: str = choice("best", "best", "last")
    stop_after: int = whole(0, "epochs without a better headline that end the run; 0 for none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer(_Section):
    """What moves the weights, and how far at most.

    ``momentum`` is that of SGD and RMSProp, and the first beta of AdamW and LAMB; ``decay_rate``
    that of the mean square: RMSProp's decay, the second beta of the others. ``weight_decay`` is
    the L2 factor of SGD and RMSProp and decoupled in AdamW and LAMB. RMSProp is TensorFlow's,
    with ``epsilon`` inside the root.
    """

    name: str = choice("sgd", "sgd", "rmsprop", "adamw", "lamb")
    lr: float = number(0.1, "peak learning rate, per step", allowed=_POSITIVE)
    momentum: float = number(0.9, "share of the last step that is kept", allowed=_SHARE)
    nesterov: bool = switch(False, "whether SGD looks ahead")
    decay_rate: float = number(0.999, "share of the mean square that is kept", allowed=_SHARE)
    epsilon: float = number(
        1e-8, "added to the root of the mean square, with rmsprop inside it", allowed=_POSITIVE
    )
    weight_decay: float = number(1e-4, "per step, times the learning rate")
    spare_norms: bool = switch(True, "whether norms and biases are spared the weight decay")

    def __post_init__(self) -> None:
        check_fields(self)
        if self.nesterov and (self.name != "sgd" or self.momentum == 0):
            raise OptionError(
                f"optimizer.nesterov needs sgd with momentum, got {self.name} with momentum "
                f"{self.momentum}: set optimizer.nesterov to false"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule(_Section):
    """How the learning rate goes from its peak, after a linear warm-up.

    ``cosine`` and ``linear`` fall to ``final`` times the peak; ``step`` multiplies by ``factor``
    at each of ``milestones``; ``exponential`` does so every ``every_epochs``; ``plateau`` does so
    when the headline metric has not risen for ``patience`` epochs; ``one-cycle`` rises along a
    cosine over the first ``rise`` of the run, from a 25th of the peak, and falls to nothing,
    while the momentum may go down to ``low_momentum`` and back (Smith 2018, arXiv:1803.09820).
    A run that is frozen first counts its epochs anew once everything learns.
    """

    name: str = choice(
        "cosine", "cosine", "linear", "step", "exponential", "plateau", "one-cycle", "constant"
    )
    warmup_epochs: float = number(0.0, "epochs of linear warm-up")
    final: float = number(0.0, "share of the peak at the end of cosine and linear", allowed=_SHARE)
    factor: float = number(0.1, "on the learning rate at a milestone", allowed=_POSITIVE)
    milestones: tuple[float, ...] = text((), "epochs after which step acts")
    every_epochs: float = number(1.0, "epochs between two drops of exponential", allowed=_POSITIVE)
    patience: int = whole(5, "epochs without a rise before plateau acts", low=1)
    rise: float = number(0.3, "share of the run in which one-cycle rises", allowed=_SHARE)
    low_momentum: float | None = number(
        None, "momentum at one-cycle's peak; open: it stays", allowed=_SHARE
    )

    def __post_init__(self) -> None:
        check_fields(self)
        epochs = self.milestones
        numbers = all(isinstance(e, int | float) and not isinstance(e, bool) for e in epochs)
        if not numbers or sorted(epochs) != list(epochs) or any(e <= 0 for e in epochs):
            raise OptionError(
                f"schedule.milestones must be epochs above 0 in order, got {list(epochs)}"
            )
        if self.name == "step" and not epochs:
            raise OptionError(
                "the schedule step needs schedule.milestones, got none: give the epochs"
            )
        if self.name == "one-cycle" and self.warmup_epochs:
            raise OptionError(
                f"one-cycle rises by itself, got {self.warmup_epochs:g} epochs of warm-up: set "
                "schedule.warmup_epochs to 0"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(_Section):
    """What is minimised.

    ``bce`` asks of every class by itself whether it is in a mixed image at all, ``bce-soft`` how
    much of it is.
    With ``teacher`` set, ``distillation_weight`` of the loss is the divergence from the
    teacher's predictions, both softened by ``temperature`` (Hinton et al. 2015,
    arXiv:1503.02531).
    """

    name: str = choice("cross-entropy", "cross-entropy", "bce", "bce-soft")
    label_smoothing: float = number(
        0.0, "share of the target spread over all classes", allowed=_SHARE
    )
    auxiliary_weight: float = number(0.3, "of each auxiliary classifier's loss")
    teacher: str = text("", "network or run folder that is imitated; empty for none")
    distillation_weight: float = number(
        0.5, "share of the loss that compares with the teacher", allowed=Range(high=1.000001)
    )
    temperature: float = number(4.0, "divides teacher's and student's logits", allowed=_POSITIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Regularization(_Section):
    """What keeps the network from learning by heart, besides the augmentation."""

    dropout: float | None = number(
        None, "before the classifier; open: the network's", allowed=_SHARE
    )
    drop_path: float | None = number(
        None, "of the last block, falling to 0 at the first; open: the network's", allowed=_SHARE
    )
    ema_decay: float = number(0.0, "share of the averaged weights kept per step", allowed=_SHARE)
    clip_norm: float = number(0.0, "largest L2 norm of all gradients together; 0 for any")


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer(_Section):
    """How a pretrained network comes to learn again, from the head to the stem.

    ``freeze_until`` names the first part that learns while frozen: ``"classifier"``, ``"head"``
    or a stage. After ``freeze_epochs`` everything learns at once, or, with
    ``unfreeze_every_epochs``, one stage more each time.
    """

    freeze_epochs: int = whole(0, "first epochs in which only a part learns; up to all of them")
    freeze_until: str = text("classifier", "first part that learns while frozen")
    unfreeze_every_epochs: int = whole(0, "epochs per stage unfrozen; 0: all at once")
    finetune_lr: float | None = number(
        None, "peak learning rate after freezing; open: the optimizer's", allowed=_POSITIVE
    )
    stage_lr_decay: float = number(
        1.0, "learning rate of a stage over that of the next deeper one", allowed=_POSITIVE
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Input(_Section):
    """The sides of the images; 0 and an empty list stand for the network's own."""

    size: int = whole(0, "pixels at evaluation; 0: the network's own")
    sizes: tuple[int, ...] = text((), "pixels in training, in turn over the run; empty: as size")

    def __post_init__(self) -> None:
        check_fields(self)
        if any(not isinstance(side, int) or side < 1 for side in self.sizes):
            raise OptionError(
                f"input.sizes must be whole numbers of pixels, got {list(self.sizes)}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth(_Section):
    """A shallow network that is trained first and gives the deep one its first weights.

    Source: Simonyan & Zisserman 2014, arXiv:1409.1556, section 3.1.
    """

    network: str = text("", "the shallow network; empty for none")
    epochs: int = whole(0, "passes for the shallow network")
