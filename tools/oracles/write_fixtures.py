"""Write the oracle fixtures: what the reference networks are and what they answer.

Runs in the environment that ``build_environment.py`` makes. For each row of the table it
builds the network, fills it by key, runs the fixed images in double precision, checks
that the answer can prove something, and writes one JSON file. The networks with real
weights have rows of their own in ``photos.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from runpy import run_path
from typing import Any

import fixture_file
import foreign
import numpy as np
import numpy.typing as npt
import photos
import record
import torch
from soundness import UnsoundFixtureError, check
from table import REFERENCES, Reference

REPOSITORY = Path(__file__).resolve().parents[2]
FIXTURES = REPOSITORY / "tests" / "fixtures" / "oracles"

# The very file that the tests import: both sides must fill alike.
_RULE = run_path(str(REPOSITORY / "tests" / "oracles" / "fill.py"))
fill: Callable[[str, tuple[int, ...]], npt.NDArray[np.float32]] = _RULE["fill"]
image_batch: Callable[[int], npt.NDArray[np.float32]] = _RULE["image_batch"]

Writer = Callable[[], tuple[dict[str, Any], str]]


@torch.no_grad()
def filled_fixture(reference: Reference) -> tuple[dict[str, Any], str]:
    """Return the fixture of one row of the table, and the line that says it is sound."""
    net = foreign.build(reference).eval()
    for key, value in record.entries(net).items():
        value.copy_(torch.from_numpy(fill(key, tuple(value.shape))))
    net = net.double()
    images = torch.from_numpy(image_batch(reference.input_size)).double()
    logits, layer_shapes = record.watch(net, images)
    soundness = check(net, images, logits)
    fixture = {
        "source": reference.source,
        "version": foreign.library_version(reference.source),
        "model": reference.model,
        "input_size": reference.input_size,
        "params": record.count_params(net),
        "state": record.state_lines(net),
        "layer_shapes": layer_shapes,
        **record.logit_fields(logits),
    }
    return fixture, soundness


def writers() -> dict[str, Writer]:
    """Return fixture name → the function that computes it, in the order of the table."""
    filled = {reference.name: partial(filled_fixture, reference) for reference in REFERENCES}
    real = {name: partial(photos.photo_fixture, number) for name, number in photos.VARIANTS.items()}
    return {**filled, **real}


def write_one(name: str, writer: Writer, arguments: argparse.Namespace) -> bool:
    """Write or compare one fixture; return whether it is as it should be."""
    try:
        fixture, soundness = writer()
    except UnsoundFixtureError as error:
        print(f"{name}: refused, {error}", flush=True)
        return False
    text = fixture_file.encode(fixture)
    path = arguments.folder / f"{name}.json"
    if not arguments.check:
        fixture_file.write(path, text)
        print(f"{name}: {soundness}", flush=True)
        return True
    same = path.exists() and path.read_text(encoding="utf-8") == text
    print(f"{name}: {'identical' if same else 'DIFFERS'}", flush=True)
    return same


def main() -> int:
    """Parse the command line and write the fixtures asked for."""
    parser = argparse.ArgumentParser(description="Write the oracle fixtures.")
    parser.add_argument("names", nargs="*", default=["*"], help="fixture names, wildcards allowed")
    parser.add_argument("--folder", type=Path, default=FIXTURES, help="where they go")
    parser.add_argument("--missing", action="store_true", help="only those not yet in the folder")
    parser.add_argument("--check", action="store_true", help="compare with the files, write none")
    parser.add_argument("--list", action="store_true", help="print the names and stop")
    arguments = parser.parse_args()
    every = writers()
    chosen = [name for name in every if any(fnmatch(name, asked) for asked in arguments.names)]
    if arguments.missing:
        chosen = [name for name in chosen if not (arguments.folder / f"{name}.json").exists()]
    elif not chosen:
        print(f"no fixture is called {' or '.join(arguments.names)}: try --list", file=sys.stderr)
        return 2
    if arguments.list:
        print("\n".join(chosen))
        return 0
    results = [write_one(name, every[name], arguments) for name in chosen]
    return 0 if all(results) else 1


if __name__ == "__main__":
    raise SystemExit(main())
