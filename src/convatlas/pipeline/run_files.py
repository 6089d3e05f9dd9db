"""Files of a run folder, whatever stands in them: values of the expected kind, or none.

It knows the shapes of the files and not what a run is.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = [
    "epochs_of",
    "interval_of",
    "number_of",
    "numbers_of",
    "part_of",
    "read_epochs",
    "read_object",
    "read_recipe",
    "text_of",
    "whole_of",
]


def read_recipe(folder: Path, last: Any, problems: list[str]) -> dict[str, Any]:
    """Return the effective recipe: a checkpoint's names open values too, a file may not."""
    kept = part_of(last, "recipe") or read_object(folder / "recipe.json", problems)
    if kept:
        return kept if isinstance(kept, dict) else {}
    return read_object(folder / "recipe.toml", problems, tomllib.loads)


def read_object(
    path: Path, problems: list[str], parse: Callable[[str], Any] = json.loads
) -> dict[str, Any]:
    """Return the object in a file; empty without one, with the reason added to ``problems``."""
    try:
        value = parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
        return {}
    except (ValueError, RecursionError):  # not UTF-8, or not JSON or TOML
        problems.append(f"{path.name} is damaged")
        return {}
    if not isinstance(value, dict):
        problems.append(f"{path.name} holds no JSON object")
        return {}
    return value


def read_epochs(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """Return the epochs; the last line may be half written, and no other one."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return []
    except OSError as error:
        problems.append(f"{path.name} cannot be read: {error.strerror or error}")
        return []
    entries: list[Any] = []
    damaged = 0
    for number, line in enumerate(lines, start=1):
        try:
            entries.append(json.loads(line))
        except (ValueError, RecursionError):
            damaged += number < len(lines)
    if damaged:
        problems.append(f"{path.name} has {damaged} damaged line{'s' if damaged > 1 else ''}")
    return epochs_of([entry for entry in entries if part_of(entry, "kind") == "epoch"])


def epochs_of(entries: Any) -> list[dict[str, Any]]:
    """Return the loop's reports by our names, in order; the later one of the same epoch."""
    epochs = {}
    for entry in entries if isinstance(entries, list) else []:
        number = whole_of(part_of(entry, "epoch"))
        if number is None:
            continue
        accuracy = number_of(part_of(entry, "metrics", "accuracy"))
        epochs[number] = {
            "epoch": number,
            "train_loss": number_of(part_of(entry, "loss")),
            "validation_loss": number_of(part_of(entry, "metrics", "loss_nats")),
            "accuracy": number_of(part_of(entry, "headline")) if accuracy is None else accuracy,
            "lr": number_of(part_of(entry, "lr")),
            "images_per_second": number_of(part_of(entry, "images_per_second")),
            "seconds": number_of(part_of(entry, "seconds")),
            "metrics": numbers_of(part_of(entry, "metrics")),
        }
    return [epochs[number] for number in sorted(epochs)]


def part_of(value: Any, *path: str) -> Any:
    """Return what stands at ``path`` in nested mappings; None where there is nothing."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def number_of(value: Any) -> float | None:
    """Return a finite number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def numbers_of(value: Any) -> dict[str, float]:
    """Return those items of a mapping that are numbers; none of anything else."""
    items = value.items() if isinstance(value, dict) else ()
    numbers = ((key, number_of(each)) for key, each in items)
    return {key: number for key, number in numbers if number is not None}


def whole_of(value: Any) -> int | None:
    """Return a whole number; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def text_of(value: Any) -> str | None:
    """Return a text with a letter or more; None for anything else."""
    return value if isinstance(value, str) and value else None


def interval_of(value: Any) -> tuple[float, float] | None:
    """Return a pair of numbers; None for anything else."""
    bounds = [number_of(each) for each in value] if isinstance(value, list) else []
    match bounds:
        case [float() as low, float() as high]:
            return low, high
        case _:
            return None
