"""The machine that times are about: its processor, and the ceilings that it can reach.

Knows nothing about networks.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch.nn import functional as F

from convatlas.errors import OptionError

__all__ = [
    "TIMED_PRECISIONS",
    "Ceilings",
    "Clock",
    "Machine",
    "load_per_core",
    "measure_ceilings",
    "this_machine",
    "threads_set",
    "timed_dtype",
]

Clock = Callable[[], float]
"""Seconds since some moment."""

TIMED_PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}

# Channels, side and kernel of convolutions that come near a processor's peak.
_DENSE = ((256, 28, 3), (128, 56, 3), (512, 28, 1))
_COPIED = 16_000_000  # elements, more than the second-level caches hold
_REPEATS = 9


@dataclass(frozen=True, slots=True)
class Machine:
    """What must be the same for two times to be comparable.

    Attributes:
        cpu: Model of the processor.
        torch: Version of torch.
        threads: Threads that an operator may use.
        precision: ``"float32"`` or ``"bfloat16"``: type of weights and activations.
    """

    cpu: str
    torch: str
    threads: int
    precision: str


@dataclass(frozen=True, slots=True)
class Ceilings:
    """The most that this machine was seen to do.

    Attributes:
        convolution_gflops: GFLOP/s of dense convolutions, one multiply-accumulate being two.
        bandwidth_gbs: GB/s read and written together while adding large arrays.
    """

    convolution_gflops: float
    bandwidth_gbs: float


def load_per_core() -> float:
    """Return how many programs wanted each core over the last minute; 0 where nobody counts."""
    return os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0


def timed_dtype(precision: str) -> torch.dtype:
    """Return torch's type for a precision.

    Raises:
        OptionError: Neither float32 nor bfloat16.
    """
    if precision not in TIMED_PRECISIONS:
        raise OptionError(f"precision must be {' or '.join(TIMED_PRECISIONS)}, got {precision!r}")
    return TIMED_PRECISIONS[precision]


def this_machine(precision: str = "float32") -> Machine:
    """Describe this machine with the threads that torch now uses."""
    timed_dtype(precision)
    return Machine(_cpu(), torch.__version__, torch.get_num_threads(), precision)


@contextmanager
def threads_set(threads: int | None) -> Iterator[None]:
    """Let a block run with so many threads; None leaves them as they are.

    Raises:
        OptionError: Fewer than one.
    """
    if threads is not None and threads < 1:
        raise OptionError(f"threads must be 1 or more, got {threads}")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def measure_ceilings(precision: str = "float32", clock: Clock = time.perf_counter) -> Ceilings:
    """Measure what dense convolutions and large arrays reach, in a second or two."""
    dtype = timed_dtype(precision)
    with torch.inference_mode():
        speeds = []
        for channels, side, kernel in _DENSE:
            image = torch.ones(1, channels, side, side, dtype=dtype)
            weight = torch.ones(channels, channels, kernel, kernel, dtype=dtype)
            seconds = _fastest(partial(F.conv2d, image, weight, padding=kernel // 2), clock)
            speeds.append(2e-9 * weight.numel() * side * side / seconds)
        arrays = [torch.ones(_COPIED, dtype=dtype) for _ in range(3)]
        seconds = _fastest(lambda: torch.add(arrays[0], arrays[1], out=arrays[2]), clock)
    moved = 3e-9 * _COPIED * dtype.itemsize
    return Ceilings(max(speeds), moved / seconds)


def _fastest(run: Callable[[], object], clock: Clock) -> float:
    """Return the fewest seconds of some runs, after one to warm up."""
    run()
    times = []
    for _ in range(_REPEATS):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


def _cpu() -> str:
    """Name the processor as the system does."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()
