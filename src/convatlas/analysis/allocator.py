"""What torch's allocator really hands out while a block runs: the measured side of memory.

On the CPU the profiler reports every allocation and release; on a GPU torch keeps the peak.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["measure_peak"]


def measure_peak(run: Callable[[], object], device: str | torch.device = "cpu") -> int:
    """Return the most bytes that are held while ``run()`` works, beyond those held before.

    Args:
        run: What to measure; it is called once.
        device: ``"cpu"`` or a CUDA device.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as log:
        run()
    results = getattr(log.profiler, "kineto_results", None)
    events = results.events() if results is not None else []
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    held = peak = 0
    for _, change in changes:
        held += change
        peak = max(peak, held)
    return peak
