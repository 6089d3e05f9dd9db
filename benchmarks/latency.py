"""Predicted latency next to the measured one, for networks that the calibration never saw.

Every round calibrates anew (single operators only) and then measures all networks, so that a
machine whose speed drifts is compared with itself; a network's error is the median over the
rounds of predicted / measured − 1. Run: python benchmarks/latency.py [--rounds N] [names]

On a machine with other work, ``--threads 1 --cpu-time`` counts the processor's time of one
thread in place of the wall's.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable
from statistics import median

import torch

from convatlas.analysis.calibration import Calibration, calibrate
from convatlas.analysis.forecast import predict_latency
from convatlas.analysis.latency import random_images
from convatlas.analysis.machine import threads_set, timed_dtype
from convatlas.models.catalogue import find_entry
from convatlas.models.registry import create_model

NAMES = (
    "alexnet",
    "vgg11",
    "vgg16",
    "googlenet",
    "inception_v3",
    "xception",
    "resnet18",
    "resnet50",
    "resnext50_32x4d",
    "seresnet50",
    "densenet121",
    "squeezenet1_1",
    "mobilenetv1_100",
    "mobilenetv2_100",
    "mobilenetv3_small",
    "mobilenetv3_large",
    "mnasnet_100",
    "shufflenet_v2_x1_0",
    "ghostnet_100",
    "efficientnet_b0",
    "efficientnet_lite0",
    "regnet_x_800mf",
    "regnet_y_400mf",
    "repvgg_a0",
    "convnext_tiny",
    "cifar_resnet20",
)
MEDIAN_BAR, WIDE_BAR, WIDE_SHARE = 0.15, 0.30, 0.90


def measured_ms(
    name: str, arguments: argparse.Namespace, clock: Callable[[], float]
) -> tuple[float, int]:
    """Return the milliseconds of a pass, and how many passes there were."""
    model = create_model(name).eval().to(timed_dtype(arguments.precision))
    images = random_images(model, find_entry(name).input_size, model.in_channels, arguments.batch)
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(2):
            model(images)
        begun = clock()
        while len(times) < 5 or (clock() - begun < arguments.seconds and len(times) < 200):
            start = clock()
            model(images)
            times.append(1e3 * (clock() - start))
    return sorted(times)[math.floor(arguments.quantile * (len(times) - 1))], len(times)


def one_round(
    number: int, arguments: argparse.Namespace, clock: Callable[[], float]
) -> dict[str, tuple[float, float, bool]]:
    """Return measured and predicted milliseconds, and whether the interval held, per network."""
    calibration: Calibration = calibrate(
        arguments.precision, minutes=arguments.minutes, clock=clock
    )
    samples = len(calibration.samples)
    print(f"round {number}: {samples:,} samples, {calibration.ceilings}", file=sys.stderr)
    rows = {}
    for name in arguments.names:
        with torch.device("meta"):
            model = create_model(name)
        estimate = predict_latency(
            model,
            find_entry(name).input_size,
            batch=arguments.batch,
            precision=arguments.precision,
            calibration=calibration,
        )
        truth, passes = measured_ms(name, arguments, clock)
        rows[name] = truth, estimate.median_ms, estimate.low_ms <= truth <= estimate.high_ms
        print(f"  {name}: {truth:.2f} ms in {passes} passes", file=sys.stderr)
    return rows


def main() -> None:
    """Print the table and the errors; fail when the bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=1.5, help="per calibration")
    parser.add_argument("--seconds", type=float, default=2.0, help="per network and round")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--quantile", type=float, default=0.5, help="of the passes")
    parser.add_argument("--cpu-time", action="store_true", help="with one thread only")
    arguments = parser.parse_args()
    clock = time.thread_time if arguments.cpu_time else time.perf_counter
    with threads_set(1 if arguments.cpu_time else arguments.threads):
        print(
            f"torch {torch.__version__}, {torch.get_num_threads()} threads, {arguments.precision}, "
            f"batch {arguments.batch}, {arguments.rounds} rounds\n"
        )
        rounds = [one_round(n + 1, arguments, clock) for n in range(arguments.rounds)]
    report(arguments.names, rounds)


def report(names: list[str], rounds: list[dict[str, tuple[float, float, bool]]]) -> None:
    """Print a row per network, and the summary."""
    print("| network | measured ms | predicted ms | error |\n|---|---|---|---|")
    errors = []
    for name in names:
        rows = [each[name] for each in rounds]
        truth, predicted = (median(column) for column in list(zip(*rows, strict=True))[:2])
        errors.append(median(row[1] / row[0] - 1 for row in rows))
        print(f"| {name} | {truth:.2f} | {predicted:.2f} | {100 * errors[-1]:+.1f} % |")
    sizes = sorted(map(abs, errors))
    near = sum(size <= WIDE_BAR for size in sizes) / len(sizes)
    held = [row[2] for each in rounds for row in each.values()]
    print(
        f"\n{len(sizes)} networks: median error {100 * median(sizes):.1f} %, worst "
        f"{100 * sizes[-1]:.1f} %, {100 * near:.0f} % within {100 * WIDE_BAR:.0f} %; "
        f"the 90 % interval held {100 * sum(held) / len(held):.0f} % of the measurements"
    )
    if median(sizes) > MEDIAN_BAR or near < WIDE_SHARE:
        sys.exit("the prediction misses its bar: median 15 %, nine of ten within 30 %")


if __name__ == "__main__":
    main()
