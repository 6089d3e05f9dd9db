"""The report's sections about the predictions: what is mixed up, and where the network looked.

Each function turns a run's files into plain values for the template of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.render.evaluation_figures import reliability_plot
from convatlas.render.figures import MOST_CLASSES_NAMED, confusion_matrix
from convatlas.render.overlay import READABLE_SIDE, picture_data_uri
from convatlas.render.page_summary import confusions
from convatlas.render.page_trust import chance_error, mean_confidence
from convatlas.render.run_folder import FinishedRun

__all__ = ["calibration", "evaluation", "mistakes", "right", "sight"]

_MOST_PAIRS = 8
_LARGEST_SIDE = 320  # twice the size on the page, for sharp screens
_LARGEST_SHEET = 720


def evaluation(run: FinishedRun) -> dict[str, Any] | None:
    """Return the confusion matrix, its largest entries, and the scores per class.

    Of more than 50 classes, the matrix shows the 50 with the most mistakes.
    """
    found = run.evaluation
    if found is None:
        return None
    classes = run.classes
    matrix = np.zeros((len(classes), len(classes)), dtype=np.int64)
    for true, predicted, images in found["confusion_cells"]:
        matrix[true, predicted] = images
    shown = (
        _most_confused(matrix) if len(classes) > MOST_CLASSES_NAMED else list(range(len(classes)))
    )
    part = matrix[np.ix_(shown, shown)].tolist()
    return {
        "found": found,
        "kept_by_these": run.keeps_best,
        "pairs": confusions(run)[:_MOST_PAIRS],
        "rows": [
            {"name": name, **scores} for name, scores in zip(classes, found["classes"], strict=True)
        ],
        "shown": len(shown),
        "classes": len(classes),
        "figure": confusion_matrix(part, [classes[place] for place in shown]),
    }


def calibration(run: FinishedRun) -> dict[str, Any] | None:
    """Return accuracy over confidence, and what one temperature would make of it."""
    from convatlas.tasks.calibration import ReliabilityBin

    found = run.calibration
    if found is None or run.evaluation is None:
        return None
    scaling = (run.metrics or {}).get("temperature_scaling")
    scaled = scaling["calibration"] if scaling else None
    tables = [
        tuple(ReliabilityBin(**each) for each in record["bins"]) if record else None
        for record in (found, scaled)
    ]
    return {
        "error": found["expected_calibration_error"],
        "interval": ((run.metrics or {}).get("intervals") or {}).get("expected_calibration_error"),
        "by_chance": chance_error(found["bins"]),
        "confidence": mean_confidence(found["bins"]),
        "accuracy": run.evaluation["accuracy"],
        "images": run.evaluation["images"],
        "scaled": scaled,
        "scaled_error": scaled["expected_calibration_error"] if scaled else None,
        "temperature": scaling["temperature"] if scaling else None,
        "bins": [each for each in found["bins"] if each["count"]],
        "figure": reliability_plot(tables[0] or (), tables[1]),
    }


def mistakes(run: FinishedRun) -> dict[str, Any] | None:
    """Return the pictures of the most confident mistakes."""
    return _pictures(run, "mistake")


def right(run: FinishedRun) -> dict[str, Any] | None:
    """Return the pictures of right answers."""
    return _pictures(run, "right")


def sight(run: FinishedRun) -> dict[str, Any] | None:
    """Return the first layer's filters and the receptive fields on a photo, as far as drawn."""
    explain = run.explain or {}
    found = {name: explain[name] for name in ("filters", "field") if explain.get(name)}
    if not found:
        return None
    pictures = {
        name: {**values, "picture": _embedded(run.folder / values["image"], _LARGEST_SHEET)}
        for name, values in found.items()
    }
    if field := pictures.get("field"):
        pairs = zip(field["theoretical_size_px"] or (), field["input_size_px"], strict=False)
        field["covers_all"] = all(ours >= whole for ours, whole in pairs)
    return {"filters": None, "field": None, **pictures}


def _most_confused(matrix: NDArray[np.int64]) -> list[int]:
    wrong = matrix.copy()
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


def _embedded(path: Path, largest: int = _LARGEST_SIDE) -> dict[str, Any] | None:
    """Return a picture as a data address and whether its pixels are blocks; None if unreadable."""
    try:
        with Image.open(path) as opened:
            picture = opened.convert("L" if opened.mode in ("1", "L", "LA") else "RGB")
    except OSError:
        return None
    picture.thumbnail((largest, largest), Image.Resampling.LANCZOS)
    pixels = np.array(picture).reshape(picture.height, picture.width, -1)
    address = picture_data_uri(pixels)
    scale = max(1, -(-READABLE_SIDE // max(picture.size)))
    width, height = picture.width * scale, picture.height * scale
    return {"address": address, "blocks": scale > 1, "width": width, "height": height}
