"""A weight file becomes tensors, and nothing in it is executed."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from convatlas.errors import WeightsError
from convatlas.models.pretrained.alignment import bare_state

__all__ = ["read_state"]

_SAFE = ".safetensors"
_PICKLED = (".pth", ".pt", ".bin")


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors``, ``.pth``, ``.pt`` or ``.bin`` file.

    No pickled code is run. A checkpoint of a training run gives the state dict in it.

    Raises:
        WeightsError: Not such a file, or truncated.
    """
    suffix = path.suffix.lower()
    if suffix not in (_SAFE, *_PICKLED):
        raise WeightsError(
            f"expected a file that ends in {_SAFE}, {', '.join(_PICKLED)}, got {path}: "
            "save the state dict as one of these"
        )
    try:
        if suffix == _SAFE:
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        # torch's own words on the refused objects advise to trust the file.
        pickled = isinstance(error, pickle.UnpicklingError)
        reason = "damaged, or holds more than tensors" if pickled else _first_sentence(error)
        raise WeightsError(
            f"expected a state dict in {path}, got a file that cannot be read ({reason}): "
            "download it again, or save model.state_dict() alone"
        ) from error
    if not isinstance(state, dict):
        raise WeightsError(
            f"expected a state dict in {path}, got {type(state).__name__}: "
            "save model.state_dict() alone"
        )
    try:
        return bare_state(state)[0]
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error


def _first_sentence(error: Exception) -> str:
    """Return what the error says first, or its kind if it says nothing."""
    return (str(error) or type(error).__name__).splitlines()[0].partition(". ")[0]
