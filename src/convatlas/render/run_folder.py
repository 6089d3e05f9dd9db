"""The files of a finished run, read and checked for their outer shape.

It knows where things stand and what to say when they do not; what they mean is the
business of the pages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from convatlas.errors import CheckpointError

__all__ = ["FinishedRun", "read_run", "reading"]

Values = Mapping[str, Any]


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

    @property
    def evaluation(self) -> Values | None:
        """The evaluation on the held-out images."""
        return None if self.metrics is None else self.metrics["evaluation"]

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
    names = ("data", "choice", "metrics", "cost", "explain", "parity")
    files = {name: _read_object(folder / f"{name}.json") for name in names}
    return FinishedRun(folder=folder, run=run, epochs=_read_epochs(folder), **files)


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
