"""From a folder to everything that training needs: images, network, preprocessing, recipe."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convatlas.data.cache import ImageArray, evaluation_images, training_images
from convatlas.data.preprocess import IMAGENET, Preprocessing
from convatlas.data.source import ImageSource, Splits, Subset, open_source
from convatlas.data.sources.streams import ImageStream
from convatlas.data.statistics import SourceFacts, channel_statistics, describe_source
from convatlas.data.verify import require_variety, verify
from convatlas.data.views import DecodedViews
from convatlas.errors import OptionError
from convatlas.models.anatomy import ConvNet
from convatlas.models.pretrained.sources import pretrained_preprocessing
from convatlas.models.registry import create_model
from convatlas.pipeline.clock import Clock, require_device
from convatlas.pipeline.settings import RunSettings
from convatlas.search.choose import Candidate, Choice, Task, choose
from convatlas.search.costing import without_weights
from convatlas.train.recipe import Recipe, find_recipe

__all__ = [
    "Images",
    "Prepared",
    "build",
    "fitting_recipe",
    "from_random",
    "halved",
    "lasting",
    "load_images",
    "pick",
    "prepare",
    "recipe_for",
    "require_apart",
    "task_of",
]

Progress = Callable[[int, int], None]

_MOST_MEASURED = 10_000  # images: 500 million values give the mean to five digits
_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.InstanceNorm2d, nn.LayerNorm)
_PHOTO_LR = 0.01  # the highest
_LONGEST_NAME = 100  # bytes; a file system takes 255, and the run's folder adds to it


@dataclass(frozen=True, slots=True)
class Prepared:
    """A verified data set.

    Attributes:
        splits: The readable images; of a stream, the first ones to train on.
        train: What the training images are.
        validation: What the validation images are.
        stream: The training images where they come as a stream, else None.
    """

    splits: Splits
    train: SourceFacts
    validation: SourceFacts
    stream: ImageStream | None = None

    @property
    def name(self) -> str:
        """What to call the data, without the part of them; short enough for a folder's name."""
        name = self.train.name.rpartition("/")[0] or self.train.name
        return name.encode()[:_LONGEST_NAME].decode(errors="ignore")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return self.splits.train.classes


@dataclass(frozen=True, slots=True)
class Images:
    """Decoded images and how they become tensors.

    Attributes:
        train: uint8 (N, H, W, C), with a margin for random crops; too large for memory, views
            of the files.
        validation: uint8 (N, H, W, C), as evaluation sees them.
        preprocessing: The record that evaluation, prediction and export share.
    """

    train: ImageArray | DecodedViews
    validation: ImageArray
    preprocessing: Preprocessing


def prepare(
    data: str,
    progress: Progress | None = None,
    *,
    seed: int = 0,
    holdout: float = 0.2,
    skip_bad: bool = False,
) -> Prepared:
    """Open the data, and decode every image once so that none fails later.

    Args:
        data: What ``open_source`` opens.
        progress: Called as ``progress(done, total)``.
        seed: Decides which images are held out where the data have no split of their own.
        holdout: Share of each class held out then.
        skip_bad: Whether unreadable images are left out instead of raising.

    Raises:
        DataError: Images or folders that cannot be used.
    """
    splits = open_source(data, seed=seed, holdout=holdout)
    parts: list[ImageSource] = [
        verify(part, progress, skip_bad) for part in (splits.train, splits.validation)
    ]
    for part in parts:
        require_variety(part)
    readable = Splits(parts[0], parts[1], splits.origin)
    return Prepared(readable, describe_source(parts[0]), describe_source(parts[1]))


def require_apart(data: str, out: Path) -> None:
    """Refuse to write runs among the images, where their folders would count as classes.

    Raises:
        OptionError: ``out`` is, or lies in, the folder of the images.
    """
    # os.path, because a Path raises over a name that is too long for the file system
    if os.path.isdir(data) and out.resolve().is_relative_to(Path(data).resolve()):
        raise OptionError(
            f"expected --out outside of the images, got {out} inside {data}, where runs would "
            "count as a class: pass another folder, such as --out ~/runs"
        )


def pick(
    settings: RunSettings, prepared: Prepared, watch: Callable[[str], Progress] | None = None
) -> Choice:
    """Choose the network for the data within the budget.

    Times that the budget limits are predicted where this machine was calibrated, and measured
    where that leaves it open.

    Args:
        settings: The budget, and the network if one was asked for.
        prepared: The images.
        watch: Called with what is done for a while; returns what is told (done, total) of it.

    Raises:
        BudgetError: Nothing meets the budget.
        OptionError: The time on a GPU is limited, and there is none.
        UnknownNameError: The network that was asked for does not exist.
    """
    task, budget = task_of(prepared), settings.budget
    require_device(budget)
    clock = Clock(budget, task)
    return choose(
        budget,
        task,
        name=settings.model,
        pretrained=settings.pretrained,
        timer=clock.measure,
        forecaster=clock.forecast if clock.decides else None,
        watch=watch,
    )


def task_of(prepared: Prepared) -> Task:
    """Return what a choice needs to know of the data."""
    facts = prepared.train
    return Task(
        image_size=int(min(facts.height.median, facts.width.median)),
        channels=facts.channels,
        num_classes=len(prepared.classes),
        train_images=facts.images,
        per_class=tuple(facts.per_class.values()),
    )


def build(
    candidate: Candidate, num_classes: int, seed: int = 0, options: Mapping[str, Any] | None = None
) -> ConvNet:
    """Build the chosen network; the seed decides its initial weights, ``options`` go along."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return create_model(
            candidate.name,
            weights=candidate.weights,
            num_classes=num_classes,
            in_channels=candidate.in_channels,
            stem=candidate.stem,
            **(options or {}),
        )


def load_images(
    prepared: Prepared, candidate: Candidate, progress: Progress | None = None
) -> Images:
    """Decode both splits for the network's input, but nothing of a stream."""
    preprocessing = _preprocessing(prepared, candidate)
    train: ImageArray | DecodedViews = DecodedViews(prepared.splits.train, preprocessing)
    if prepared.stream is None:
        train = training_images(prepared.splits.train, preprocessing, progress)
    validation = evaluation_images(prepared.splits.validation, preprocessing, progress)
    return Images(train, validation, preprocessing)


def recipe_for(candidate: Candidate, settings: RunSettings, train_images: int) -> Recipe:
    """Return the fitting recipe with the seed and the epochs that were asked for."""
    recipe = fitting_recipe(candidate, train_images).override({"training.seed": settings.seed})
    return recipe if settings.epochs is None else lasting(recipe, settings.epochs)


def fitting_recipe(candidate: Candidate, train_images: int) -> Recipe:
    """Return the shipped recipe that fits the start and the size of the images.

    It keeps the last epoch's weights, because the held-out images are what is reported on.
    """
    if candidate.weights:
        recipe = find_recipe("finetune")
    elif candidate.stem:
        recipe = _steadied(find_recipe("small-images"), candidate)
    else:
        recipe = from_random(find_recipe("from-scratch"), candidate, train_images)
    return recipe.override({"training.keep": "last"})


def from_random(recipe: Recipe, candidate: Candidate, train_images: int) -> Recipe:
    """Return the recipe with enough steps for few images, none too large for the network."""
    return _steadied(_with_enough_steps(recipe, train_images), candidate)


def _steadied(recipe: Recipe, candidate: Candidate) -> Recipe:
    """Return the recipe with bounded steps for a rectified net that nothing normalises.

    One step too large, and its units are below zero for every image and learn no more. Local
    responses do not count, and a bounded activation, as in LeNet-5, needs none of this.
    Sources: Krizhevsky et al. 2012, Zeiler & Fergus 2013 and Simonyan & Zisserman 2014, which
    on photos all begin with 0.01, for batches of 128 and of 256; clipping: Pascanu, Mikolov &
    Bengio, 2013, arXiv 1211.5063, section 3.2.
    """
    modules = list(without_weights(candidate, 1).modules())
    normalised = any(isinstance(module, _NORMS) for module in modules)
    if normalised or not any(isinstance(module, nn.ReLU) for module in modules):
        return recipe
    lr = recipe.optimizer.lr if candidate.stem else min(recipe.optimizer.lr, _PHOTO_LR)
    return recipe.override({"optimizer.lr": lr, "regularization.clip_norm": 1.0})


def _with_enough_steps(recipe: Recipe, train_images: int) -> Recipe:
    """Halve the batch until an epoch has eight steps, and the learning rate with it."""
    while recipe.training.batch_size > 16 and train_images < 8 * recipe.training.batch_size:
        recipe = halved(recipe)
    return recipe


def halved(recipe: Recipe) -> Recipe:
    """Return the recipe for half the batch, with half the learning rate.

    Source: the linear scaling rule of Goyal et al., 2017, arXiv 1706.02677, section 2.1.
    """
    finetune_lr = recipe.transfer.finetune_lr
    return recipe.override(
        {
            "training.batch_size": recipe.training.batch_size // 2,
            "optimizer.lr": recipe.optimizer.lr / 2,
            "transfer.finetune_lr": None if finetune_lr is None else finetune_lr / 2,
        }
    )


def lasting(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe for another number of epochs, its parts in proportion."""
    scale = epochs / recipe.training.epochs
    share = min(1.0, scale)
    frozen = min(round(recipe.transfer.freeze_epochs * share), epochs - 1)
    if recipe.transfer.freeze_epochs == recipe.training.epochs:  # a probe never thaws
        frozen = epochs
    return recipe.override(
        {
            "training.epochs": epochs,
            "schedule.warmup_epochs": recipe.schedule.warmup_epochs * share,
            "schedule.milestones": [each * scale for each in recipe.schedule.milestones],
            "schedule.every_epochs": recipe.schedule.every_epochs * scale,
            "transfer.freeze_epochs": frozen,
            "growth.epochs": round(recipe.growth.epochs * scale),
        }
    )


def _some(source: ImageSource) -> ImageSource:
    """Return every k-th image, so that no more than 10,000 are measured."""
    step = -(-len(source) // _MOST_MEASURED)
    return source if step == 1 else Subset(source, range(0, len(source), step))


def _preprocessing(prepared: Prepared, candidate: Candidate) -> Preprocessing:
    """Return the weights' own record, or else one with the statistics of the training images."""
    if candidate.weights:
        return pretrained_preprocessing(candidate.name, candidate.weights)
    plain = replace(
        IMAGENET,
        input_size=candidate.input_size,
        channels=candidate.in_channels,
        mean=(0.5,) * candidate.in_channels,
        std=(0.5,) * candidate.in_channels,
        resize_mode="stretch" if candidate.stem else "crop",
    )
    mean, std = channel_statistics(evaluation_images(_some(prepared.splits.train), plain))
    # A channel that never changes has no deviation to divide by.
    return replace(plain, mean=mean, std=tuple(max(value, 1 / 255) for value in std))
