"""The report's sections about the images and the training.

Each function turns a run's files into plain values for the template of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from convatlas.render.figures import MOST_CLASSES_NAMED, class_balance, learning_curves
from convatlas.render.run_folder import FinishedRun
from convatlas.train.reports import training_pace

__all__ = ["dataset", "preparation", "scratch", "training"]

_MEASURED = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "lr")


def dataset(run: FinishedRun) -> dict[str, Any] | None:
    """Return counts per class, sizes, and how an image is prepared in words."""
    if run.data is None:
        return None
    classes = run.classes
    counts = {part: list(values) for part, values in run.data["counts"].items()}
    rows = [
        {"name": name, "counts": [values[place] for values in counts.values()]}
        for place, name in enumerate(classes)
    ]
    totals = [sum(row["counts"]) for row in rows]
    return {
        "name": run.data["name"],
        "origin": run.data.get("origin"),
        "parts": {part: sum(values) for part, values in counts.items()},
        "images": sum(totals),
        "channels": run.data.get("channels"),
        "sizes": run.data.get("image_size"),
        "rows": rows,
        "fewest": rows[totals.index(min(totals))]["name"],
        "fewest_images": min(totals),
        "most": rows[totals.index(max(totals))]["name"],
        "most_images": max(totals),
        "preprocessing": run.data.get("preprocessing"),
        "preparation": preparation(run.data["preprocessing"])
        if run.data.get("preprocessing")
        else [],
        "sorted": len(classes) > MOST_CLASSES_NAMED,
        "figure": class_balance(classes, counts),
    }


def preparation(record: Mapping[str, Any]) -> list[str]:
    """Return the steps from an image to the network's input, one sentence each."""
    size, filter_name = record["input_size"], record["interpolation"]
    mode, grey = record["resize_mode"], record["channels"] == 1
    if mode == "stretch":
        resize = [f"resize the whole image to {size} × {size} px ({filter_name})"]
    elif mode == "crop_padding":
        resize = [
            f"crop the centre square of {size} / ({size} + 32) of the shorter side",
            f"resize it to {size} × {size} px ({filter_name})",
        ]
    else:
        shorter = int(size / record["crop_fraction"] + 1e-6)
        resize = [
            f"resize the shorter side to {shorter} px ({filter_name})",
            f"crop the centre, {size} × {size} px",
        ]
    mean, std = (", ".join(f"{value:.4g}" for value in record[key]) for key in ("mean", "std"))
    last = f"divide by 255, subtract the mean ({mean}), divide by the deviation ({std})"
    return [f"convert to {'grey' if grey else 'RGB'}", *resize, last]


def training(run: FinishedRun) -> dict[str, Any] | None:
    """Return the learning curves and the epochs behind them."""
    if not run.epochs:
        return None
    seconds, images_per_second = training_pace(run.epochs)
    return {
        "figures": learning_curves(run.epochs, run.best_epoch),
        "epochs": run.epochs,
        "columns": [key for key in _MEASURED if any(epoch.get(key) for epoch in run.epochs)],
        "phases": _phases(run),
        "best_epoch": run.best_epoch,
        "images_per_second": images_per_second,
        "seconds": seconds,
    }


def scratch(run: FinishedRun) -> dict[str, Any] | None:
    """Return this network beside the same one trained from random weights, if that was done."""
    if run.metrics is None or not run.metrics.get("scratch"):
        return None
    ours, other = run.metrics["evaluation"], run.metrics["scratch"]
    rows = [("This run", ours), ("The same network from scratch", other)]
    return {
        "rows": [
            {
                "name": name,
                "share": each["accuracy"],
                "interval": each["accuracy_interval"],
                "images": each.get("images", ours["images"]),
                "loss": each.get("loss_nats"),
            }
            for name, each in rows
        ],
        "points": (ours["accuracy"] - other["accuracy"]) * 100,
        "apart": ours["accuracy_interval"][0] > other["accuracy_interval"][1]
        or other["accuracy_interval"][0] > ours["accuracy_interval"][1],
    }


def _phases(run: FinishedRun) -> list[tuple[str, int]]:
    """Return the phases in order, each with its number of epochs."""
    phases: dict[str, int] = {}
    for epoch in run.epochs:
        if epoch.get("phase"):
            phases[str(epoch["phase"])] = phases.get(str(epoch["phase"]), 0) + 1
    return list(phases.items())
