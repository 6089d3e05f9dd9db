"""A trained classifier as two files: its weights, and what is needed to use them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import CheckpointError, ConvAtlasError
from convatlas.files import write_file, write_json
from convatlas.models.anatomy import ConvNet
from convatlas.models.pretrained.reading import read_state
from convatlas.models.registry import create_model
from convatlas.pipeline.settings import how_to_finish

__all__ = ["TrainedModel", "load_trained", "save_trained"]

_RECORD = "trained.json"
_WEIGHTS = "trained.safetensors"
_HASH = "weights_sha256"


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A network with what its logits mean and how its images are prepared.

    Attributes:
        name: Name for ``create_model``.
        options: Its options: ``num_classes``, ``in_channels``, ``stem``.
        model: The network, in evaluation mode.
        classes: Class names in the order of the logits.
        preprocessing: From an image to the network's input.
    """

    name: str
    options: dict[str, Any]
    model: ConvNet
    classes: tuple[str, ...]
    preprocessing: Preprocessing


def save_trained(folder: Path, trained: TrainedModel) -> None:
    """Write ``trained.safetensors`` and ``trained.json``.

    Raises:
        OutputError: The folder cannot be written.
    """
    state = {k: v.detach().cpu().contiguous() for k, v in trained.model.state_dict().items()}
    content = save(state)
    write_file(folder / _WEIGHTS, content)
    record = {
        _HASH: hashlib.sha256(content).hexdigest(),
        "name": trained.name,
        "options": trained.options,
        "classes": list(trained.classes),
        "preprocessing": trained.preprocessing.to_dict(),
    }
    write_json(folder / _RECORD, record)


def load_trained(folder: Path) -> TrainedModel:
    """Read what :func:`save_trained` wrote.

    Raises:
        CheckpointError: The folder holds no trained model, or a damaged one.
    """
    try:
        record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
        _require_unharmed(folder / _WEIGHTS, record.get(_HASH))
        with torch.random.fork_rng():
            model = create_model(record["name"], **record["options"])
        model.load_state_dict(read_state(folder / _WEIGHTS))
        return TrainedModel(
            record["name"],
            record["options"],
            model.eval(),
            tuple(record["classes"]),
            Preprocessing.from_dict(record["preprocessing"]),
        )
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, ConvAtlasError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).splitlines()[0]
        raise CheckpointError(
            f"expected a finished run with {_RECORD} and {_WEIGHTS} in {folder}, got one that "
            f"cannot be read ({reason}): {how_to_finish(folder)}"
        ) from error


def _require_unharmed(weights: Path, expected: str | None) -> None:
    if expected is None:  # a run of before the hash was recorded
        return
    with weights.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != expected:
            raise CheckpointError(f"{weights.name} does not match the SHA-256 in {_RECORD}")
