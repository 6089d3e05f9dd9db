"""What a network said of a set of images, kept as files so that it can be judged again later.

The logits, labels and indices are tensors; the words for classes and images are JSON. It knows
neither networks nor how images are prepared.
"""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from convatlas.errors import CheckpointError, DataError
from convatlas.files import write_file, write_json
from convatlas.tasks.judged import PredictionSet
from convatlas.tasks.metrics import Predictions

__all__ = [
    "PREDICTIONS",
    "load_predictions",
    "require_comparable",
    "save_predictions",
]

PREDICTIONS = "predictions"

_TENSORS = ("logits", "labels", "indices")


def save_predictions(folder: Path, found: PredictionSet, stem: str = PREDICTIONS) -> None:
    """Write ``stem.safetensors`` and ``stem.json`` into ``folder``.

    Raises:
        OutputError: The folder cannot be written.
    """
    tensors = {name: getattr(found.predictions, name).contiguous() for name in _TENSORS}
    write_file(folder / f"{stem}.safetensors", save(tensors))
    words = {"name": found.name, "data": found.data, "origin": found.origin}
    lists = {"classes": list(found.classes), "images": list(found.images)}
    how = {"views": found.views, "weights_sha256": found.weights_sha256}
    write_json(folder / f"{stem}.json", {**words, **how, **lists})


def load_predictions(folder: Path, stem: str = PREDICTIONS) -> PredictionSet:
    """Read what :func:`save_predictions` wrote.

    Raises:
        CheckpointError: No such files, or damaged ones.
    """
    try:
        record = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        tensors = load_file(folder / f"{stem}.safetensors")
        found = PredictionSet(
            name=record["name"],
            predictions=Predictions(*(tensors[name] for name in _TENSORS)),
            classes=tuple(record["classes"]),
            images=tuple(record["images"]),
            data=record["data"],
            origin=record["origin"],
            views=record["views"],
            weights_sha256=record["weights_sha256"],
        )
        _require_whole(found, *(tensors[name] for name in _TENSORS))
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(
            f"expected saved predictions in {folder}, got none that can be read ({reason}): "
            "evaluate the run without --saved"
        ) from error
    return found


def require_comparable(a: PredictionSet, b: PredictionSet) -> None:
    """Raise unless both tell the same classes apart on the same images.

    Raises:
        DataError: They do not; the message names the first difference.
    """
    if a.classes != b.classes:
        odd = sorted({*a.classes} ^ {*b.classes})
        what = f"{odd[0]!r} is a class of only one of them" if odd else "they are in another order"
        raise DataError(
            f"expected runs with the same classes, got {a.name} with {len(a.classes)} and "
            f"{b.name} with {len(b.classes)} ({what}): compare runs on the same data"
        )
    if a.images != b.images or a.predictions.labels.tolist() != b.predictions.labels.tolist():
        shared = len({*a.images} & {*b.images})
        raise DataError(
            f"expected runs judged on the same images, got {a.name} on {len(a.images)} and "
            f"{b.name} on {len(b.images)} of which {shared} are shared: compare runs with the "
            "same data and seed, or pass --no-compare"
        )


def _require_whole(found: PredictionSet, logits: Tensor, labels: Tensor, indices: Tensor) -> None:
    count, classes = len(found.images), len(found.classes)
    shapes = [tuple(tensor.shape) for tensor in (logits, labels, indices)]
    if shapes != [(count, classes), (count,), (count,)]:
        raise ValueError(f"{count} images and {classes} classes, but tensors of {shapes}")
