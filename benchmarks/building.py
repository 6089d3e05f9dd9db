"""How long it takes to build a network, next to torchvision's and timm's, in processor time.

On the meta device no value is drawn, so the time is that of making the modules; on the CPU it is
mostly that of drawing the weights. It needs the environment of the oracles (docs/oracles.md):

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python benchmarks/building.py

or ``make bench-networks``. [--turns N] [names, the same in all libraries]
"""

from __future__ import annotations

import argparse

import torch
from foreign import build
from table import Reference

from convatlas.models.registry import create_model
from turns import HEADERS, compare

NAMES = ("resnet50", "efficientnet_b7")
SIZE = 224  # not used: nothing is run
CPU_TURNS = 0.25  # of those on the meta device, which are twenty times shorter


def row(name: str, source: str, device: str, turns: int) -> str:
    """Return one row of the table."""
    reference = Reference(source, name, SIZE)
    with torch.device(device):
        comparison = compare(lambda: create_model(name), lambda: build(reference), turns)
    return f"{name:<18}{source:<13}{device:<7}" + comparison.cells()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--turns", type=int, default=40, help="pairs on the meta device")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'network':<18}{'against':<13}{'device':<7}{HEADERS}")
    for name in arguments.names:
        for source in ("torchvision", "timm"):
            for device, share in (("meta", 1.0), ("cpu", CPU_TURNS)):
                turns = max(2, round(share * arguments.turns))
                print(row(name, source, device, turns), flush=True)


if __name__ == "__main__":
    main()
