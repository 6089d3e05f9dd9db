"""How fast the networks run, next to torchvision's and timm's with the same weights.

It needs the environment of the oracles, which alone has both libraries (docs/oracles.md):

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/oracles/bin/python benchmarks/networks.py

or ``make bench-networks``. Both nets of a row have the same parameters and see the same images,
in one process and in turns; a row whose logits differ is refused. On one thread the time is the
processor's, on more the wall's. [--turns N] [--batches 1 4] [--threads 1 2] [names]
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from itertools import product

import torch
from foreign import build, library_version
from table import Reference
from torch import nn

from convatlas.models.catalogue import find_entry
from convatlas.models.pretrained.fitting import fit
from convatlas.models.registry import create_model
from turns import HEADERS, compare

SIZE = 224
LOGIT_TOLERANCE = 1e-4  # of the largest logit: single precision and another order of sums

# our name → their names
TORCHVISION = {
    "resnet50": "resnet50",
    "mobilenetv2_100": "mobilenet_v2",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "regnet_y_400mf": "regnet_y_400mf",
    "convnext_tiny": "convnext_tiny",
}
TIMM = {
    "resnet50": "resnet50",
    "mobilenetv2_100": "mobilenetv2_100",
    "efficientnet_b0": "efficientnet_b0",
    "densenet121": "densenet121",
    "regnet_y_400mf": "regnety_004",
    "convnext_tiny": "convnext_tiny",
}


def pair(name: str, reference: Reference) -> tuple[nn.Module, nn.Module]:
    """Return our network and theirs, with their parameters in both."""
    ours, theirs = create_model(name).eval(), build(reference).eval()
    fit(ours, theirs.state_dict(), find_entry(name).family.name)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        mine, other = ours(images), theirs(images)
    difference = float((mine - other).abs().max() / other.abs().max())
    if difference > LOGIT_TOLERANCE:
        raise SystemExit(f"{name}: not the network {reference.name}, logits differ: {difference}")
    return ours, theirs


def rows(name: str, reference: Reference, arguments: argparse.Namespace) -> None:
    """Print the rows of one pair of networks."""
    ours, theirs = pair(name, reference)
    for threads, batch in product(arguments.threads, arguments.batches):
        torch.set_num_threads(threads)
        images = torch.randn(batch, 3, SIZE, SIZE)
        clock = time.process_time if threads == 1 else time.perf_counter
        with torch.inference_mode():
            comparison = compare(
                partial(ours, images),
                partial(theirs, images),
                arguments.turns,
                clock,
            )
        head = f"{name:<18}{reference.source:<13}{threads:>7}{batch:>7}"
        print(head + comparison.cells(), flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TORCHVISION))
    parser.add_argument("--turns", type=int, default=30, help="pairs of runs per row")
    parser.add_argument("--batches", type=int, nargs="*", default=[1, 4], help="images per run")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    arguments = parser.parse_args()
    torch.manual_seed(0)
    libraries = {"torchvision": TORCHVISION, "timm": TIMM}
    versions = [f"{source} {library_version(source)}" for source in ("torch", *libraries)]
    print(", ".join(versions))
    print(f"{'network':<18}{'against':<13}{'threads':>7}{'batch':>7}{HEADERS}")
    for name in arguments.names:
        for source, names in libraries.items():
            if name in names:
                rows(name, Reference(source, names[name], SIZE), arguments)


if __name__ == "__main__":
    main()
