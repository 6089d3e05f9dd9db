"""Checkpoints on disk: a pair of tensors (``.safetensors``) and metadata (``.json``).

Nothing is ever pickled. The JSON carries the SHA-256 of its tensor file, so a pair that
does not belong together is refused. This file knows neither models nor optimizers.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from convatlas.errors import CheckpointError
from convatlas.files import remove_file, remove_staged, replace_file, stage_file

__all__ = ["Checkpoint", "RunFolder", "read_checkpoint"]

_log = logging.getLogger(__name__)

_FORMAT = 1
_HASH = "tensors_sha256"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes:
        tensors: Name → tensor, on the CPU.
        metadata: JSON values, such as epoch, step, metrics and recipe.
    """

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]


class RunFolder:
    """The folder of one training run.

    ``best`` holds the weights with the highest headline, ``last`` everything that a run
    needs to go on, ``previous`` the ``last`` before it.

    Args:
        path: The folder; it is created with the first file.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._last_is_damaged = False

    @property
    def metrics(self) -> Path:
        """The JSON lines of every epoch and of some steps."""
        return self.path / "metrics.jsonl"

    def has_run(self) -> bool:
        """Tell whether a run left a checkpoint here."""
        return any((self.path / f"{name}.json").exists() for name in ("last", "previous"))

    def save_best(self, checkpoint: Checkpoint) -> None:
        """Replace ``best``.

        Raises:
            OutputError: The folder cannot be written.
        """
        staged = self._stage("best", checkpoint)
        self._publish(staged, "best")

    def save_last(self, checkpoint: Checkpoint) -> None:
        """Replace ``last``; the one before becomes ``previous``, unless it was found damaged.

        Raises:
            OutputError: The folder cannot be written; what was there before still is.
        """
        staged = self._stage("last", checkpoint)
        # At every moment one of the two metadata files has its tensors: without ``last.json``
        # it is ``previous.json``, and tensors without their metadata are left to be replaced.
        if self._pair("last")[1].exists() and not self._last_is_damaged:
            self._publish(self._pair("last"), "previous")
        self._publish(staged, "last")
        self._last_is_damaged = False

    def remove(self) -> None:
        """Remove checkpoints and figures, so that a run can begin anew here.

        Raises:
            OutputError: They cannot be removed.
        """
        names = [path for name in ("last", "previous", "best") for path in self._pair(name)[::-1]]
        for path in (*names, self.metrics):  # metadata first: tensors alone are no checkpoint
            remove_file(path)

    def remove_leftovers(self) -> None:
        """Remove half-written files of a process that was killed; no other may train here."""
        remove_staged(self.path)

    def load_best(self) -> Checkpoint:
        """Read ``best``.

        Raises:
            CheckpointError: There is none, or it is damaged.
        """
        tensors, metadata = self._pair("best")
        if not metadata.exists():
            raise CheckpointError(f"no best checkpoint in {self.path}: train a network there first")
        try:
            return _read(tensors, metadata)
        except CheckpointError as error:
            raise CheckpointError(
                f"{error}: evaluate last.safetensors in its place, or start anew"
            ) from error

    def load_last(self) -> Checkpoint:
        """Read ``last``; ``previous`` when a crash came between the two or ``last`` is damaged.

        In the latter case the log gets a warning: the steps since ``previous`` are lost.

        Raises:
            CheckpointError: There is none, or both are damaged.
        """
        (tensors, metadata), (old_tensors, old_metadata) = map(self._pair, ("last", "previous"))
        if not metadata.exists():
            if not old_metadata.exists():
                raise CheckpointError(f"no checkpoint in {self.path}: start it without resume")
            return _read(old_tensors, old_metadata)
        if not tensors.exists():  # a crash while ``last`` was becoming ``previous``
            with suppress(CheckpointError):
                return _read(old_tensors, metadata)
        try:
            return _read(tensors, metadata)
        except CheckpointError as error:
            return self._load_previous(error)

    def _load_previous(self, error: CheckpointError) -> Checkpoint:
        tensors, metadata = self._pair("previous")
        if not metadata.exists():
            raise CheckpointError(f"{error}, and there is none before it: start anew") from error
        try:
            previous = _read(tensors, metadata)
        except CheckpointError as other:
            raise CheckpointError(
                f"{error}, and neither can the one before it be used ({other}): start anew"
            ) from error
        self._last_is_damaged = True  # it must not take the place of the good one
        _log.warning("%s: going on from the checkpoint before it", error)
        return previous

    def _pair(self, name: str) -> tuple[Path, Path]:
        return self.path / f"{name}.safetensors", self.path / f"{name}.json"

    def _stage(self, name: str, checkpoint: Checkpoint) -> tuple[Path, Path]:
        tensors, metadata = self._pair(name)
        # Contiguous copies: safetensors takes no other memory format and no shared storage.
        plain = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in checkpoint.tensors.items()
        }
        content = save(plain)
        digest = hashlib.sha256(content).hexdigest()
        document = {"format": _FORMAT, **checkpoint.metadata, _HASH: digest}
        text = json.dumps(document, indent=1, ensure_ascii=False)
        staged = stage_file(tensors, lambda file: file.write_bytes(content))
        try:
            described = stage_file(metadata, lambda file: file.write_text(text, encoding="utf-8"))
        except BaseException:
            staged.unlink(missing_ok=True)  # it would fill a full disk for good
            raise
        return staged, described

    def _publish(self, staged: tuple[Path, Path], name: str) -> None:
        for source, target in zip(staged, self._pair(name), strict=True):
            if source.exists():
                replace_file(source, target)


def read_checkpoint(tensors: Path) -> Checkpoint:
    """Read the checkpoint whose tensors are in the file ``tensors``, its metadata beside it.

    Raises:
        CheckpointError: It is damaged, or its metadata is missing.
    """
    return _read(tensors, tensors.with_suffix(".json"))


def _read(tensors: Path, metadata: Path) -> Checkpoint:
    try:
        document = json.loads(metadata.read_text(encoding="utf-8"))
        expected = document.pop(_HASH)
        version = document.pop("format")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{metadata} is no checkpoint's metadata ({_reason(error)})"
        ) from error
    if version != _FORMAT:
        raise CheckpointError(f"{metadata} has format {version}, expected {_FORMAT}")
    try:
        if _sha256(tensors) != expected:
            raise CheckpointError(f"{tensors} does not match the SHA-256 in {metadata.name}")
        return Checkpoint(load_file(tensors), document)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{tensors} cannot be read: {_reason(error)}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return text.splitlines()[0] if text else type(error).__name__
