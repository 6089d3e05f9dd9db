"""Write where torchvision's and timm's weights are: convatlas/models/facts/weights.csv.

Runs in the environment that ``oracles/build_environment.py`` makes, downloads nothing, and
keeps the rows of other sources. A library's network is listed where an oracle fixture exists,
because only there do the tests hold our logits against its own.
"""

from __future__ import annotations

import csv
import math
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from itertools import product
from pathlib import Path
from runpy import run_path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
FACTS = REPOSITORY / "src" / "convatlas" / "models" / "facts"
FIXTURES = REPOSITORY / "tests" / "fixtures" / "oracles"

# The very map that the tests compare logits by.
OURS: dict[str, str] = run_path(str(REPOSITORY / "tests" / "oracles" / "names.py"))["OURS"]

COLUMNS = (
    *("model", "source", "package", "file", "sha256", "licence"),
    *("input_size", "resize_size", "resize_mode", "interpolation", "mean", "std"),
    *("top1", "top5"),
)
WRITTEN = ("torchvision", "timm")
NOT_STATED = "not stated"

# torchvision's names for SPDX's, by the address in ``meta["license"]``; its README says the same.
SWAG = {"https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "CC-BY-NC-4.0"}
SPDX = {
    "apache-2.0": "Apache-2.0",
    "bsd-3-clause": "BSD-3-Clause",
    "cc-by-nc-4.0": "CC-BY-NC-4.0",
    "mit": "MIT",
}

# With weights, torchvision builds these with ``transform_input``, which undoes ImageNet's mean
# and deviation and takes 0.5 for both. Ours have no such layer: the preprocessing says it.
TRANSFORMED = ("googlenet", "inception_v3")
HALF = (0.5, 0.5, 0.5)

Row = dict[str, Any]


def torchvision_rows(foreign: str) -> Iterator[Row]:
    """Yield the weights of one network of torchvision, the default ones first."""
    weights = import_module("torchvision.models").get_model_weights(foreign)
    for one in sorted(weights, key=lambda each: each is not weights.DEFAULT):
        metrics = one.meta["_metrics"]["ImageNet-1K"]
        if not math.isfinite(metrics["acc@1"]):
            continue  # a backbone without its classifier
        transforms = one.transforms()
        half = foreign in TRANSFORMED
        licence = one.meta.get("license")
        yield {
            "source": "torchvision" if one is weights.DEFAULT else f"torchvision:{one.name}",
            "file": one.url,
            "sha256": digest_prefix(one.url),
            "licence": SWAG[licence] if licence else NOT_STATED,
            "input_size": transforms.crop_size[0],
            "resize_size": transforms.resize_size[0],
            "resize_mode": "crop",
            "interpolation": transforms.interpolation.value,
            "mean": HALF if half else transforms.mean,
            "std": HALF if half else transforms.std,
            "top1": metrics["acc@1"],
            "top5": metrics["acc@5"],
        }


def digest_prefix(url: str) -> str:
    """Return the first digits of the SHA-256 that a file name of torchvision carries."""
    found = re.search(r"-([0-9a-f]{8,})\.pth$", url)
    if found is None:
        raise ValueError(f"expected a digest in {url}, got none: look what torchvision does now")
    return found[1]


def timm_rows(foreign: str) -> Iterator[Row]:
    """Yield the ImageNet-1k weights of one network of timm, the default ones first."""
    timm = import_module("timm")
    default = timm.get_pretrained_cfg(foreign)
    names = timm.list_pretrained(f"{foreign}.*")
    for config in sorted(map(timm.get_pretrained_cfg, names), key=lambda c: c.tag != default.tag):
        if config.num_classes != 1000 or config.input_size[0] != 3:
            continue
        squashed = config.crop_mode == "squash"
        if squashed and config.crop_pct != 1:
            continue  # a crop of a squashed image, which our preprocessing has no word for
        size = config.input_size[1]
        yield {
            "source": "timm" if config.tag == default.tag else f"timm:{config.tag}",
            "file": f"hub:{config.hf_hub_id}" if config.hf_hub_id else config.url,
            "sha256": "",
            "licence": SPDX.get(config.license, config.license or NOT_STATED),
            "input_size": size,
            "resize_size": math.floor(size / config.crop_pct),
            "resize_mode": "stretch" if squashed else "crop",
            "interpolation": config.interpolation,
            "mean": config.mean,
            "std": config.std,
            "top1": "",
            "top5": "",
        }


def all_rows(names: list[str]) -> Iterator[Row]:
    """Yield the rows of every network of ours that has a fixture, in the catalogue's order."""
    readers = {"torchvision": torchvision_rows, "timm": timm_rows}
    fixtures = [path.stem.partition("_")[::2] for path in sorted(FIXTURES.glob("*.json"))]
    for name, source in product(names, readers):
        for library, foreign in fixtures:
            if library == source and OURS.get(foreign, foreign) == name:
                for row in readers[source](foreign):
                    lists = {key: " ".join(map(repr, row[key])) for key in ("mean", "std")}
                    yield {"model": name, "package": "", **row, **lists}


def main() -> int:
    """Write the file; return the exit status."""
    sys.path.insert(0, str(REPOSITORY / "tools" / "oracles"))
    import_module("operator_schemas").declare_operator_schemas()
    path = FACTS / "weights.csv"
    with (FACTS / "models.csv").open(encoding="utf-8", newline="") as file:
        names = [row["name"] for row in csv.DictReader(file)]
    with path.open(encoding="utf-8", newline="") as file:
        kept = [row for row in csv.DictReader(file) if not row["source"].startswith(WRITTEN)]
    rows = [*kept, *all_rows(names)]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows)} sources of {len({row['model'] for row in rows})} networks")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
