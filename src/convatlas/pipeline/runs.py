"""Run folders read back: every run below a folder, and what two of them differ in.

Whatever stands in the files, reading goes on: a file that cannot be used is a problem of its
run, and a folder without a run is listed with the reason. Nothing is loaded or imported that
training needs.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError, OptionError, UnknownNameError
from convatlas.train.mlflow import flatten
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
    """Return the settings, recipe values and versions that differ, by their dotted names."""
    names = sorted({name for run in runs for name in run.settings} - set(_WORDS))
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
        _read_object(folder / f"{stem}.json", problems)
        for stem in ("run", "choice", "data", "metrics", "last", "previous")
    )
    last = last or previous
    recipe = _read_recipe(folder, last, problems)
    history = _read_history(folder / _METRICS, problems)
    history = history or _history(_get(last, "history"))
    evaluation = measured.get("evaluation", measured) if isinstance(measured, dict) else {}
    accuracies = [(e["accuracy"], e["epoch"]) for e in history if e["accuracy"] is not None]
    best, best_epoch = max(accuracies, default=(None, None))
    recent = accuracies[-1][0] if accuracies else None
    told = _number(_get(evaluation, "accuracy"))
    seconds, images = _pace(history)
    done = max(history[-1]["epoch"] if history else 0, _whole(_get(last, "epochs_done")) or 0)
    epochs = _whole(_get(recipe, "training", "epochs"))
    kind = _text(_get(record, "kind")) or ("run" if choice else None)
    return Run(
        name=name,
        folder=folder,
        kind=kind,
        network=_text(_get(choice, "chosen", "name")) or _setting(record, "model", "network"),
        dataset=_text(_get(data, "name")) or _setting(record, "data"),
        recipe=_text(_get(recipe, "name")),
        epochs_done=done,
        epochs=epochs,
        accuracy=recent if told is None else told,
        accuracy_interval=_interval(_get(evaluation, "accuracy_interval")),
        last_accuracy=recent,
        best_accuracy=best,
        best_epoch=best_epoch,
        seconds=seconds,
        images_per_second=images,
        state=_state(folder, kind, done, epochs, told is not None),
        created=_text(_get(record, "created")),
        settings=_settings(record, choice, data, recipe),
        final=_numbers(evaluation) or (history[-1]["metrics"] if history else {}),
        final_of=_final_of(evaluation, history),
        history=tuple(history),
        problems=tuple(problems),
    )


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
    chosen = _get(choice, "chosen")
    network = {key: _get(chosen, key) for key in ("name", "weights", "input_size", "stem")}
    parts = {
        "network": network if chosen else None,
        "data": {key: _get(data, key) for key in ("name", "origin")} if data else None,
        "settings": _get(record, "settings"),
        "recipe": recipe,
        "versions": _get(record, "versions"),
    }
    flat = flatten({key: value for key, value in parts.items() if isinstance(value, dict)})
    return flat | ({"machine": record["machine"]} if "machine" in record else {})


def _final_of(evaluation: Any, history: Sequence[Mapping[str, Any]]) -> str | None:
    if _numbers(evaluation):
        return "evaluation"
    return f"epoch {history[-1]['epoch']}" if history else None


def _read_recipe(folder: Path, last: Any, problems: list[str]) -> dict[str, Any]:
    """Return the effective recipe: a checkpoint's names open values too, a file may not."""
    kept = _get(last, "recipe") or _read_object(folder / "recipe.json", problems)
    if kept:
        return kept if isinstance(kept, dict) else {}
    return _read_object(folder / "recipe.toml", problems, tomllib.loads)


def _read_object(
    path: Path, problems: list[str], parse: Callable[[str], Any] = json.loads
) -> dict[str, Any]:
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
        return {}
    except (ValueError, RecursionError):  # not UTF-8, or not JSON or TOML
        problems.append(f"{path.name} is damaged")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object")
        return {}
    return value


def _read_history(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the epochs; the last line may be half written, and no other one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
        return []
    entries: list[Any] = []
    damaged = 0
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            damaged += number < len(lines)
    if damaged:
        problems.append(f"{path.name} has {damaged} damaged line{'s' if damaged > 1 else ''}")
    return _history([entry for entry in entries if _get(entry, "kind") == "epoch"])


def _history(entries: Any) -> list[dict[str, Any]]:
    epochs = {}
    for entry in entries if isinstance(entries, list) else []:
        number = _whole(_get(entry, "epoch"))
        if number is None:
            continue
        accuracy = _number(_get(entry, "metrics", "accuracy"))
        epochs[number] = {
            "epoch": number,
            "train_loss": _number(_get(entry, "loss")),
            "validation_loss": _number(_get(entry, "metrics", "loss_nats")),
            "accuracy": _number(_get(entry, "headline")) if accuracy is None else accuracy,
            "lr": _number(_get(entry, "lr")),
            "images_per_second": _number(_get(entry, "images_per_second")),
            "seconds": _number(_get(entry, "seconds")),
            "metrics": _numbers(_get(entry, "metrics")),
        }
    return [epochs[number] for number in sorted(epochs)]


def _pace(history: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None]:
    """Return the seconds of training, and the images per second over all of them."""
    known = [(e["seconds"], e["images_per_second"]) for e in history]
    timed = [(s, pace) for s, pace in known if s is not None and pace is not None and s > 0]
    if not timed:
        return None, None
    total = sum(s for s, _ in timed)
    return total, sum(s * pace for s, pace in timed) / total


def _setting(record: Any, *names: str) -> str | None:
    return next(filter(None, (_text(_get(record, "settings", name)) for name in names)), None)


def _get(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def _numbers(value: Any) -> dict[str, float]:
    items = value.items() if isinstance(value, dict) else ()
    numbers = ((key, _number(each)) for key, each in items)
    return {key: number for key, number in numbers if number is not None}


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _interval(value: Any) -> tuple[float, float] | None:
    bounds = [_number(each) for each in value] if isinstance(value, list) else []
    match bounds:
        case [float() as low, float() as high]:
            return low, high
        case _:
            return None
