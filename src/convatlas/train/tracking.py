"""Where the numbers of a run go: JSON lines, and TensorBoard when it is asked for.

Both listen to the loop as observers; neither knows tensors or tasks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, TextIO

from convatlas.errors import MissingExtraError, OutputError
from convatlas.files import write_text
from convatlas.train.reports import EpochReport, Plan, StepReport

__all__ = ["MetricsFile", "TensorBoard"]


class MetricsFile:
    """JSON lines: one per epoch, and one per ``every`` steps.

    A resumed run first takes back the lines that the stopped one wrote after its
    checkpoint, so that no step appears twice. Each line is flushed at once.

    Args:
        path: The file; its folder is created.
        every: Steps per line, counted over the whole run.
    """

    def __init__(self, path: Path, *, every: int = 50) -> None:
        self._path = path
        self._every = every
        self._file: TextIO | None = None

    def start(self, plan: Plan) -> None:
        """Open the file behind the lines that still hold."""
        try:
            write_text(self._path, "".join(_lines_before(self._path, plan)))
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise OutputError(f"cannot write {self._path}: {error.strerror or error}") from error

    def step(self, report: StepReport) -> None:
        """Write every so-manieth step."""
        if report.step % self._every == 0:
            self._write(
                {
                    "kind": "step",
                    "epoch": report.epoch,
                    "step": report.step,
                    "loss": report.loss,
                    "lr": report.lr,
                }
            )

    def epoch(self, report: EpochReport) -> None:
        """Write the epoch with all its metrics."""
        self._write({"kind": "epoch", **report.as_dict()})

    def stop(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()


def _lines_before(path: Path, plan: Plan) -> Iterator[str]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the half line of a process that was killed while writing it
            continue
        done = plan.epochs_done if entry["kind"] == "epoch" else plan.steps_done
        if entry[entry["kind"]] <= done:
            yield line + "\n"


class TensorBoard:
    """Loss and learning rate per step, and every metric per epoch.

    Args:
        folder: Where the event files go.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            self._new_writer: Any = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise MissingExtraError.of("tensorboard", "tensorboard") from error
        self._folder = str(folder)
        self._writer: Any = None

    def start(self, plan: Plan) -> None:
        """Open the event file; steps after a resumed checkpoint are purged."""
        purged = plan.steps_done + 1 if plan.steps_done else None
        self._writer = self._new_writer(self._folder, purge_step=purged)

    def step(self, report: StepReport) -> None:
        """Add the loss and the learning rate."""
        self._writer.add_scalar("train/loss", report.loss, report.step)
        self._writer.add_scalar("train/lr", report.lr, report.step)

    def epoch(self, report: EpochReport) -> None:
        """Add every metric."""
        self._writer.add_scalar("train/epoch_loss", report.loss, report.step)
        self._writer.add_scalar("train/images_per_second", report.images_per_second, report.step)
        for name, value in report.metrics.items():
            self._writer.add_scalar(f"eval/{name}", value, report.step)
        self._writer.flush()

    def stop(self) -> None:
        """Close the event file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
