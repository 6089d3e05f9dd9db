"""``analyze``: what a model costs and sees, layer by layer, without running it.

Puts the parts together: lend the model, trace one forward, ask the tables for the cost and
the receptive field of each operation, and sum up. Works on any module; knows no family.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from convatlas.analysis.formulas import FORMULAS
from convatlas.analysis.inputs import make_inputs, without_memory
from convatlas.analysis.isolation import lend, modules_of, readable, uncollected
from convatlas.analysis.ledger import Ledger, uncounted_in
from convatlas.analysis.operation import tensors_in
from convatlas.analysis.report import SUMMED, CostReport
from convatlas.analysis.trace import Trace, TraceError, listen
from convatlas.analysis.windows import ShapeError
from convatlas.errors import ConvAtlasError, InputSizeError, OptionError

__all__ = ["Run", "analyze", "report_of", "traced"]


@dataclass(frozen=True, slots=True)
class Run:
    """One traced forward.

    Attributes:
        trace: What ran.
        parameters: The model's parameters by id.
        images: The inputs.
        outputs: The tensors among the outputs.
    """

    trace: Trace
    parameters: dict[int, Tensor]
    images: list[Tensor]
    outputs: list[Tensor]


def analyze(
    model: nn.Module,
    input_size: int | tuple[int, ...] = 224,
    *,
    in_channels: int | None = None,
    batch: int = 1,
    inputs: Sequence[Tensor] | None = None,
) -> CostReport:
    """Count what ``model`` costs for one input, in eval mode, without allocating activations.

    The model is left exactly as found, also when its forward raises: mode, hooks, gradients,
    buffers and the random state; no other thread may run it meanwhile. An operator without a
    formula is listed in ``uncounted`` and makes the totals lower bounds.

    Args:
        model: Any module, on any device, of any dtype.
        input_size: Without the batch: one number for a square image (or a cube, or a length,
            by the model's first convolution), the spatial sizes (height, width), or the
            channels and the spatial sizes (channels, height, width), (channels, length). For
            a model without convolutions: the whole shape of a sample, such as (features,),
            or what follows ``in_channels``.
        in_channels: Channels of the input; those of the first convolution when None.
        batch: Samples in the input; costs are those of the whole batch.
        inputs: The arguments of forward, when one image is not what it takes. Only their
            shapes and dtypes are read.

    Returns:
        Costs per layer in execution order, and their totals.

    Raises:
        InputSizeError: An input that is too small, or has the wrong number of channels.
        OptionError: A model or an input that cannot be analysed.
    """
    with uncollected():
        return report_of(
            traced(model, input_size, in_channels=in_channels, batch=batch, inputs=inputs)
        )


def traced(
    model: nn.Module,
    input_size: int | tuple[int, ...] = 224,
    *,
    in_channels: int | None = None,
    batch: int = 1,
    inputs: Sequence[Tensor] | None = None,
) -> Run:
    """Record one forward of ``model``; arguments and errors are those of :func:`analyze`."""
    model = readable(model)
    modules = modules_of(model)
    parameters = [p for _, m in modules for p in m._parameters.values() if p is not None]
    if inputs is None:
        images = make_inputs(
            [module for _, module in modules], parameters, input_size, in_channels, batch
        )
    else:
        images = without_memory(inputs)
    buffers = [b for _, m in modules for b in m._buffers.values() if b is not None]
    trace = Trace(FORMULAS, [*parameters, *buffers])
    outputs = _run(model, modules, trace, images)
    return Run(trace, {id(p): p for p in parameters}, images, outputs)


def _run(
    model: nn.Module, modules: list[tuple[str, nn.Module]], trace: Trace, images: list[Tensor]
) -> list[Tensor]:
    """Trace one forward and return the tensors among its outputs."""
    try:
        with torch.no_grad(), lend(modules, trace.framed), listen(trace):
            output = model(*images)
    except ConvAtlasError:
        raise
    except Exception as error:
        raise _explained(error, model, trace, images) from error
    return list(tensors_in((output,)))


def _explained(
    error: Exception, model: nn.Module, trace: Trace, images: Sequence[Tensor]
) -> ConvAtlasError:
    """Say in one line where the forward failed and what to change."""
    call = trace.failed_in
    where = f"{call.path} ({call.module_type})" if call and call.path else "forward"
    shapes = ", ".join("×".join(map(str, image.shape)) for image in images)
    start = f"{type(model).__name__} cannot take a {shapes} input: {where} "
    if isinstance(error, ShapeError):
        return InputSizeError(f"{start}{error}; change input_size or in_channels")
    if isinstance(error, TraceError):
        return OptionError(f"{type(model).__name__} cannot be analysed: {where} {error}")
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return OptionError(
        f"{start}failed with {type(error).__name__}: {line.rstrip('.')}; "
        "change input_size, or pass inputs as forward wants them"
    )


def report_of(run: Run) -> CostReport:
    """Sum up what a recorded forward costs."""
    trace, parameters, images = run.trace, run.parameters, run.images
    outputs = run.outputs
    layers = Ledger(parameters, trace.stand_ins.originals, images).rows(trace.operations)
    fields = (layer.receptive_field for layer in reversed(layers))
    return CostReport(
        layers=layers,
        input_shape=tuple(images[0].shape) if images else (),
        output_shape=tuple(outputs[0].shape) if outputs else (),
        params=sum([p.numel() for p in parameters.values()]),
        trainable_params=sum([p.numel() for p in parameters.values() if p.requires_grad]),
        **{name: sum([getattr(layer, name) for layer in layers]) for name in SUMMED[1:]},
        receptive_field=next((field for field in fields if field is not None), None),
        uncounted=uncounted_in(layers),
    )
