"""A training that takes milliseconds: network, task, batches and recipes for several tests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.models.anatomy import ConvNet
from convatlas.train.recipe import Recipe

STEPS = 3
# Not "auto": what a test sees must not depend on the processor.
recipe_of = Recipe().override({"training.precision": "fp32"}).override


@dataclass(frozen=True)
class Images:
    images: Tensor
    labels: Tensor
    indices: Tensor


class Batches:
    """Random images whose class is the sign of their mean, as a function of epoch and step."""

    def __init__(self, steps: int = STEPS, poison: tuple[int, int] | None = None) -> None:
        self.steps = steps
        self.poison = poison

    def __len__(self) -> int:
        return self.steps

    def batch(self, epoch: int, step: int) -> Images:
        generator = torch.Generator().manual_seed(1000 * epoch + step)
        images = torch.randn(8, 1, 8, 8, generator=generator)
        labels = (images.mean(dim=(1, 2, 3)) > 0).long()
        if (epoch, step) == self.poison:
            images[0, 0, 0, 0] = torch.nan
        return Images(images, labels, torch.arange(8))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Images]:
        return (self.batch(epoch, step) for step in range(first, self.steps))


class Held:
    def __iter__(self) -> Iterator[Images]:
        yield Batches().batch(99, 0)
        yield Batches().batch(99, 1)


@dataclass(frozen=True)
class Score:
    headline: float

    def as_dict(self) -> dict[str, Any]:
        return {"accuracy": self.headline, "table": [[1, 2], [3, 4]], "none": None}


class Sign:
    """The task."""

    def __init__(self) -> None:
        self.evaluated: list[nn.Module] = []

    def loss(self, model: nn.Module, batch: Images) -> tuple[Tensor, Tensor]:
        logits = model(batch.images)
        return F.cross_entropy(logits.float(), batch.labels), logits

    def evaluate(self, model: nn.Module, batches: Any) -> Score:
        self.evaluated.append(model)
        model.eval()
        with torch.no_grad():
            right = [(model(b.images).argmax(1) == b.labels).float() for b in batches]
        return Score(torch.cat(right).mean().item())


def block(i: int, o: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False), nn.BatchNorm2d(o), nn.ReLU(), nn.Dropout2d(0.2)
    )


def net() -> ConvNet:
    torch.manual_seed(7)
    head = nn.Sequential()
    head.add_module("pool", nn.AdaptiveAvgPool2d(1))
    head.add_module("flatten", nn.Flatten())
    head.add_module("dropout", nn.Dropout(0.3))
    head.add_module("classifier", nn.Linear(6, 2))
    return ConvNet(
        block(1, 4),
        [block(4, 4), block(4, 6)],
        head,
        channels=[4, 6],
        strides=[1, 1],
        in_channels=1,
    )


RECIPES = {
    "momentum and averaging": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.lr": 0.1,
            "optimizer.nesterov": True,
            "regularization.ema_decay": 0.9,
        }
    ),
    "adamw, clipping and warm-up": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.name": "adamw",
            "optimizer.lr": 0.01,
            "regularization.clip_norm": 0.1,
            "schedule.warmup_epochs": 1,
            "optimizer.weight_decay": 0.1,
        }
    ),
    "plateau": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.lr": 0.1,
            "schedule.name": "plateau",
            "schedule.patience": 1,
        }
    ),
    "freeze, then fine-tune": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.lr": 0.1,
            "transfer.freeze_epochs": 2,
            "transfer.finetune_lr": 0.01,
            "transfer.stage_lr_decay": 0.5,
            "regularization.ema_decay": 0.5,
        }
    ),
    "gradual unfreezing": recipe_of(
        {
            "training.epochs": 5,
            "optimizer.lr": 0.1,
            "transfer.freeze_epochs": 1,
            "transfer.unfreeze_every_epochs": 1,
            "regularization.ema_decay": 0.5,
        }
    ),
    "rmsprop, step": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.name": "rmsprop",
            "optimizer.lr": 0.001,
            "schedule.name": "step",
            "schedule.milestones": [1, 2.5],
        }
    ),
    "lamb": recipe_of({"training.epochs": 4, "optimizer.name": "lamb", "optimizer.lr": 0.01}),
    "one-cycle": recipe_of(
        {
            "training.epochs": 4,
            "optimizer.lr": 0.1,
            "schedule.name": "one-cycle",
            "schedule.low_momentum": 0.5,
        }
    ),
    "bfloat16": recipe_of(
        {"training.epochs": 4, "optimizer.lr": 0.1, "training.precision": "bf16"}
    ),
}
