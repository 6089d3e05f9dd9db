"""Whether the quick defaults learn as well as a plain fp32 loop: five seeds of each, in pairs.

    python benchmarks/training_accuracy.py --data MNIST_FOLDER

The folder holds MNIST's IDX files; without it the digits alone are trained. Ours is ``fit`` with
precision auto, channels-last and the fused optimizer; theirs a loop in fp32 and NCHW as in
torchvision's reference script. Network (a CIFAR ResNet-20), first weights, batches and learning
rates are the same on both sides of a pair, so that only the arithmetic differs. Prints accuracies
on the held-out images, their means and standard deviations, and the mean difference with its 95 %
interval (Student's t over the seeds). Some 8 minutes on two cores. [--seeds N]
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from convatlas.data.augmentation import Augmentation
from convatlas.data.batches import EvalBatches, TrainBatches
from convatlas.data.cache import evaluation_images
from convatlas.data.preprocess import Preprocessing
from convatlas.data.source import open_source
from convatlas.data.sources.splits import Subset
from convatlas.models.registry import create_model
from convatlas.tasks.classify import Classification
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.optim import parameter_groups, set_lr
from convatlas.train.recipe import Recipe
from convatlas.train.schedule import lr_at

NETWORK = "cifar_resnet20"
STUDENT = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776, 6: 2.571, 7: 2.447, 8: 2.365}  # by seeds


@dataclass(frozen=True, slots=True)
class Problem:
    """Images to learn, in memory, and for how long."""

    name: str
    train: NDArray[np.uint8]
    train_labels: tuple[int, ...]
    held_out: NDArray[np.uint8]
    held_out_labels: tuple[int, ...]
    size: int
    epochs: int

    @property
    def preprocessing(self) -> Preprocessing:
        """How the network wants the images."""
        return preprocessing_for(self.size)

    def recipe(self, seed: int) -> Recipe:
        """Return what both sides train with."""
        return Recipe().override(
            {
                "training.epochs": self.epochs,
                "training.batch_size": 64,
                "training.seed": seed,
                "training.keep": "last",
                "optimizer.lr": 0.1,
                "schedule.warmup_epochs": 0.5,
            }
        )

    def batches(self, seed: int) -> TrainBatches:
        """Return the training batches, the same for both sides."""
        return TrainBatches(
            self.train, self.train_labels, self.preprocessing, Augmentation(), 64, seed
        )

    def evaluation(self) -> EvalBatches:
        """Return the held-out images."""
        return EvalBatches(self.held_out, self.held_out_labels, self.preprocessing, 256)

    def network(self, seed: int) -> nn.Module:
        """Return the network with its first weights."""
        torch.manual_seed(seed)
        return create_model(NETWORK, num_classes=10, in_channels=1)


def preprocessing_for(size: int) -> Preprocessing:
    """Return how images of ``size`` pixels go into the network."""
    return Preprocessing(
        input_size=size,
        channels=1,
        mean=(0.5,),
        std=(0.5,),
        interpolation="bilinear",
        resize_mode="crop",
        crop_fraction=1.0,
    )


def problem(name: str, spec: str, counts: tuple[int, int], size: int, epochs: int) -> Problem:
    """Decode the first images of a data set."""
    splits, record = open_source(spec), preprocessing_for(size)
    train, held_out = (
        Subset(source, range(min(count, len(source))))
        for source, count in zip((splits.train, splits.validation), counts, strict=True)
    )
    images = [np.asarray(evaluation_images(source, record)) for source in (train, held_out)]
    return Problem(name, images[0], train.labels, images[1], held_out.labels, size, epochs)


def ours(task: Problem, seed: int) -> float:
    """Return the accuracy after ``fit``."""
    with tempfile.TemporaryDirectory() as folder:
        model = task.network(seed)
        history = fit(
            model,
            Classification(),
            task.batches(seed),
            task.evaluation(),
            task.recipe(seed),
            run=RunFolder(Path(folder)),
        )
    return history.epochs[-1].headline


def theirs(task: Problem, seed: int) -> float:
    """Return the accuracy after a plain loop."""
    model, batches, recipe = task.network(seed), task.batches(seed), task.recipe(seed)
    groups = parameter_groups(model, weight_decay=recipe.optimizer.weight_decay)
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=recipe.optimizer.momentum)
    model.train()
    for epoch in range(task.epochs):
        for step, batch in enumerate(batches.epoch(epoch)):
            set_lr(optimizer, lr_at(recipe, epoch * len(batches) + step, len(batches)))
            loss = F.cross_entropy(model(batch.images), batch.labels)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return Classification().evaluate(model, task.evaluation()).headline


def report(task: Problem, seeds: int) -> None:
    """Train all pairs and print what came out."""
    pairs = []
    for seed in range(seeds):
        pairs.append((ours(task, seed), theirs(task, seed)))
        print(f"{task.name:<8}{seed:>5}{pairs[-1][0]:>10.4f}{pairs[-1][1]:>10.4f}", flush=True)
    for name, values in zip(("ours", "theirs"), zip(*pairs, strict=True), strict=True):
        print(f"{task.name:<8}{name:>8}: mean {mean(values):.4f}, deviation {stdev(values):.4f}")
    differences = [mine - other for mine, other in pairs]
    middle = mean(differences)
    half = STUDENT[seeds] * stdev(differences) / seeds**0.5
    verdict = "within the noise" if abs(middle) <= half else "NOT within the noise"
    print(f"{task.name}: ours − theirs = {middle:+.4f} ± {half:.4f} (95 %): {verdict}", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", help="folder with MNIST's IDX files")
    parser.add_argument("--seeds", type=int, default=5, choices=sorted(STUDENT))
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {NETWORK}")
    print(f"{'data':<8}{'seed':>5}{'ours':>10}{'theirs':>10}")
    report(problem("digits", "digits", (1500, 400), 16, 6), arguments.seeds)
    if arguments.data:
        report(problem("MNIST", arguments.data, (6000, 2000), 28, 2), arguments.seeds)


if __name__ == "__main__":
    main()
