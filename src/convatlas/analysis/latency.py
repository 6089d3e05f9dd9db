"""Measured time of one forward pass on this machine. It knows no family."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.analysis.machine import Clock
from convatlas.errors import OptionError

__all__ = ["WARM_UP", "Latency", "latency_of", "measure_latency", "random_images", "timed_runs"]

WARM_UP = 3


@dataclass(frozen=True, slots=True)
class Latency:
    """Time of one forward pass, in milliseconds.

    Attributes:
        median_ms: Median of the runs.
        low_ms: Their 10th percentile.
        high_ms: Their 90th percentile.
        batch: Images per pass.
        threads: Threads that torch used.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    batch: int
    threads: int

    @property
    def images_per_s(self) -> float:
        """Images per second at the median."""
        return 1e3 * self.batch / self.median_ms


def measure_latency(
    model: nn.Module,
    input_size: int,
    *,
    in_channels: int = 3,
    batch: int = 1,
    runs: int = 20,
    clock: Clock = time.perf_counter,
) -> Latency:
    """Time ``model`` in the mode it is in, after three passes to warm up.

    Args:
        model: Any network of images; it stays as it is.
        input_size: Height and width in pixels.
        in_channels: Channels of the image.
        batch: Images per pass.
        runs: Number of timed passes.
        clock: Seconds; another one than the wall's for tests.

    Raises:
        OptionError: Fewer than one run or image.
    """
    images = random_images(model, input_size, in_channels, batch)
    with torch.inference_mode():
        times = timed_runs(lambda: model(images), runs, images.device, clock)
    return latency_of(times, batch)


def random_images(model: nn.Module, input_size: int, in_channels: int, batch: int) -> Tensor:
    """Return images of the type and on the device of the model's weights, always the same.

    Random ones, because the time of a maximum depends on the values.

    Raises:
        OptionError: Fewer than one image or pixel.
    """
    if min(batch, input_size) < 1:
        raise OptionError(f"batch and input must be 1 or more, got {batch} and {input_size}")
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(batch, in_channels, input_size, input_size, generator=generator)
    return images.to(like.device, like.dtype)


def timed_runs(
    run: Callable[[], object], runs: int, device: torch.device, clock: Clock
) -> list[float]:
    """Return the milliseconds of each of ``runs`` calls, after three to warm up.

    Raises:
        OptionError: Fewer than one run.
    """
    if runs < 1:
        raise OptionError(f"runs must be 1 or more, got {runs}")
    times = []
    for number in range(-WARM_UP, runs):
        start = clock()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if number >= 0:
            times.append((clock() - start) * 1e3)
    return times


def latency_of(times_ms: Sequence[float], batch: int) -> Latency:
    """Summarise the milliseconds of some passes."""
    quantiles = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)
    low, median, high = torch.tensor(times_ms, dtype=torch.float64).quantile(quantiles).tolist()
    return Latency(median, low, high, batch, torch.get_num_threads())
