"""Where the numbers of a run go: JSON lines and TensorBoard's event files.

Both listen to the loop as observers; neither knows tensors or tasks. Both hand every line to
the operating system at once, so that a process that is killed loses none.
"""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from convatlas.errors import CheckpointError, OutputError
from convatlas.files import write_text
from convatlas.train.reports import EpochReport, Plan, StepReport

__all__ = ["MetricsFile", "TensorBoard", "is_training"]

_LOCK_TRIES = 4
_LOCK_PAUSE_SECONDS = 0.05


class MetricsFile:
    """JSON lines: one per epoch, and one per ``every`` steps.

    A resumed run first takes back the lines that the stopped one wrote after its
    checkpoint, so that no step appears twice. While it is open the file is locked: another
    process cannot train in the same folder, and :func:`is_training` can tell. The lock ends
    with the process, however that ends.

    Args:
        path: The file; its folder is created.
        every: Steps per line, counted over the whole run.
    """

    def __init__(self, path: Path, *, every: int = 50) -> None:
        self._path = path
        self._every = every
        self._file: TextIO | None = None

    def start(self, plan: Plan) -> None:
        """Open the file behind the lines that still hold.

        Raises:
            CheckpointError: Another process trains in this folder.
            OutputError: The file cannot be written.
        """
        with _writing(self._path):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as before:
                _lock(before, self._path)
                write_text(self._path, "".join(_lines_before(self._path, plan)))
                self._file = self._path.open("a", encoding="utf-8")
                _lock(self._file, self._path)

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
            with suppress(OSError):  # a full disk, which was told when the line was written
                self._file.close()
            self._file = None

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            with _writing(self._path):
                self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
                self._file.flush()


def is_training(path: Path) -> bool | None:
    """Tell whether a process of this machine has a metrics file open for training.

    None where nobody can tell: no such file, or a system without such locks.
    """
    try:
        import fcntl

        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return None
    return False


class TensorBoard:
    """Loss and learning rate per step, and every metric per epoch.

    The records are TensorBoard's, written here without its own writer: that one holds them
    back for two minutes, and loads TensorFlow where that is installed.

    Args:
        folder: Where the event files go.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder
        self._file: BinaryIO | None = None

    def start(self, plan: Plan) -> None:
        """Open an event file; steps after a resumed checkpoint are purged.

        Raises:
            OutputError: The folder cannot be written.
        """
        from tensorboard.compat.proto.event_pb2 import SessionLog

        with _writing(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._open()
        self._write(file_version="brain.Event:2")
        if plan.steps_done:
            begun = SessionLog(status=SessionLog.START)
            self._write(step=plan.steps_done + 1, session_log=begun)

    def step(self, report: StepReport) -> None:
        """Add the loss and the learning rate."""
        self._write_scalars(report.step, {"train/loss": report.loss, "train/lr": report.lr})

    def epoch(self, report: EpochReport) -> None:
        """Add every metric."""
        self._write_scalars(
            report.step,
            {
                "train/epoch_loss": report.loss,
                "train/images_per_second": report.images_per_second,
                **{f"eval/{name}": value for name, value in report.metrics.items()},
            },
        )

    def stop(self) -> None:
        """Close the event file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        """Open a file that nobody has; TensorBoard reads them in the order of their names."""
        name = f"events.out.tfevents.{time.time_ns() / 1e9:020.9f}.{socket.gethostname()}"
        self._path = self._folder / f"{name}.{os.getpid()}"
        self._file = self._path.open("xb", buffering=0)

    def _write_scalars(self, step: int, values: Mapping[str, float]) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        self._write(step=step, summary=Summary(value=scalars))

    def _write(self, **fields: Any) -> None:
        """Write one event, framed as TFRecord: length, its checksum, the event, its checksum."""
        from tensorboard.compat.proto.event_pb2 import Event
        from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

        event = Event(wall_time=time.time(), **fields).SerializeToString()
        length = struct.pack("<Q", len(event))
        sums = [struct.pack("<I", masked_crc32c(part)) for part in (length, event)]
        if self._file is not None:
            with _writing(self._path):
                self._file.write(length + sums[0] + event + sums[1])


def _lines_before(path: Path, plan: Plan) -> Iterator[str]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            done = plan.epochs_done if entry["kind"] == "epoch" else plan.steps_done
            holds = entry[entry["kind"]] <= done
        except (ValueError, KeyError, TypeError):  # half a line of a process that was killed
            continue
        if holds:
            yield line + "\n"


def _lock(file: TextIO, path: Path) -> None:
    """Lock an open file against other processes; where a system cannot, nothing happens."""
    try:
        import fcntl
    except ImportError:  # Windows
        return
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # for a moment, when somebody only asks whether it is locked
            time.sleep(_LOCK_PAUSE_SECONDS)
        except OSError:  # a file system without locks
            return
        else:
            return
    raise CheckpointError(
        f"another process is training in {path.parent}: wait for it, or choose another folder"
    )


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; make room or choose another folder, "
            "and resume"
        ) from error
