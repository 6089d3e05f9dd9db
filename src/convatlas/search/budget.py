"""What a network may cost and must be, and what one costs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from convatlas.errors import OptionError, UnknownNameError
from convatlas.models.catalogue import list_families

__all__ = ["PERMISSIVE", "Budget", "Cost"]

PERMISSIVE = frozenset({"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "MIT"})
"""SPDX names of the licences that count as permissive."""

_CHOICES = {
    "on": ("cpu", "cuda"),
    "licence": ("permissive",),
    "export": ("int8", "onnx"),
    "objective": ("accuracy", "balanced", "latency"),
}
_POSITIVE = (
    *("max_params", "max_macs", "max_latency_ms", "max_memory", "train_memory"),
    *("max_size_mb", "min_top1", "min_input"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one network costs.

    Attributes:
        params: Number of trainable parameters.
        macs: Multiply-accumulates of convolutions and linear layers for one image.
        size_bytes: Bytes of its weights and buffers in single precision, or None if unknown.
        memory_bytes: Peak bytes of one image in inference, or None if unknown.
        train_bytes: Peak bytes of a training step of 16 images, SGD with momentum, or None.
        latency_ms: Milliseconds for one image on this machine, predicted or measured, or None.
    """

    params: int
    macs: int
    size_bytes: int | None = None
    memory_bytes: int | None = None
    train_bytes: int | None = None
    latency_ms: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What is asked of a network; None, "" and False ask nothing.

    Attributes:
        max_params: Largest number of trainable parameters.
        max_macs: Most multiply-accumulates for one image.
        max_latency_ms: Most milliseconds for one image, on ``on``.
        on: Where the latency counts: ``"cpu"``, or ``"cuda"``, which can only be measured.
        max_memory: Most bytes at the peak of one image in inference, single precision.
        train_memory: Most bytes at the peak of a training step of 16 images, with momentum.
        max_size_mb: Most megabytes (10⁶ bytes) of weights in single precision.
        min_top1: Least published top-1 accuracy, in per cent.
        min_input: Pixels of height and width that the network must still take.
        family: Name of the only family to look at.
        licence: ``"permissive"``: of the weights to be used; without weights our own counts.
        needs_weights: Whether pretrained weights must exist; with data, be at hand.
        export: ``"onnx"`` or ``"int8"``: what it must be shipped as.
        objective: What ranks those that remain: ``"accuracy"``, ``"latency"`` or ``"balanced"``.

    Raises:
        OptionError: A limit that cannot be meant.
    """

    max_params: float | None = None
    max_macs: float | None = None
    max_latency_ms: float | None = None
    on: str = "cpu"
    max_memory: float | None = None
    train_memory: float | None = None
    max_size_mb: float | None = None
    min_top1: float | None = None
    min_input: int | None = None
    family: str | None = None
    licence: str | None = None
    needs_weights: bool = False
    export: str | None = None
    objective: str = "accuracy"

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            limit = getattr(self, name)
            if limit is not None and not math.isfinite(limit):
                raise OptionError(
                    f"{name} must be a finite number, got {limit:g}: leave it out for no limit"
                )
            if limit is not None and limit <= 0:
                raise OptionError(
                    f"{name} must be more than 0, got {limit:g}: leave it out or raise it"
                )
        if self.min_top1 is not None and self.min_top1 > 100:
            raise OptionError(
                f"min_top1 is in per cent, up to 100, got {self.min_top1:g}: lower it"
            )
        for name, known in _CHOICES.items():
            if (value := getattr(self, name)) and value not in known:
                _refuse(name, value, known)
        if self.family and self.family not in (families := list_families()):
            _refuse("family", self.family, families)


def _refuse(name: str, value: str, known: Iterable[str]) -> None:
    raise OptionError(f"{UnknownNameError.of(name, value, known)}")
