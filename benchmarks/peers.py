"""``analyze`` next to the counters of others: what they say, and how long they take.

Every counter gets the same torchvision networks in its normal call, in turns, on one thread, in
processor time: on the CPU, where most of them run the network, and without memory ("meta") where
they can. TorchLens wraps torch's functions for the rest of the process, which slows and breaks
the others, so its turns come last. It needs an environment of its own, which
``tools/oracles/build_environment.py --peers`` builds:

    PYTHONPATH=src:tools/oracles ~/.cache/convatlas/peers/bin/python benchmarks/peers.py

or ``make bench-peers``. [--turns N] [--devices cpu meta] [names]
"""

from __future__ import annotations

import argparse
import contextlib
import io
import logging
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from statistics import median

import torch
from operator_schemas import declare_operator_schemas
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from convatlas.analysis.cost import analyze

IMAGE = (3, 224, 224)
# The seven whose times are summed; the two with attention are only counted.
TIMED = (
    "resnet50",
    "vgg16",
    "mobilenet_v2",
    "efficientnet_b0",
    "convnext_tiny",
    "regnet_y_400mf",
    "densenet121",
)
ATTENTION = ("swin_t", "vit_b_16")
WRONG = 0.02  # a count that is further from the published one than this is marked

Counter = Callable[[nn.Module, torch.Tensor], int]


def count_with_convatlas(model: nn.Module, image: torch.Tensor) -> int:
    """Return the MACs of an analysis."""
    return analyze(model, tuple(image.shape[1:])).macs


def count_with_flop_counter(model: nn.Module, image: torch.Tensor) -> int:
    """Return torch's FLOPs, two per MAC, halved."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(image)
    return int(counter.get_total_flops()) // 2


def count_with_ptflops(model: nn.Module, image: torch.Tensor, backend: str = "pytorch") -> int:
    """Return the MACs of ptflops."""
    shape = tuple(image.shape[1:])
    options = {"as_strings": False, "print_per_layer_stat": False, "verbose": False}
    count = import_module("ptflops").get_model_complexity_info
    return int(count(model, shape, backend=backend, **options)[0])


def count_with_ptflops_aten(model: nn.Module, image: torch.Tensor) -> int:
    """Return the MACs of ptflops's other engine."""
    return count_with_ptflops(model, image, "aten")


def count_with_fvcore(model: nn.Module, image: torch.Tensor) -> int:
    """Return what fvcore calls flops, one per MAC."""
    analysis = import_module("fvcore.nn").FlopCountAnalysis(model, image)
    return int(analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total())


def count_with_torchinfo(model: nn.Module, image: torch.Tensor) -> int:
    """Return torchinfo's multiply-adds."""
    summary = import_module("torchinfo").summary
    return int(summary(model, input_data=image, device=image.device, verbose=0).total_mult_adds)


def count_with_torchscan(model: nn.Module, image: torch.Tensor) -> int:
    """Return the MACs of torchscan."""
    report = import_module("torchscan").crawl_module(model, tuple(image.shape[1:]))
    return int(report["totals"]["macs"]["known_value"])


def count_with_torchlens(model: nn.Module, image: torch.Tensor) -> int:
    """Return the forward MACs of TorchLens."""
    return int(import_module("torchlens").trace(model, image).total_macs_forward)


OURS = "convatlas"
COUNTERS: dict[str, Counter] = {
    OURS: count_with_convatlas,
    "FlopCounterMode": count_with_flop_counter,
    "ptflops": count_with_ptflops,
    "ptflops aten": count_with_ptflops_aten,
    "fvcore": count_with_fvcore,
    "torchinfo": count_with_torchinfo,
    "torchscan": count_with_torchscan,
    "torchlens": count_with_torchlens,
}


def build(name: str, device: str) -> tuple[nn.Module, float]:
    """Return one of torchvision's networks, and the GMACs that torchvision publishes for it."""
    models = import_module("torchvision.models")
    published = next(iter(models.get_model_weights(name))).meta["_ops"]
    return models.get_model(name, weights=None).eval().to(device), float(published)


def timed(counter: Counter, model: nn.Module, image: torch.Tensor) -> tuple[int, float]:
    """Return a count and the processor time that it took, in milliseconds."""
    with contextlib.redirect_stdout(io.StringIO()):
        start = time.process_time()
        macs = counter(model, image)
        return macs, 1000 * (time.process_time() - start)


Cells = dict[tuple[str, str], tuple[int, float]]


def measure(names: list[str], counters: list[str], device: str, turns: int) -> Cells:
    """Return the MACs and the median time of each (counter, network), taken in turns.

    A counter that fails on a network has no cell there.
    """
    cells: Cells = {}
    image = torch.zeros(1, *IMAGE, device=device)
    for name in names:
        model, _ = build(name, device)
        runs: dict[str, list[tuple[int, float]]] = {}
        able = list(counters)
        for _ in range(turns + 1):  # the first turn warms up
            for counter in tuple(able):
                try:
                    result = timed(COUNTERS[counter], model, image)
                except Exception as error:  # whatever a peer raises, the others go on
                    able.remove(counter)
                    line = (str(error) or "no message").splitlines()[0][:90]
                    print(f"{counter} fails on {name} ({device}): {type(error).__name__}: {line}")
                    continue
                runs.setdefault(counter, []).append(result)
        for counter in able:
            results = runs[counter]
            cells[counter, name] = results[0][0], median(ms for _, ms in results[1:])
    return cells


def print_counts(names: list[str], cells: Cells) -> None:
    """Print what each counter counts, in GMACs; ✗ marks what is wrong."""
    published = {name: build(name, "meta" if "regnet" not in name else "cpu")[1] for name in names}
    print("\nGMACs; ✗: more than 2 % from what torchvision publishes\n")
    print(f"| network | published | {' | '.join(COUNTERS)} |")
    print("|---" * (len(COUNTERS) + 2) + "|")
    for name in names:
        row = [name, f"{published[name]:.3f}"]
        for counter in COUNTERS:
            macs = cells.get((counter, name), (0, 0.0))[0] / 1e9
            wrong = abs(macs / published[name] - 1) > WRONG
            row.append(f"{macs:.3f}{' ✗' if wrong else ''}" if macs else "fails")
        print(f"| {' | '.join(row)} |")


def print_times(device: str, names: list[str], cells: Cells) -> None:
    """Print the times, their sums, and how many times longer than ours each one takes."""
    able = [c for c in COUNTERS if all((c, name) in cells for name in names)]
    print(f"\nProcessor time on {device}, milliseconds\n")
    print(f"| network | {' | '.join(able)} |")
    print("|---" * (len(able) + 1) + "|")
    for name in names:
        print(f"| {name} | {' | '.join(f'{cells[c, name][1]:.1f}' for c in able)} |")
    sums = {counter: sum(cells[counter, name][1] for name in names) for counter in able}
    print(f"| sum | {' | '.join(f'{sums[c]:.1f}' for c in able)} |")
    print(f"| sum / ours | {' | '.join(f'{sums[c] / sums[OURS]:.1f}' for c in able)} |")


def print_backward(names: list[str]) -> None:
    """Print the backward MACs of both counters that have them."""
    print("\nBackward GMACs of one training step, without a gradient of the image\n")
    print("| network | forward | convatlas | FlopCounterMode |")
    print("|---|---|---|---|")
    image = torch.zeros(1, *IMAGE, device="meta")
    for name in names:
        model, _ = build(name, "cpu")
        model.to("meta")
        report = analyze(model, IMAGE)
        forward = count_with_flop_counter(model, image)
        with FlopCounterMode(display=False) as counter:
            model(image).sum().backward()
        theirs = counter.get_total_flops() // 2 - forward
        cells = (forward, report.backward_macs, theirs)
        print(f"| {name} | {' | '.join(f'{macs / 1e9:.3f}' for macs in cells)} |")


def main() -> None:
    """Print the versions and the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(TIMED))
    parser.add_argument("--turns", type=int, default=5, help="turns of each counter")
    parser.add_argument("--devices", nargs="*", default=["cpu", "meta"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    declare_operator_schemas()
    packages = ("torch", "torchvision", "ptflops", "fvcore", "torchinfo", "torchscan", "torchlens")
    print(", ".join(f"{package} {version(package)}" for package in packages))
    early, late = [name for name in COUNTERS if name != "torchlens"], ["torchlens"]
    seen = [*arguments.names, *ATTENTION]
    times = {d: measure(arguments.names, early, d, arguments.turns) for d in arguments.devices}
    counted = measure(list(ATTENTION), early, "cpu", 1)
    print_backward(arguments.names)
    for device, cells in times.items():
        if device == "cpu":
            cells |= measure(arguments.names, late, device, max(1, arguments.turns // 3))
        print_times(device, arguments.names, cells)
        counted = cells | counted
    counted |= measure(list(ATTENTION), late, "cpu", 1)
    print_counts(seen, counted)


if __name__ == "__main__":
    main()
