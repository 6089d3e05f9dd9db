"""How long a candidate takes on this machine, without running it; needs torch."""

from __future__ import annotations

from collections.abc import Callable

from convatlas.analysis.calibration import Calibration, load_calibration
from convatlas.analysis.forecast import predict_latency
from convatlas.analysis.machine import Ceilings
from convatlas.models.catalogue import find_entry
from convatlas.search.candidate import Candidate, Task
from convatlas.search.costing import without_weights
from convatlas.search.figures import Figure

__all__ = ["at_least", "calibrated"]


def calibrated(
    data: Task | None, calibration: Calibration | None = None
) -> Callable[[Candidate], Figure | None]:
    """Return what predicts the milliseconds of one image on the processor, with its interval.

    Args:
        data: What the images are; None for the catalogue's classes.
        calibration: Prices of operators; those of this machine in the user's cache if None.

    Raises:
        CalibrationError: This machine was not calibrated, or something has changed since.
    """
    prices = calibration or load_calibration()

    def forecast(candidate: Candidate) -> Figure:
        model = without_weights(candidate, _classes(candidate, data))
        estimate = predict_latency(model, candidate.input_size, calibration=prices)
        source = f"calibration of {prices.machine.cpu}, threads: {prices.machine.threads}"
        return Figure(
            estimate.median_ms, "predicted", source, low=estimate.low_ms, high=estimate.high_ms
        )

    return forecast


def at_least(ceilings: Ceilings) -> Callable[[Candidate], Figure | None]:
    """Return what says how many milliseconds one image takes at the least.

    That is its multiply-accumulates at the speed that dense convolutions reach on this machine,
    which no network keeps up. It spares measuring networks that cannot meet a limit.

    Args:
        ceilings: The most that this machine was seen to do.
    """

    def forecast(candidate: Candidate) -> Figure:
        least = 2e-6 * candidate.cost.macs / ceilings.convolution_gflops
        source = f"{ceilings.convolution_gflops:.0f} GFLOP/s at the most"
        return Figure(least, "predicted", source, low=least)

    return forecast


def _classes(candidate: Candidate, data: Task | None) -> int:
    return data.num_classes if data else find_entry(candidate.name).num_classes
