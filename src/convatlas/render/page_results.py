"""The report's sections about the predictions: what is mixed up, and where the network looked.

Each function turns a run's files into plain values for the template of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from convatlas.render.figures import MOST_CLASSES_NAMED, confusion_matrix
from convatlas.render.overlay import READABLE_SIDE, picture_data_uri
from convatlas.render.page_summary import confusions
from convatlas.render.run_folder import FinishedRun

__all__ = ["evaluation", "mistakes", "right"]

_MOST_PAIRS = 8
_LARGEST_SIDE = 320  # twice the size on the page, for sharp screens


def evaluation(run: FinishedRun) -> dict[str, Any] | None:
    """Return the confusion matrix, its largest entries, and the scores per class.

    Of more than 50 classes, the matrix shows the 50 with the most mistakes.
    """
    found = run.evaluation
    if found is None:
        return None
    classes, matrix = run.classes, found["confusion"]
    shown = (
        _most_confused(matrix) if len(classes) > MOST_CLASSES_NAMED else list(range(len(classes)))
    )
    part = [[matrix[row][column] for column in shown] for row in shown]
    return {
        "found": found,
        "kept_by_these": (run.metrics or {}).get("best_epoch") is not None,
        "pairs": confusions(run)[:_MOST_PAIRS],
        "rows": [
            {"name": name, **scores} for name, scores in zip(classes, found["classes"], strict=True)
        ],
        "shown": len(shown),
        "classes": len(classes),
        "figure": confusion_matrix(part, [classes[place] for place in shown]),
    }


def mistakes(run: FinishedRun) -> dict[str, Any] | None:
    """Return the pictures of the most confident mistakes."""
    return _pictures(run, "mistake")


def right(run: FinishedRun) -> dict[str, Any] | None:
    """Return the pictures of right answers."""
    return _pictures(run, "right")


def _most_confused(matrix: Sequence[Sequence[int]]) -> list[int]:
    wrong = np.array(matrix)
    np.fill_diagonal(wrong, 0)
    involved = wrong.sum(axis=0) + wrong.sum(axis=1)
    return sorted(np.argsort(-involved, kind="stable")[:MOST_CLASSES_NAMED].tolist())


def _pictures(run: FinishedRun, kind: str) -> dict[str, Any] | None:
    if run.explain is None:
        return None
    chosen = [each for each in run.explain["pictures"] if each["kind"] == kind]
    if not chosen:
        return None
    return {
        "stage": run.explain.get("stage"),
        "pictures": [_picture(run.folder, each) for each in chosen],
    }


def _picture(folder: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    image, overlay = (_embedded(folder / values[key]) for key in ("image", "overlay"))
    return {**values, "source": values.get("source") or "", "image": image, "overlay": overlay}


def _embedded(path: Path) -> dict[str, Any] | None:
    """Return a picture as a data address and whether its pixels are blocks; None if unreadable."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
    except OSError:
        return None
    picture.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
    pixels = np.array(picture).reshape(picture.height, picture.width, -1)
    address = picture_data_uri(pixels)
    scale = max(1, -(-READABLE_SIDE // max(picture.size)))
    width, height = picture.width * scale, picture.height * scale
    return {"address": address, "blocks": scale > 1, "width": width, "height": height}
