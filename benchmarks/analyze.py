"""How long an analysis takes, next to torch's own counter on the same networks.

``analyze`` gives costs, receptive fields and names per layer; ``FlopCounterMode`` gives the
products per module, and needs a forward on meta tensors. Both see the same model without
memory, in the same process, in turns, on one thread. Times are processor time, which other
programs disturb least. Run: python benchmarks/analyze.py [--repeats N] [names]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas.analysis.cost import analyze
from convatlas.models.registry import create_model

NAMES = ("resnet50", "vgg16", "mobilenetv2_100", "efficientnet_b0")
IMAGE = (1, 3, 224, 224)


def count_with_torch(model: nn.Module) -> int:
    """Return the MACs that torch's counter sees in one forward on meta tensors."""
    image = torch.empty(IMAGE, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops()) // 2


def count_with_convatlas(model: nn.Module) -> int:
    """Return the MACs of an analysis."""
    return analyze(model, IMAGE[1:]).macs


def milliseconds(count: Callable[[nn.Module], int], model: nn.Module) -> float:
    """Time one count, in processor time."""
    start = time.process_time()
    count(model)
    return 1000 * (time.process_time() - start)


def compare(name: str, repeats: int) -> str:
    """Return one row of the table: medians and best times of both counters, in turns.

    A turn is twenty analyses or two of torch's counts, about as long as each other.
    """
    with torch.device("meta"):
        model = create_model(name).eval()
    macs = count_with_convatlas(model)
    if macs != count_with_torch(model):
        raise SystemExit(f"{name}: the two counters disagree")
    ours, torchs = [], []
    for _ in range(repeats):
        ours += [milliseconds(count_with_convatlas, model) for _ in range(20)]
        torchs += [milliseconds(count_with_torch, model) for _ in range(2)]
    cells = (median(ours), min(ours), median(torchs), min(torchs), median(torchs) / median(ours))
    return f"{name:<18}{macs / 1e6:>10.1f}" + "".join(f"{cell:>12.2f}" for cell in cells)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--repeats", type=int, default=8, help="turns of each counter")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    headers = ("analyze ms", "best", "torch ms", "best", "ratio")
    print(f"{'network':<18}{'MMACs':>10}" + "".join(f"{header:>12}" for header in headers))
    for name in arguments.names:
        print(compare(name, arguments.repeats))


if __name__ == "__main__":
    main()
