"""The chosen network, trained on the prepared images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from convatlas.data.batches import EvalBatches, TrainBatches
from convatlas.models.anatomy import ConvNet
from convatlas.pipeline.preparation import Images, Prepared, build
from convatlas.search.choose import Candidate
from convatlas.tasks.classify import Classification
from convatlas.tasks.metrics import Evaluation
from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.recipe import Recipe
from convatlas.train.reports import History, Observer

__all__ = ["evaluate", "held_out", "train"]


def train(
    candidate: Candidate,
    prepared: Prepared,
    images: Images,
    recipe: Recipe,
    folder: Path,
    observers: Sequence[Observer],
) -> tuple[ConvNet, History]:
    """Train the candidate in ``folder``, going on where a stopped run left off.

    The weights are those after the last epoch: picking the best epoch by the held-out images
    would flatter the accuracy that is then reported on them.
    """
    model = build(candidate, len(prepared.classes), recipe.seed)
    run = RunFolder(folder)
    batches = TrainBatches(
        images.train,
        prepared.splits.train.labels,
        images.preprocessing,
        images.augmentation,
        recipe.batch_size,
        recipe.seed,
    )
    history = fit(
        model,
        Classification(label_smoothing=recipe.label_smoothing),
        batches,
        held_out(prepared, images, recipe.batch_size),
        recipe,
        run=run,
        observers=observers,
        resume=run.has_run(),
        keep="last",
    )
    return model, history


def evaluate(model: ConvNet, prepared: Prepared, images: Images) -> Evaluation:
    """Measure the network on the held-out images."""
    return Classification().evaluate(model, held_out(prepared, images, 64))


def held_out(prepared: Prepared, images: Images, batch_size: int) -> EvalBatches:
    """Return the held-out images in order, as evaluation sees them."""
    labels = prepared.splits.validation.labels
    return EvalBatches(images.validation, labels, images.preprocessing, batch_size)
