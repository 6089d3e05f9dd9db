"""Predicted time of a forward pass: every operator's price, added up, without running the model.

Knows no family; the prices come from a calibration of this machine.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor, nn

from convatlas.analysis.calibration import Calibration, load_calibration
from convatlas.analysis.cost import Run, traced
from convatlas.analysis.machine import timed_dtype
from convatlas.analysis.naming import name_operations
from convatlas.analysis.pricing import Price, Prices
from convatlas.analysis.work import Work, works_of
from convatlas.errors import OptionError

__all__ = ["LatencyEstimate", "LayerTime", "predict_latency"]

_NORMAL_90 = 1.645  # standard deviations that hold 90 % of a normal distribution
# What no sample shows: how far a whole network is from the sum of its operators. The median
# over two dozen networks of benchmarks/latency.py was 5–8 %, which is two thirds of a deviation.
_SYSTEMATIC = 0.10


@dataclass(frozen=True, slots=True)
class LayerTime:
    """The predicted time of one operation.

    Attributes:
        name: As in ``analyze``: the module's path, or the path and the operator.
        operator: What runs.
        ms: Milliseconds.
        is_guess: Whether its operator was not calibrated; then it is priced like its sibling
            over images (``conv1d`` like ``conv2d``), or else by the elements that it moves.
    """

    name: str
    operator: str
    ms: float
    is_guess: bool


@dataclass(frozen=True, slots=True)
class LatencyEstimate:
    """The predicted time of one forward pass.

    Attributes:
        median_ms: Milliseconds to expect.
        low_ms: Lower end of the interval that holds nine measurements out of ten.
        high_ms: Its upper end.
        batch: Samples per pass.
        threads: Threads that the calibration used.
        precision: Type of weights and activations.
        calls_ms: The part of ``median_ms`` that calling modules costs.
        layers: One entry per operation, in execution order.
        guessed: Operators that the calibration does not know.
    """

    median_ms: float
    low_ms: float
    high_ms: float
    batch: int
    threads: int
    precision: str
    calls_ms: float
    layers: tuple[LayerTime, ...]
    guessed: tuple[str, ...]


def predict_latency(
    model: nn.Module,
    input_size: int | tuple[int, ...] = 224,
    *,
    batch: int = 1,
    precision: str = "float32",
    calibration: Calibration | None = None,
    inputs: Sequence[Tensor] | None = None,
) -> LatencyEstimate:
    """Predict the milliseconds of one forward pass in eval mode, without running ``model``.

    The pass is one on the processor, with tensors in rows unless the model orders them otherwise.

    Args:
        model: Any module, also without memory for its weights (``meta``).
        input_size: As ``analyze`` takes it.
        batch: Samples per pass.
        precision: Type that weights and activations have when the model runs.
        calibration: Prices of operators; those of this machine in the user's cache if None.
        inputs: The arguments of forward, as ``analyze`` takes them.

    Raises:
        CalibrationError: This machine was not calibrated, or something has changed since.
        InputSizeError: An input that the model cannot take.
        OptionError: A model or input that cannot be analysed, an unknown precision, or a
            calibration of another one.
    """
    timed_dtype(precision)
    calibration = calibration or load_calibration(precision)
    if calibration.machine.precision != precision:
        raise OptionError(
            f"the calibration is for {calibration.machine.precision}, asked was {precision}: "
            "pass one of that precision"
        )
    return _estimate(traced(model, input_size, batch=batch, inputs=inputs), calibration)


@lru_cache(maxsize=4)
def _prices(calibration: Calibration) -> Prices:
    return Prices(calibration)


def _estimate(run: Run, calibration: Calibration) -> LatencyEstimate:
    operations = run.trace.operations
    works = [works_of(operation) for operation in operations]
    flat = [work for parts in works for work in parts]
    priced = iter(_prices(calibration).of(flat))
    layers, prices = [], []
    for operation, (name, _), parts in zip(
        operations, name_operations(operations), works, strict=True
    ):
        own = [next(priced) for _ in parts]
        prices += own
        is_guess = any(price.is_guess for price in own)
        ms = sum([price.ms for price in own])
        layers.append(LayerTime(name, operation.operator, ms, is_guess))
    calls_ms = calibration.call_ms * _calls({id(op.call): op.call.path for op in operations})
    total = calls_ms + sum([layer.ms for layer in layers])
    factor = math.exp(_NORMAL_90 * _spread(flat, prices, total))
    return LatencyEstimate(
        median_ms=total,
        low_ms=total / factor,
        high_ms=total * factor,
        batch=run.images[0].shape[0] if run.images and run.images[0].dim() else 1,
        threads=calibration.machine.threads,
        precision=calibration.machine.precision,
        calls_ms=calls_ms,
        layers=tuple(layers),
        guessed=tuple(dict.fromkeys(layer.operator for layer in layers if layer.is_guess)),
    )


def _calls(paths: dict[int, str]) -> int:
    """Count the module calls: those that ran an operator, and once each module around them."""
    around = {
        path[:end]
        for path in set(paths.values())
        for end in range(len(path))
        if path[end] == "." or end == 0
    }
    return len(paths) + len(around - set(paths.values()))


def _spread(works: Iterable[Work], prices: Iterable[Price], total_ms: float) -> float:
    """Return the relative standard deviation of the sum.

    The same work is wrong in the same way each time, and different works independently.
    """
    wrong: dict[Work, float] = defaultdict(float)
    for work, price in zip(works, prices, strict=True):
        wrong[work] += price.ms * price.spread
    independent = math.sqrt(sum([value**2 for value in wrong.values()])) / max(total_ms, 1e-12)
    return math.hypot(independent, _SYSTEMATIC)
