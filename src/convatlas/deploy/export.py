"""From a network to one ONNX file that carries its own preprocessing and class names.

Knows the anatomy and the record, but neither training nor the runtime that reads the file.

torch has two exporters. The one used here reads the network as a graph (``dynamo=True``): it
is torch's default since 2.9, the traced one is deprecated and warns at every shape check.
On two busy cores it took 4.7 s for a folded ResNet-50 and 4.9 s for a folded MobileNetV2, 3 s
more for the first export of a process; the traced one, without folding, 7.4 s and 3.7–5.3 s.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from convatlas.data.preprocess import Preprocessing
from convatlas.deploy.fold import fold_batch_norm
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.errors import ExportError, OptionError
from convatlas.files import require_writable, write_file, write_text
from convatlas.models.anatomy import ConvNet

__all__ = ["ExportedModel", "export_onnx"]

INPUT_NAME = "images"
OUTPUT_NAME = "logits"
_OPSETS = range(18, 24)
_LARGEST_BYTES = 2**31 - 2**20  # protobuf ends at 2 GiB; 1 MiB is left for the graph


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """What an export wrote.

    Attributes:
        path: The ONNX file.
        record_path: The JSON record beside it, the same as in the file's metadata.
        bytes: Size of the ONNX file.
        opset: Version of the ONNX operators.
        input_name: Name of the input, float32 ``(N, C, H, W)``, preprocessed.
        output_name: Name of the output, float32 logits ``(N, num_classes)``.
        seconds: Wall time of the export.
    """

    path: Path
    record_path: Path
    bytes: int
    opset: int
    input_name: str
    output_name: str
    seconds: float


def export_onnx(
    model: ConvNet,
    path: str | Path,
    preprocessing: Preprocessing,
    classes: Sequence[str],
    *,
    opset: int = 18,
    model_name: str | None = None,
) -> ExportedModel:
    """Write ``model`` as one self-contained ONNX file, and its record as JSON beside it.

    The file takes any batch size and the record's image size, runs in evaluation mode and
    single precision, and has its batch normalisation folded.

    Args:
        model: Left as it is: mode, device and parameters.
        path: The file to write, ending in ``.onnx``.
        preprocessing: How an image becomes the model's input; it decides the input size.
        classes: Class names in the order of the logits.
        opset: Version of the ONNX operators, 18–23; the oldest is read by the most runtimes.
        model_name: Stored in the record; the file's name without ending by default.

    Raises:
        OptionError: A path, opset, class list or preprocessing that does not fit.
        ExportError: The network cannot be written as ONNX, or is 2 GiB or larger.
        OutputError: The folder cannot be written.
    """
    started = time.perf_counter()
    path = Path(path)
    _check_options(path, opset)
    record = ExportRecord(model_name or path.stem, tuple(classes), preprocessing)
    network, image = _prepared(model, record)
    require_writable(path)
    graph = _to_onnx(network, image, opset)
    _describe(graph, record)
    content = graph.SerializeToString()
    record_path = path.with_suffix(".json")
    write_file(path, content)
    write_text(record_path, record.to_json())
    return ExportedModel(
        path=path,
        record_path=record_path,
        bytes=len(content),
        opset=opset,
        input_name=INPUT_NAME,
        output_name=OUTPUT_NAME,
        seconds=time.perf_counter() - started,
    )


def _check_options(path: Path, opset: int) -> None:
    if path.suffix != ".onnx":
        raise OptionError(f"expected a file name ending in .onnx, got {path.name!r}: rename it")
    if opset not in _OPSETS:
        raise OptionError(f"opset must be in {_OPSETS[0]}–{_OPSETS[-1]}, got {opset}")


def _prepared(model: ConvNet, record: ExportRecord) -> tuple[ConvNet, torch.Tensor]:
    """Return a folded copy on the CPU in single precision, and two images to export it with."""
    preprocessing = record.preprocessing
    if preprocessing.channels != model.in_channels:
        raise OptionError(
            f"expected preprocessing for {model.in_channels} channels, as the model takes, "
            f"got one for {preprocessing.channels}"
        )
    copy = deepcopy(model).cpu().float()
    for parameter in copy.parameters():  # channels_last would be written as extra operators
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)
    size = (preprocessing.input_size, preprocessing.input_size)
    network = fold_batch_norm(copy, size)
    image = torch.zeros(2, preprocessing.channels, *size)
    with torch.no_grad():
        num_classes = network(image).shape[1]
    if num_classes != len(record.classes):
        raise OptionError(f"expected {num_classes} class names, got {len(record.classes)}")
    weights = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    if weights > _LARGEST_BYTES:
        raise ExportError(f"one ONNX file holds less than 2 GiB, the weights are {weights} bytes")
    return network, image


def _to_onnx(network: ConvNet, image: torch.Tensor, opset: int) -> Any:
    """Return the ``onnx.ModelProto`` of ``network``, with a batch of any size."""
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                network,
                (image,),
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
            )
    except Exception as error:  # the exporter lets errors of every kind through
        raise ExportError(
            f"torch cannot write this network as ONNX ({_root_cause(error)}): "
            "replace the operation that it names"
        ) from error
    graph = program.model_proto  # type: ignore[union-attr]  # None only without dynamo
    written = graph.opset_import[0].version
    if written != opset:
        raise ExportError(f"expected operators of opset {opset}, torch wrote opset {written}")
    return graph


def _root_cause(error: BaseException) -> str:
    """Return the first line of the error below the exporter's own report of its steps."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Hide what the exporter says on every run and no caller can act on.

    One FutureWarning about its own use of ``LeafSpec``, and one log line per torchvision
    operator, because torchvision is not installed; no network here has such an operator.
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    logger.addFilter(_not_about_torchvision)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning
            )
            yield
    finally:
        logger.removeFilter(_not_about_torchvision)


def _not_about_torchvision(message: logging.LogRecord) -> bool:
    return not message.getMessage().startswith("torchvision is not installed")


def _describe(graph: Any, record: ExportRecord) -> None:
    """Put the record in, and take out the exporter's notes, which tell paths of this machine."""
    inner = graph.graph
    for entry in (*inner.node, *inner.input, *inner.output, *inner.value_info, *inner.initializer):
        entry.ClearField("metadata_props")
        entry.ClearField("doc_string")
    graph.metadata_props.add(key=METADATA_KEY, value=record.to_json())
