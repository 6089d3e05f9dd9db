"""Run folders read back: every run below a folder, and what two of them differ in.

Whatever stands in the files, reading goes on: a file that cannot be used is a problem of its
run, and a folder without a run is listed with the reason. Nothing is loaded or imported that
training needs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError, OptionError, UnknownNameError
from convatlas.pipeline.run_files import (
    epochs_of,
    interval_of,
    numbers_of,
    part_of,
    read_epochs,
    read_object,
    read_recipe,
    text_of,
    whole_of,
)
from convatlas.train.mlflow import flatten
from convatlas.train.reports import training_pace
from convatlas.train.tracking import is_training

__all__ = ["ORDERS", "Difference", "Foreign", "Run", "RunList", "differences", "find_runs"]

ORDERS = ("created", "accuracy", "name")

_METRICS = "metrics.jsonl"
_SIGNS = ("run.json", _METRICS, "last.json", "previous.json")  # any of them makes a run
_WORDS = ("recipe.paper", "recipe.evidence")  # prose that goes with the recipe's name


@dataclass(frozen=True, slots=True)
class Run:
    """One run; None for what its folder does not tell.

    Attributes:
        name: Path of the folder below the one that was searched.
        folder: The folder.
        kind: The command that made it, such as ``"run"`` or ``"train"``.
        network: Name of the network.
        dataset: Name of the data.
        recipe: Name of the recipe.
        epochs_done: Epochs trained and evaluated.
        epochs: Epochs of the whole run.
        accuracy: Share of the held-out images that is right, of the weights that were kept;
            of the last epoch while that evaluation is missing.
        accuracy_interval: 95 % interval around it, where the evaluation gave one.
        last_accuracy: The same share after the last epoch.
        best_accuracy: The largest one of all epochs.
        best_epoch: The epoch it belongs to.
        seconds: Time spent training, without evaluation, over all resumed parts.
        images_per_second: Training images over that time.
        state: ``"running"`` while a process of this machine trains there; ``"finished"``;
            ``"trained"`` when only the evaluation is missing; ``"stopped"`` with epochs left;
            ``"unknown"`` when the folder does not say how many epochs there should be.
        created: When it was started, ISO 8601.
        settings: What was asked and with what, as dotted names.
        final: Figures on the held-out images.
        final_of: Where they are from: ``"evaluation"``, or such as ``"epoch 7"``.
        history: One mapping per epoch, numbered from 1: ``epoch``, ``train_loss``,
            ``validation_loss`` (nats), ``accuracy``, ``lr``, ``images_per_second``,
            ``seconds``, and ``metrics`` with every figure of the held-out images.
        problems: Files that cannot be used, and why.
    """

    name: str
    folder: Path
    kind: str | None
    network: str | None
    dataset: str | None
    recipe: str | None
    epochs_done: int
    epochs: int | None
    accuracy: float | None
    accuracy_interval: tuple[float, float] | None
    last_accuracy: float | None
    best_accuracy: float | None
    best_epoch: int | None
    seconds: float | None
    images_per_second: float | None
    state: str
    created: str | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    final: Mapping[str, float] = field(default_factory=dict)
    final_of: str | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {**asdict(self), "folder": str(self.folder)}


@dataclass(frozen=True, slots=True)
class Foreign:
    """A folder that holds no run.

    Attributes:
        name: Path below the folder that was searched.
        reason: What was missing.
    """

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class RunList:
    """What was found below a folder.

    Attributes:
        runs: The runs, in the order that was asked for.
        foreign: The folders directly below it without a run in them, by name.
    """

    runs: tuple[Run, ...]
    foreign: tuple[Foreign, ...]

    def chosen(self, names: Sequence[str]) -> tuple[Run, ...]:
        """Return the runs of ``names``, in that order.

        Raises:
            UnknownNameError: A name that is no run's.
        """
        known = {run.name: run for run in self.runs}
        for name in names:
            if name not in known:
                raise UnknownNameError.of("run", name, known)
        return tuple(known[name] for name in names)


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting that is not the same in all runs.

    Attributes:
        name: Its dotted name, such as ``"recipe.optimizer.lr"``.
        values: One per run, in their order; None where it is left open.
    """

    name: str
    values: tuple[Any, ...]


def find_runs(folder: Path, order: str = "created") -> RunList:
    """Return every run in or below ``folder``.

    Args:
        folder: Where to look; links are not followed.
        order: ``"created"``, newest first; ``"accuracy"``, highest first; or ``"name"``.

    Raises:
        OptionError: An order that does not exist.
        CheckpointError: No such folder.
    """
    if order not in ORDERS:
        raise OptionError(f"--sort expects one of {', '.join(ORDERS)}, got {order!r}")
    if not folder.is_dir():
        raise CheckpointError(
            f"expected a folder with runs, got {folder}: name the folder that `--out` named"
        )
    places = sorted(_run_folders(folder))
    runs = [_read_run(place, _name(place, folder)) for place in places]
    if order == "accuracy":
        runs.sort(key=lambda run: -1.0 if run.accuracy is None else run.accuracy, reverse=True)
    elif order == "created":
        runs.sort(key=lambda run: run.created or "", reverse=True)
    holding = {place.relative_to(folder).parts[:1] for place in places}
    others = [
        Foreign(child.name, _why_foreign(child))
        for child in sorted(folder.iterdir())
        if child.is_dir() and () not in holding and (child.name,) not in holding
    ]
    return RunList(tuple(runs), tuple(others))


def differences(runs: Sequence[Run]) -> tuple[Difference, ...]:
    """Return the settings, recipe values and versions that differ, by their dotted names.

    Of the settings of different commands only those that all of them have are compared.
    """
    names = sorted({name for run in runs for name in run.settings} - set(_WORDS))
    if len({run.kind for run in runs}) > 1:
        shared = set.intersection(*(set(run.settings) for run in runs))
        names = [name for name in names if name in shared or not name.startswith("settings.")]
    found = []
    for name in names:
        values = tuple(run.settings.get(name) for run in runs)
        if any(value != values[0] for value in values):
            found.append(Difference(name, values))
    return tuple(found)


def _run_folders(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if not set(_SIGNS).isdisjoint(files):
            yield Path(place)


def _name(place: Path, folder: Path) -> str:
    return folder.resolve().name if place == folder else place.relative_to(folder).as_posix()


def _why_foreign(folder: Path) -> str:
    try:
        empty = not any(folder.iterdir())
    except OSError as error:
        return f"cannot be read: {error.strerror or error}"
    return "empty" if empty else f"no run: none of {', '.join(_SIGNS[:3])} in it"


def _read_run(folder: Path, name: str) -> Run:
    problems: list[str] = []
    record, choice, data, measured, last, previous = (
        read_object(folder / f"{stem}.json", problems)
        for stem in ("run", "choice", "data", "metrics", "last", "previous")
    )
    last = last or previous
    recipe = read_recipe(folder, last, problems)
    history = read_epochs(folder / _METRICS, problems) or epochs_of(part_of(last, "history"))
    evaluation = measured.get("evaluation")
    done = max(history[-1]["epoch"] if history else 0, whole_of(part_of(last, "epochs_done")) or 0)
    epochs = whole_of(part_of(recipe, "training", "epochs"))
    kind = text_of(part_of(record, "kind")) or ("run" if choice else None)
    return Run(
        name=name,
        folder=folder,
        kind=kind,
        network=text_of(part_of(choice, "chosen", "name"))
        or text_of(part_of(record, "settings", "model")),
        dataset=text_of(part_of(data, "name")) or text_of(part_of(record, "settings", "data")),
        recipe=text_of(part_of(recipe, "name")),
        epochs_done=done,
        epochs=epochs,
        state=_state(folder, kind, done, epochs, bool(numbers_of(evaluation))),
        created=text_of(part_of(record, "created")),
        settings={"kind": kind} | _settings(record, choice, data, recipe),
        history=tuple(history),
        problems=tuple(problems),
        **_figures(evaluation, history),
    )


def _figures(evaluation: Any, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the fields of a run that are measured: by its evaluation, and after each epoch."""
    known = [(e["accuracy"], e["epoch"]) for e in history if e["accuracy"] is not None]
    best, best_epoch = max(known, default=(None, None))
    recent = known[-1][0] if known else None
    final, final_of = numbers_of(evaluation), "evaluation"
    if not final and history:
        final, final_of = history[-1]["metrics"], f"epoch {history[-1]['epoch']}"
    seconds, images_per_second = training_pace(history)
    return {
        "accuracy": numbers_of(evaluation).get("accuracy", recent),
        "accuracy_interval": interval_of(part_of(evaluation, "accuracy_interval")),
        "last_accuracy": recent,
        "best_accuracy": best,
        "best_epoch": best_epoch,
        "seconds": seconds,
        "images_per_second": images_per_second,
        "final": final,
        "final_of": final_of if final else None,
    }


def _state(folder: Path, kind: str | None, done: int, epochs: int | None, evaluated: bool) -> str:
    if is_training(folder / _METRICS):
        return "running"
    if epochs is None:
        return "finished" if evaluated else "unknown"
    if done < epochs and not evaluated:
        return "stopped"
    return "finished" if evaluated or kind is None else "trained"


def _settings(record: Any, choice: Any, data: Any, recipe: Any) -> dict[str, Any]:
    """Return all that may differ between two runs, as dotted names."""
    asked, chosen = part_of(record, "settings"), part_of(choice, "chosen")
    network = {
        "name": part_of(chosen or {"name": part_of(asked, "model")}, "name"),
        "weights": part_of(chosen or asked, "weights"),
        "input_size": part_of(data, "preprocessing", "input_size"),
    }
    parts = {
        "network": network,
        "data": {key: part_of(data, key) for key in ("name", "origin")},
        "settings": asked,
        "recipe": recipe,
        "versions": part_of(record, "versions"),
    }
    flat = flatten({key: value for key, value in parts.items() if isinstance(value, dict)})
    return flat | {"machine": part_of(record, "machine")}
