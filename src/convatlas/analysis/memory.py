"""Does it fit? Peak memory of a forward or of a training step, before running it.

The step is rehearsed on tensors without memory (``rehearsal.py``), every storage is counted
while it lives (``allocations.py``), and what the optimizer keeps is added. Knows no family.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from convatlas.analysis.inputs import make_inputs, without_memory
from convatlas.analysis.isolation import modules_of, readable
from convatlas.analysis.rehearsal import Rehearsal
from convatlas.errors import OptionError, UnknownNameError

__all__ = [
    "MOST_SAMPLES",
    "OPTIMIZERS",
    "PRECISIONS",
    "MemoryReport",
    "Moment",
    "TrainingMemory",
    "max_batch",
    "predict_memory",
]

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

MOST_SAMPLES = 1 << 20
"""The largest batch that ``max_batch`` tries."""

DEVICES = ("cpu", "cuda")

# Optimizer → tensors that it keeps per trained parameter, and temporary ones in a step: on the
# CPU for one parameter after the other, on a GPU for all together.
OPTIMIZERS = {"sgd": (0, 1), "momentum": (1, 1), "adam": (2, 2), "adamw": (2, 2)}


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """How a model is trained, as far as memory goes.

    Attributes:
        optimizer: ``"sgd"``, ``"momentum"``, ``"adam"`` or ``"adamw"``.
        ema: Whether an averaged copy of the weights is kept.
        checkpointing: Whether blocks are computed again in the backward, as
            ``layers.checkpointing.checkpointed`` does.
        loss: Makes the number to differentiate from the output; the mean by default.
    """

    optimizer: str = "momentum"
    ema: bool = False
    checkpointing: bool = False
    loss: Callable[[Any], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise UnknownNameError.of("optimizer", self.optimizer, OPTIMIZERS)


@dataclass(frozen=True, slots=True)
class Moment:
    """The most bytes held while one layer ran.

    Attributes:
        layer: Path of the module.
        phase: ``"forward"``, ``"backward"`` or ``"update"``.
        held_bytes: Bytes of all tensors together, weights included.
        gradient_bytes: Those of them that are gradients of parameters.
    """

    layer: str
    phase: str
    held_bytes: int
    gradient_bytes: int


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """Where the bytes are at the peak, and how they rise and fall.

    Attributes:
        batch: Samples.
        precision: ``"float32"``, or the half precision that autocast computes in.
        parameter_bytes: Weights and buffers.
        gradient_bytes: Gradients of the parameters that the loss reaches, when all are there.
        optimizer_bytes: What the optimizer keeps between steps.
        ema_bytes: The averaged copy.
        input_bytes: The images.
        activation_bytes: The peak less weights, images, optimizer and the gradients that are
            there by then: activations, those saved for the backward and their gradients,
            temporary tensors, scratch memory.
        peak_bytes: The most that is held at once.
        peak: Layer and phase of the peak.
        timeline: One moment per run of a layer, in order.
    """

    batch: int
    precision: str
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int
    ema_bytes: int
    input_bytes: int
    activation_bytes: int
    peak_bytes: int
    peak: Moment
    timeline: tuple[Moment, ...]


def predict_memory(
    model: nn.Module,
    input_size: int | tuple[int, ...] = 224,
    *,
    batch: int = 1,
    training: TrainingMemory | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    device: str = "cpu",
    inputs: Sequence[Tensor] | None = None,
) -> MemoryReport:
    """Predict the peak of tensor memory, in bytes, without allocating it.

    Frozen parameters (``requires_grad=False``) have no gradients and no optimizer state, and
    what only their gradients need is not saved. Training runs every module in the mode that
    it is in; the model is left exactly as found. For a GPU every storage is rounded to the
    allocator's 512 bytes; cuDNN's workspace and the CUDA context come on top.

    Args:
        model: Any module.
        input_size: As for ``analyze``.
        batch: Samples; with ``inputs``, which have their own, it is only said again.
        training: How it is trained; None for inference in eval mode.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"``; half precision is that of
            autocast, with weights in single precision.
        channels_last: Whether images and weights are in that layout.
        device: Where it will run, ``"cpu"`` or ``"cuda"``; the prediction needs neither.
        inputs: The arguments of forward, when one image is not what it takes.

    Raises:
        UnknownNameError: An unknown precision or device.
        InputSizeError: A network of the atlas with an input that is too small for it.
        OptionError: A model, an input or a batch that cannot be rehearsed, such as a forward
            that branches on values.
    """
    if precision not in PRECISIONS:
        raise UnknownNameError.of("precision", precision, PRECISIONS)
    if device not in DEVICES:
        raise UnknownNameError.of("device", device, DEVICES)
    if not isinstance(training, TrainingMemory | None):
        raise OptionError(
            f"training must be a TrainingMemory, such as TrainingMemory('adamw'), got {training!r}"
        )
    if batch < 1:
        raise OptionError(f"batch must be 1 or more, got {batch}")
    model = readable(model)
    if inputs is None:
        modules, parameters = [m for _, m in modules_of(model)], list(model.parameters())
        images = make_inputs(modules, parameters, input_size, None, batch)
    else:
        images = without_memory(inputs)
    # Inference mode hides the operators that allocate, and forbids a training step.
    with torch.inference_mode(False):
        rehearsal = Rehearsal(model, images, channels_last=channels_last, device=device)
        return _rehearsed(rehearsal, training, precision, batch)


def max_batch(
    model: nn.Module,
    memory_bytes: int,
    input_size: int | tuple[int, ...] = 224,
    *,
    training: TrainingMemory | None = None,
    precision: str = "float32",
    channels_last: bool = False,
    device: str = "cpu",
    tried: Callable[[MemoryReport], None] | None = None,
) -> MemoryReport:
    """Find the largest batch whose predicted peak is at most ``memory_bytes``.

    Memory grows almost linearly with the batch, so a straight line through the last two
    predictions says where to look next. Batches above ``MOST_SAMPLES`` are not tried.

    Args:
        model: Any module that takes one image.
        memory_bytes: The limit, in bytes.
        input_size: As for ``analyze``.
        training: How it is trained; None for inference.
        precision: As for ``predict_memory``.
        channels_last: As for ``predict_memory``.
        device: As for ``predict_memory``.
        tried: Called after each prediction but the first.

    Returns:
        The prediction for that batch.

    Raises:
        OptionError: Not even one sample fits, or not the two that BatchNorm trains on at least.
    """
    predict = partial(
        predict_memory,
        model,
        input_size,
        training=training,
        precision=precision,
        channels_last=channels_last,
        device=device,
    )
    fits, too_many = _smallest(predict, training), MOST_SAMPLES + 1
    if fits.peak_bytes > memory_bytes:
        raise OptionError(
            f"expected a limit of at least {fits.peak_bytes:,} bytes, which a batch of "
            f"{fits.batch} needs, got {memory_bytes:,}: allow more, or take a smaller input "
            "or network"
        )
    slope = float(fits.input_bytes)  # less than the truth, so that the first step overshoots
    while too_many - fits.batch > 1:
        room = max(int((memory_bytes - fits.peak_bytes) / slope), 1)
        report = predict(batch=min(fits.batch + room, 2 * fits.batch, too_many - 1))
        if tried:
            tried(report)
        slope = max((report.peak_bytes - fits.peak_bytes) / (report.batch - fits.batch), 1.0)
        if report.peak_bytes <= memory_bytes:
            fits = report
        else:
            too_many = report.batch
    return fits


def _smallest(
    predict: Callable[..., MemoryReport], training: TrainingMemory | None
) -> MemoryReport:
    """Predict the smallest batch that runs: BatchNorm cannot train on a single value."""
    try:
        return predict(batch=1)
    except OptionError:
        if training is None:
            raise
        return predict(batch=2)


def _rehearsed(
    rehearsal: Rehearsal, training: TrainingMemory | None, precision: str, batch: int
) -> MemoryReport:
    allocations, parameters = rehearsal.allocations, rehearsal.parameters.values()
    weights = allocations.hold([*parameters, *rehearsal.buffers.values()])
    images = allocations.hold(rehearsal.images)
    kept, temporary = OPTIMIZERS[training.optimizer] if training else (0, 0)
    if training:
        rehearsal.step(PRECISIONS[precision], training.loss, checkpointing=training.checkpointing)
        sizes = [p.numel() * p.element_size() for p in parameters if p.grad is not None]
        at_once = max if rehearsal.device == "cpu" else sum
        moment = allocations.held + temporary * at_once([0, *sizes])
        allocations.moments.append(("", "update", moment, allocations.gradients))
    else:
        rehearsal.forward(PRECISIONS[precision])
    gradients = allocations.gradients
    average = weights if training and training.ema else 0
    beside = kept * gradients + average
    fixed = weights + images + beside
    timeline = _timeline(allocations.moments, beside)
    peak = max(timeline, key=lambda moment: moment.held_bytes, default=Moment("", "", fixed, 0))
    return MemoryReport(
        batch=batch,
        precision=precision,
        parameter_bytes=weights,
        gradient_bytes=gradients,
        optimizer_bytes=kept * gradients,
        ema_bytes=average,
        input_bytes=images,
        activation_bytes=peak.held_bytes - fixed - peak.gradient_bytes,
        peak_bytes=peak.held_bytes,
        peak=peak,
        timeline=timeline,
    )


def _timeline(moments: Iterable[tuple[str, str, int, int]], beside: int) -> tuple[Moment, ...]:
    """Return the highest moment of each run of neighbours with the same layer and phase.

    Args:
        moments: Layer, phase, bytes held, and gradients among them.
        beside: Bytes that are held all the time and were not counted.
    """
    runs = groupby(moments, key=lambda moment: moment[:2])
    highest = [max(run, key=lambda moment: moment[2]) for _, run in runs]
    return tuple(Moment(layer, phase, held + beside, g) for layer, phase, held, g in highest)
