"""A trained classifier as two files: its weights, and what is needed to use them."""

from __future__ import annotations

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

__all__ = ["TrainedModel", "load_trained", "save_trained"]

_RECORD = "trained.json"
_WEIGHTS = "trained.safetensors"


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
    write_file(folder / _WEIGHTS, save(state))
    record = {
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
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"expected a finished run with {_RECORD} and {_WEIGHTS} in {folder}, got one that "
            f"cannot be read ({reason}): finish it with `convatlas run --resume {folder}`"
        ) from error
