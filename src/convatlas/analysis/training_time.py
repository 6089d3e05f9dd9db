"""How long a training will take: the time of a step × the steps, or the data's own pace.

Knows neither networks nor data; it multiplies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convatlas.analysis.forecast import LayerTime
from convatlas.analysis.latency import Latency, latency_of, timed_runs
from convatlas.analysis.machine import Clock
from convatlas.analysis.report import LayerCost
from convatlas.errors import OptionError

__all__ = ["TrainingEstimate", "estimate_training", "measure_step", "predict_step_ms"]

# Backward time per forward time of layers without multiply-accumulates: two arrays are read
# (the gradient and what was saved) and one is written, where the forward reads and writes one.
_MOVING_BACKWARD = 1.5


@dataclass(frozen=True, slots=True)
class TrainingEstimate:
    """How long a training takes.

    Attributes:
        step_ms: Milliseconds of one step of the network: forward, backward and update.
        steps: Steps in all.
        images_per_s: Images per second that the network can take.
        loader_images_per_s: Images per second that the data loader gives, or None if unknown.
        seconds: The whole training, at the pace of the slower one.
    """

    step_ms: float
    steps: int
    images_per_s: float
    loader_images_per_s: float | None
    seconds: float

    @property
    def is_loader_bound(self) -> bool:
        """Whether the network would wait for the data loader."""
        return self.loader_images_per_s is not None and self.loader_images_per_s < self.images_per_s


def estimate_training(
    step_ms: float,
    images: int,
    batch: int,
    epochs: int,
    loader_images_per_s: float | None = None,
) -> TrainingEstimate:
    """Multiply the time of a step by a schedule; the last batch of an epoch counts as a full one.

    Args:
        step_ms: Measured or predicted milliseconds of one step.
        images: Training images.
        batch: Images per step.
        epochs: Passes over the images.
        loader_images_per_s: What the data loader gives per second, if it is known.

    Raises:
        OptionError: A number that is not positive.
    """
    given = {"step_ms": step_ms, "images": images, "batch": batch, "epochs": epochs}
    if loader_images_per_s is not None:
        given["loader_images_per_s"] = loader_images_per_s
    if wrong := {name: value for name, value in given.items() if not value > 0}:
        raise OptionError(f"expected positive numbers, got {wrong}: change them")
    steps = epochs * math.ceil(images / batch)
    pace = 1e3 * batch / step_ms
    slowest = min(pace, loader_images_per_s or math.inf)
    return TrainingEstimate(step_ms, steps, pace, loader_images_per_s, steps * batch / slowest)


def predict_step_ms(forward: Iterable[LayerTime], costs: Iterable[LayerCost]) -> float:
    """Return the predicted milliseconds of forward and backward, without the optimizer's update.

    The backward of a layer takes its forward's time × its backward MACs per MAC; a layer
    without MACs takes 1.5 times its forward, by the arrays that both move.

    Args:
        forward: Layers of a ``LatencyEstimate``.
        costs: Layers of ``analyze`` for the same model and input.
    """
    ratios = {
        row.name: row.backward_macs / row.macs if row.macs else _MOVING_BACKWARD for row in costs
    }
    return sum([layer.ms * (1 + ratios.get(layer.name, 0.0)) for layer in forward])


def measure_step(
    model: nn.Module, images: Tensor, *, runs: int = 20, clock: Clock = time.perf_counter
) -> Latency:
    """Time training steps in train mode: forward, cross-entropy, backward, SGD with momentum.

    The model's weights change; hand over one that nobody needs afterwards.

    Args:
        model: A classifier: logits of shape (N, classes).
        images: Its input.
        runs: Timed steps, after three to warm up.
        clock: Seconds; another one than the wall's for tests.

    Raises:
        OptionError: Fewer than one run.
    """
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images).float(), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is untyped
        optimizer.step()

    return latency_of(timed_runs(step, runs, images.device, clock), len(images))
