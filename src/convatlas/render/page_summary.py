"""The first screen of the report: which network, how good, how big, how fast, what to trust.

Turns a run's files into plain values for ``summary.html.j2``; formats nothing that is a number.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from convatlas.errors import UnknownNameError
from convatlas.models.catalogue import find_entry
from convatlas.render.page_trust import baseline, trust
from convatlas.render.run_folder import FinishedRun

__all__ = ["confusions", "paper", "summary"]

_MOST_PAIRS = 3


def summary(run: FinishedRun) -> dict[str, Any]:
    """Return the values of the first screen; a part without its file is None."""
    return {
        "network": _network(run),
        "accuracy": _accuracy(run),
        "size": _size(run),
        "speed": _speed(run),
        "confusion": _worst_confusions(run),
        "trust": trust(run),
    }


def confusions(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the pairs of classes that are mixed up, the most images first."""
    evaluation = run.evaluation
    if evaluation is None:
        return []
    cells, classes, support = evaluation["confusion_cells"], run.classes, Counter[int]()
    for true, _, images in cells:
        support[true] += images
    found = [
        {
            "true": classes[true],
            "predicted": classes[predicted],
            "images": images,
            "share": images / support[true],
            "support": support[true],
        }
        for true, predicted, images in cells
        if true != predicted
    ]
    return sorted(found, key=lambda pair: (-pair["images"], -pair["share"]))


def paper(name: str) -> str | None:
    """Return who published the network and when, or None when the catalogue has no such one."""
    try:
        family = find_entry(name).family
    except UnknownNameError:
        return None
    first, *others = family.authors.split(", ")
    return f"{first}{' et al.' if others else ''}, {family.year}"


def _network(run: FinishedRun) -> dict[str, Any] | None:
    if run.choice is None:
        return None
    chosen = run.choice["chosen"]
    return {
        "name": chosen["name"],
        "paper": paper(chosen["name"]),
        "input_size": run.choice.get("input_size"),
        "weights": chosen.get("weights"),
        "classes": len(run.classes),
    }


def _accuracy(run: FinishedRun) -> dict[str, Any] | None:
    evaluation, guess = run.evaluation, baseline(run)
    if evaluation is None or guess is None:
        return None
    return {
        "share": evaluation["accuracy"],
        "interval": tuple(evaluation["accuracy_interval"]),
        "images": evaluation["images"],
        "right": sum(
            n for true, predicted, n in evaluation["confusion_cells"] if true == predicted
        ),
        "commonest": guess[0],
        "baseline": guess[1],
    }


def _size(run: FinishedRun) -> dict[str, Any] | None:
    if run.cost is None:
        return None
    return {
        "params": run.cost["params"],
        "macs": run.cost["macs"],
        "is_lower_bound": run.cost.get("is_lower_bound", False),
        "file_bytes": None if run.parity is None else run.parity.get("file_bytes"),
        "int8_bytes": (_accepted(run) or {}).get("bytes"),
    }


def _speed(run: FinishedRun) -> dict[str, Any] | None:
    if run.parity is None:
        return None
    return {**run.parity, "int8": _accepted(run)}


def _accepted(run: FinishedRun) -> dict[str, Any] | None:
    """Return the record of the int8 file, if there is one that may be shipped."""
    record = (run.parity or {}).get("int8")
    return record if record and record["status"] == "accepted" else None


def _worst_confusions(run: FinishedRun) -> dict[str, Any] | None:
    if run.evaluation is None:
        return None
    pairs = confusions(run)
    return {"worst": pairs[:_MOST_PAIRS], "mistakes": sum(pair["images"] for pair in pairs)}
