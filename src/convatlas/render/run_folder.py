"""The files of a finished run, read and checked for their outer shape.

It knows where things stand and what to say when they do not; what they mean is the
business of the pages.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError

__all__ = ["FinishedRun", "read_run", "reading"]

Values = Mapping[str, Any]

_KEPT = "which epoch was kept"


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """What a run left behind; None for a file that is not there.

    Attributes:
        folder: The run folder.
        run: ``run.json``: name, command, versions, machine, seed, seconds.
        data: ``data.json``: classes, counts, sizes, preprocessing.
        choice: ``choice.json``: budget, chosen network, candidates.
        epochs: The epochs of ``metrics.jsonl``, numbered upwards.
        metrics: ``metrics.json``: the evaluation.
        cost: ``cost.json``: cost per layer and stage.
        explain: ``explain.json``: pictures with their heat maps.
        parity: ``parity.json``: the exported file against the network.
        plan: ``plan.json``: what was predicted of the training before it began.
        recipe: ``recipe.toml``: what the network was trained with.
    """

    folder: Path
    run: Values
    data: Values | None
    choice: Values | None
    epochs: tuple[Values, ...]
    metrics: Values | None
    cost: Values | None
    explain: Values | None
    parity: Values | None
    plan: Values | None
    recipe: Values | None

    @property
    def evaluation(self) -> Values | None:
        """The evaluation on the held-out images."""
        return None if self.metrics is None else self.metrics["evaluation"]

    @property
    def calibration(self) -> Values | None:
        """What the probabilities on the held-out images are worth."""
        return None if self.metrics is None else self.metrics.get("calibration")

    @property
    def calibration_error(self) -> float | None:
        """The expected calibration error, wherever it stands."""
        for record in (self.calibration, self.evaluation):
            error = (record or {}).get("expected_calibration_error")
            if error is not None:
                return float(error)
        return None

    @property
    def decided(self) -> list[str] | None:
        """What the held-out images decided in the training, in words; None where nobody says."""
        if self.recipe is None:
            return None
        training, schedule = (self.recipe.get(name) or {} for name in ("training", "schedule"))
        # With ``convatlas run --early-stop`` a part of the training images tells when to stop.
        apart = bool((self.run.get("settings") or {}).get("early_stop"))
        told = {
            _KEPT: training.get("keep") == "best",
            "when to stop": bool(training.get("stop_after")) and not apart,
            "when to learn more slowly": schedule.get("name") == "plateau",
        }
        return [words for words, decided in told.items() if decided]

    @property
    def keeps_best(self) -> bool:
        """Whether the held-out images chose the epoch whose weights were kept."""
        return _KEPT in (self.decided or [])

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were kept because it was the best, or None."""
        best = [epoch["epoch"] for epoch in self.epochs if epoch.get("best")]
        return best[-1] if best and self.keeps_best else None

    @property
    def compares_nothing(self) -> bool:
        """Whether the exported file was compared on images with all the same logits, no more."""
        return self.parity is not None and self.parity.get("conclusive") is False

    @property
    def classes(self) -> list[str]:
        """Class names; numbers when the data are not described."""
        if self.data is not None:
            return [str(name) for name in self.data["classes"]]
        evaluation = self.evaluation or {"classes": []}
        return [str(scores["label"]) for scores in evaluation["classes"]]


def read_run(folder: Path) -> FinishedRun:
    """Read the files of ``folder``; only ``run.json`` must be there.

    Raises:
        CheckpointError: No such folder or no ``run.json``, or a file that is no JSON object.
    """
    run = _read_object(folder / "run.json")
    if run is None:
        raise CheckpointError(
            f"expected a finished run with run.json in {folder}, got none: "
            "pass the folder that the run was written to"
        )
    names = ("data", "choice", "metrics", "cost", "explain", "parity", "plan")
    files = {name: _read_object(folder / f"{name}.json") for name in names}
    recipe = _read_recipe(folder / "recipe.toml")
    return FinishedRun(folder=folder, run=run, epochs=_read_epochs(folder), recipe=recipe, **files)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a missing or impossible value of ``path`` causes into one line about the file.

    Raises:
        CheckpointError: Such a value was met.
    """
    try:
        yield
    except KeyError as error:
        raise CheckpointError(
            f"expected {error.args[0]!r} in {path}, got none: repeat the run that wrote it"
        ) from error
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"cannot make sense of {path} ({error}): repeat the run that wrote it"
        ) from error


def _read_object(path: Path) -> Values | None:
    text = _read_text(path)
    if text is None:
        return None
    with reading(path):
        value = json.loads(text)
        if not isinstance(value, dict):
            raise TypeError(f"expected a JSON object, got {type(value).__name__}")
        return value


def _read_recipe(path: Path) -> Values | None:
    text = _read_text(path)
    if text is None:
        return None
    with reading(path):
        return tomllib.loads(text)


def _read_epochs(folder: Path) -> tuple[Values, ...]:
    """Return the epoch lines; a last line that was cut short is no epoch yet."""
    epochs: list[Values] = []
    for line in (_read_text(folder / "metrics.jsonl") or "").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("kind") == "epoch":
            epochs.append(_epoch(entry, len(epochs) + 1))
    numbers = [epoch["epoch"] for epoch in epochs]
    if numbers != sorted(set(numbers)):  # a second phase that counts from 1 again
        epochs = [{**epoch, "epoch": n} for n, epoch in enumerate(epochs, start=1)]
    return tuple(epochs)


def _epoch(entry: Values, number: int) -> dict[str, Any]:
    """Return an epoch with the names of the report, whether flat or as the loop writes it."""
    measured = entry.get("metrics") or {}
    names = {"loss_nats": "validation_loss", "accuracy": "validation_accuracy"}
    found = {report: measured[loop] for loop, report in names.items() if loop in measured}
    if "loss" in entry:
        found["train_loss"] = entry["loss"]
    return {"epoch": number, **found, **entry}


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"expected a text file {path}, got one that cannot be read ({error}): "
            "repeat the run that wrote it"
        ) from error
