"""Four ways to train a network on few images, side by side: is pretraining worth it here?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from convatlas.errors import OptionError
from convatlas.files import write_json, write_text
from convatlas.pipeline.preparation import Prepared, from_random, lasting, prepare
from convatlas.pipeline.probing import accuracy_of
from convatlas.pipeline.records import Logbook, data_record
from convatlas.pipeline.settings import RECIPE_FILE, TrainSettings
from convatlas.pipeline.train import find_candidate, find_weights
from convatlas.pipeline.training import Job, held_out, make_job, train
from convatlas.pipeline.watching import Listener, Watch
from convatlas.tasks.classify import Classification
from convatlas.tasks.metrics import Predictions, evaluate_predictions
from convatlas.tasks.paired import compare_predictions
from convatlas.tasks.transferred import Method
from convatlas.train.checkpoint import RunFolder
from convatlas.train.recipe import Recipe, find_recipe

__all__ = ["METHODS", "compare_methods"]

_BATCH = 64


def _finetune_all() -> Recipe:
    recipe = find_recipe("finetune")
    return recipe.override({"name": "finetune, nothing frozen", "transfer.freeze_epochs": 0})


METHODS: dict[str, Callable[[], Recipe]] = {
    "scratch": lambda: find_recipe("from-scratch"),
    "linear-probe": lambda: find_recipe("linear-probe"),
    "freeze-then-finetune": lambda: find_recipe("finetune"),
    "finetune-all": _finetune_all,
}
"""Name → what gives its recipe."""


def compare_methods(
    model: str,
    data: str,
    folder: Path,
    listener: Listener,
    *,
    methods: Sequence[str] = tuple(METHODS),
    epochs: int | None = None,
    seed: int = 0,
) -> list[Method]:
    """Train a network in several ways on the same images, and compare them pair by pair.

    Args:
        model: A network with weights at hand.
        data: What ``open_source`` opens.
        folder: Gets a folder for these images and this network, with a run folder for each
            method; one that is finished is not trained again, one that was stopped goes on.
        listener: Who is told.
        methods: Keys of ``METHODS``.
        epochs: Passes of each method; None for those of fine-tuning.
        seed: Decides everything that is drawn.

    Raises:
        OptionError: An unknown method, or a network without weights at hand.
        ConvAtlasError: Data, network or folder that cannot be used.
    """
    _check(methods)
    recipes = {name: _recipe(name, epochs, seed) for name in methods}
    weights = _weights(model)
    prepared = prepare(data, listener.progress("reading the images"), seed=seed)
    below = folder / f"{prepared.name}-{model}"
    results: dict[str, tuple[Job, Predictions]] = {}
    for name, recipe in recipes.items():
        plural = "s" if recipe.training.epochs > 1 else ""
        listener.say(f"{name}: {recipe.training.epochs} epoch{plural} by {recipe.name}")
        start = None if name == "scratch" else weights
        settings = TrainSettings(data=data, model=model, weights=start, seed=seed)
        job = _job(settings, weights, prepared, recipe, listener)
        with _repeatable():
            results[name] = job, _predicted(job, settings, below / name, listener)
    best = max(results, key=lambda name: accuracy_of(results[name][1])[0])
    return [
        Method(
            name,
            job.recipe.name,
            job.recipe.training.epochs,
            _seconds(below / name),
            *accuracy_of(found),
            ""
            if name == best
            else compare_predictions(found, results[best][1]).verdict(name, best),
        )
        for name, (job, found) in results.items()
    ]


def _check(methods: Sequence[str]) -> None:
    unknown = [name for name in methods if name not in METHODS]
    if unknown or not methods:
        got = ", ".join(unknown) or "none"
        raise OptionError(f"expected methods of {', '.join(METHODS)}, got {got}: correct the list")


def _weights(model: str) -> str:
    """Return the source of the network's weights at hand."""
    if Path(model).is_dir():
        raise OptionError(
            f"--methods trains a network by name, got the run folder {model}: give a name of "
            "`convatlas list --pretrained`"
        )
    weights = find_weights(model, "auto")
    if weights is None:
        raise OptionError(
            f"expected a network with pretrained weights at hand, got {model}: see "
            "`convatlas list --pretrained`"
        )
    return weights


def _recipe(name: str, epochs: int | None, seed: int) -> Recipe:
    """Return the method's recipe; all of them last equally long."""
    recipe = METHODS[name]()
    if epochs is not None and epochs < 1:
        raise OptionError(f"expected epochs of 1 or more, got {epochs}")
    lasted = lasting(recipe, epochs or find_recipe("finetune").training.epochs)
    return lasted.override({"training.seed": seed, "training.keep": "last"})


def _job(
    settings: TrainSettings, weights: str, prepared: Prepared, recipe: Recipe, listener: Listener
) -> Job:
    """Return what to train; from scratch it is the same network at the same input size."""
    candidate = find_candidate(prepared, settings.model, weights)
    if settings.weights is None:
        candidate = replace(candidate, weights=None)
        recipe = from_random(recipe, candidate, prepared.train.images)
    return make_job(candidate, prepared, recipe, listener.progress("decoding the images"))


@contextmanager
def _repeatable() -> Iterator[None]:
    """Add to the message of a Ctrl-C that what was trained is kept."""
    try:
        yield
    except KeyboardInterrupt as error:
        error.args = (f"{str(error) or 'stopped'}; the same command goes on from there",)
        raise


def _predicted(job: Job, settings: TrainSettings, folder: Path, listener: Listener) -> Predictions:
    """Train in ``folder``, unless that was done, and predict the held-out images."""
    if not RunFolder(folder).has_run():
        write_text(folder / RECIPE_FILE, job.recipe.to_toml())
    logbook = Logbook(folder, settings.to_dict(), "transfer")
    write_json(folder / "data.json", data_record(job.prepared, job.images))
    with logbook.stage("train"):
        trained = train(job, folder, Watch(listener))
    with logbook.stage("evaluate"):
        predictions = Classification().predict(trained.model, held_out(job, _BATCH))
        evaluation = evaluate_predictions(predictions).as_dict()
    write_json(folder / "metrics.json", {"evaluation": evaluation})
    return predictions


def _seconds(folder: Path) -> float:
    history = RunFolder(folder).load_last().metadata["history"]
    return float(sum(epoch["seconds"] for epoch in history))
