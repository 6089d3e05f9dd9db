"""Measured time of one forward pass on this machine. It knows no family."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import nn

from convatlas.errors import OptionError

__all__ = ["Latency", "measure_latency"]


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


def measure_latency(
    model: nn.Module, input_size: int, *, in_channels: int = 3, batch: int = 1, runs: int = 20
) -> Latency:
    """Time ``model`` in the mode it is in, after three passes to warm up.

    Args:
        model: Any network of images; it stays as it is.
        input_size: Height and width in pixels.
        in_channels: Channels of the image.
        batch: Images per pass.
        runs: Number of timed passes.

    Raises:
        OptionError: Fewer than one run.
    """
    if runs < 1:
        raise OptionError(f"runs must be 1 or more, got {runs}")
    parameter = next(model.parameters(), torch.empty(0))
    image = torch.zeros(batch, in_channels, input_size, input_size, device=parameter.device)
    times = []
    with torch.inference_mode():
        for run in range(runs + 3):
            start = time.perf_counter()
            model(image)
            if image.device.type == "cuda":
                torch.cuda.synchronize(image.device)
            if run >= 3:
                times.append((time.perf_counter() - start) * 1e3)
    low, median, high = torch.tensor(times).quantile(torch.tensor([0.1, 0.5, 0.9])).tolist()
    return Latency(median, low, high, batch, torch.get_num_threads())
