"""Count torchvision's networks and write the counts next to those that torchvision publishes.

Classification, segmentation and video networks, at the size that torchvision states for their
weights; nothing is downloaded, nothing is run. Run in the environment of the oracles:

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python \\
        tools/oracles/write_strangers.py

It ends with an error when a count is further from the published one than its rounding.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

from operator_schemas import declare_operator_schemas
from torch import nn

from convatlas.analysis.cost import analyze

TABLE = Path(__file__).resolve().parents[2] / "tests" / "fixtures" / "strangers.csv"
FIELDS = (
    "network",
    "input_size",
    "published_params",
    "params",
    "published_gmacs",
    "macs",
    "is_lower_bound",
)

# They take several images, or their cost depends on what is in the image.
SKIPPED = ("detection", "optical_flow", "quantization")

OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False, "aux_logits": False},
    "inception_v3": {"init_weights": False},
    "vit_h_14": {"image_size": 518},
}
FRAMES = 16  # of a clip
ROUNDING = 0.0005 + 1e-9  # half of the last digit that is published


def undrawn() -> contextlib.ExitStack:
    """Keep torch from drawing weights, which no count reads."""
    stack = contextlib.ExitStack()
    for name in dir(nn.init):
        if name.endswith("_") and not name.startswith("_"):
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
    return stack


def names() -> list[str]:
    """Return torchvision's networks that take one image or clip."""
    models = import_module("torchvision.models")
    found = []
    for name in models.list_models():
        room = models.get_model_builder(name).__module__
        if not any(skipped in room for skipped in SKIPPED):
            found.append(name)
    return found


def row(name: str) -> dict[str, Any]:
    """Return one network's row of the table."""
    models = import_module("torchvision.models")
    weights = next(iter(models.get_model_weights(name)))
    options: dict[str, Any] = dict(OPTIONS.get(name, {}))
    if "segmentation" in type(weights).__module__:
        options["weights_backbone"] = None
        if not name.startswith("lraspp"):
            options["aux_loss"] = True  # published with the auxiliary head
    with undrawn():
        model = models.get_model(name, weights=None, **options).eval()
    size = side(weights)
    shape = (3, FRAMES, *size) if "video" in type(weights).__module__ else (3, *size)
    report = analyze(model, shape)
    values = (
        name,
        "x".join(map(str, shape)),
        weights.meta["num_params"],
        report.params,
        weights.meta["_ops"],
        report.macs,
        report.is_lower_bound,
    )
    return dict(zip(FIELDS, values, strict=True))


def side(weights: Any) -> tuple[int, int]:
    """Return height and width of the images that the weights' preprocessing makes."""
    settings = weights.transforms.keywords
    size = settings.get("crop_size") or settings["resize_size"]
    sides = (size,) if isinstance(size, int) else tuple(size)
    return (sides[0], sides[-1])


def main() -> int:
    """Write the table and say how far the counts are from the published ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--file", type=Path, default=TABLE)
    arguments = parser.parse_args()
    declare_operator_schemas()
    rows = [row(name) for name in names()]
    with arguments.file.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    wrong = [r for r in rows if abs(r["macs"] / 1e9 - r["published_gmacs"]) > ROUNDING]
    for each in wrong:
        print(each)
    print(f"{len(rows)} networks, {len(wrong)} further than the rounding")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
