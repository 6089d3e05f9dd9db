"""The chosen network, trained on the prepared images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

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

_ONE_THREAD_MACS = 1_000_000_000  # per batch, forward only


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
    model = build(candidate, len(prepared.classes), recipe.training.seed)
    run = RunFolder(folder)
    batches = TrainBatches(
        images.train,
        prepared.splits.train.labels,
        images.preprocessing,
        images.augmentation,
        recipe.training.batch_size,
        recipe.training.seed,
    )
    with _threads_for(candidate.cost.macs * recipe.training.batch_size):
        history = fit(
            model,
            Classification(label_smoothing=recipe.loss.label_smoothing),
            batches,
            held_out(prepared, images, recipe.training.batch_size),
            recipe,
            run=run,
            observers=observers,
            resume=run.has_run(),
        )
    return model, history


@contextmanager
def _threads_for(macs: int) -> Iterator[None]:
    """Use one thread where a batch is so little work that threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if macs < _ONE_THREAD_MACS else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def evaluate(model: ConvNet, prepared: Prepared, images: Images) -> Evaluation:
    """Measure the network on the held-out images."""
    return Classification().evaluate(model, held_out(prepared, images, 64))


def held_out(prepared: Prepared, images: Images, batch_size: int) -> EvalBatches:
    """Return the held-out images in order, as evaluation sees them."""
    labels = prepared.splits.validation.labels
    return EvalBatches(images.validation, labels, images.preprocessing, batch_size)
