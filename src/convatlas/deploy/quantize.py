"""From an exported file to one with 8-bit weights and activations, by ONNX Runtime's own tool.

Static quantisation (QDQ): the range of every activation is found once, on training images that are
prepared by the file's own record. It knows neither the network nor how good the result is.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from convatlas.deploy.agreement import Floats
from convatlas.deploy.export import INPUT_NAME
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import ConvAtlasError, DataError, ExportError, OptionError, OutputError
from convatlas.files import require_writable, write_file, write_text

__all__ = ["ASIDE", "CALIBRATION_IMAGES", "QuantizedModel", "full_disk", "is_full", "quantize_onnx"]

CALIBRATION_IMAGES = 256
"""As many training images are enough for the ranges; more only take longer."""

ASIDE = ".quantising-"
"""How the names of the folders begin in which files lie until they are complete."""

_COPIES = 5  # of the exported file that may lie side by side on the way


@dataclass(frozen=True, slots=True)
class QuantizedModel:
    """What a quantisation wrote.

    Attributes:
        path: The ONNX file.
        record_path: The JSON record beside it, the same as in the file's metadata.
        bytes: Size of the ONNX file.
        images: Number of images that the ranges were found on.
        seconds: Wall time.
    """

    path: Path
    record_path: Path
    bytes: int
    images: int
    seconds: float


def quantize_onnx(
    exported: str | Path,
    path: str | Path,
    images: Sequence[Image.Image],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> QuantizedModel:
    """Write an 8-bit copy of an exported file, and its record as JSON beside it.

    Args:
        exported: A file that ``export_onnx`` wrote; left as it is.
        path: The file to write, ending in ``.onnx``.
        images: Training images before preprocessing; each is asked for once.
        progress: Called as ``progress(done, total)`` after each image.

    Raises:
        OptionError: A file name without ``.onnx``.
        DataError: No image, or one that cannot be read.
        ExportError: The exported file cannot be read or quantised.
        OutputError: The folder of ``path`` cannot be written, or its disk is full; everything that
            is written on the way lies in it too, and is removed again.
    """
    started = time.perf_counter()
    exported, path = Path(exported), Path(path)
    if path.suffix != ".onnx":
        raise OptionError(f"expected a file name ending in .onnx, got {path.name!r}: rename it")
    if not images:
        raise DataError("expected training images to find the ranges on, got none: pass some")
    classifier = OnnxClassifier(exported)
    require_writable(path)
    graph = _quantized(exported, _Reader(classifier, images, progress), path.parent)
    _describe(graph, classifier.record)
    content = graph.SerializeToString()
    record_path = path.with_suffix(".json")
    write_file(path, content)
    write_text(record_path, classifier.record.to_json())
    return QuantizedModel(
        path=path,
        record_path=record_path,
        bytes=len(content),
        images=len(images),
        seconds=time.perf_counter() - started,
    )


class _Reader:
    """Hands the images to the tool one after the other, as it asks for them."""

    def __init__(
        self,
        classifier: OnnxClassifier,
        images: Sequence[Image.Image],
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._classifier = classifier
        self._images = images
        self._progress = progress
        self._done = 0

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next image by the name of the input; None after the last."""
        if self._progress is not None and self._done:
            self._progress(self._done, len(self._images))
        if self._done == len(self._images):
            return None
        image = self._images[self._done]
        self._done += 1
        return {INPUT_NAME: self._classifier.prepare([image])}


def _quantized(exported: Path, reader: _Reader, folder: Path) -> Any:
    """Return the ``onnx.ModelProto``; the tool's own files lie in ``folder`` until it is there."""
    import onnx
    from onnxruntime.quantization import quant_pre_process, quantize_static

    try:
        with _quiet_tool(), _working_in(folder) as aside:
            plain, small = aside / "plain.onnx", aside / "small.onnx"
            quant_pre_process(exported, plain, skip_symbolic_shape=True)
            apart = _infinite_nodes(plain)
            with _ranges_known("ignore" if apart else "error", exported.name):
                quantize_static(plain, small, reader, nodes_to_exclude=apart, **_options())
            return onnx.load(small)
    except ConvAtlasError:
        raise
    except Exception as error:  # the tool lets errors of every kind through
        free, needed = shutil.disk_usage(folder).free, _COPIES * exported.stat().st_size
        if is_full(error) or free < needed:  # half a file, too, is read with an error
            raise full_disk(exported, folder) from error
        reason = (str(error).strip() or "no reason given").partition("\n")[0]
        raise ExportError(
            f"ONNX Runtime cannot quantise {exported.name} ({type(error).__name__}: {reason}): "
            "use the file in single precision"
        ) from error


def _infinite_nodes(path: Path) -> list[str]:
    """Name the nodes of an ONNX file that infinite values go into, which have no range.

    Such are the masks of attention: what they are added to is infinite until Softmax makes it 0.
    The file is written anew where nodes are without a name.
    """
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    nodes, infinite = model.graph.node, set()
    for number, node in enumerate(nodes):
        node.name = node.name or f"node {number}"
        values = [
            each.t for each in node.attribute if node.op_type == "Constant" and each.HasField("t")
        ]
        if any(_is_infinite(numpy_helper.to_array(value)) for value in values):
            infinite.update(node.output)
    for value in model.graph.initializer:
        if _is_infinite(numpy_helper.to_array(value)):
            infinite.add(value.name)
    if not infinite:
        return []
    found = []
    for node in nodes:  # which are in the order of the computation
        if not infinite.isdisjoint(node.input):
            found.append(node.name)
            if node.op_type != "Softmax":
                infinite.update(node.output)
    onnx.save(model, path)
    return found


def _is_infinite(values: NDArray[Any]) -> bool:
    return values.dtype.kind == "f" and not np.isfinite(values).all()


@contextmanager
def _working_in(folder: Path) -> Iterator[Path]:
    """Give a folder below ``folder``, in which the tool puts its temporary files too."""
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=ASIDE, dir=folder) as aside:
        tempfile.tempdir = aside
        try:
            yield Path(aside)
        finally:
            tempfile.tempdir = before


def is_full(error: Exception) -> bool:
    """Tell whether an error says that a disk, or somebody's share of it, is full."""
    return isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT)


def full_disk(exported: Path, folder: Path) -> OutputError:
    """Return what to raise when the disk of ``folder`` is full.

    Args:
        exported: The exported file; the tool writes several of its size.
        folder: Where.
    """
    free, needed = shutil.disk_usage(folder).free, _COPIES * exported.stat().st_size
    return OutputError(
        f"cannot write {folder}: {os.strerror(ENOSPC)} while quantising (up to "
        f"{needed / 1e6:,.0f} MB are needed, {free / 1e6:,.0f} MB are free); free some space or "
        "choose another disk"
    )


def _options() -> dict[str, Any]:
    """Return what the tool is asked for; the reasons are in ``docs/shipping.md``."""
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType

    return {
        "quant_format": QuantFormat.QDQ,
        "calibrate_method": CalibrationMethod.MinMax,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
        "extra_options": {"OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"]},
    }


def _describe(graph: Any, record: ExportRecord) -> None:
    """Put the record in, and nothing else: the tool adds notes about itself."""
    del graph.metadata_props[:]
    graph.metadata_props.add(key=METADATA_KEY, value=record.to_json())


@contextmanager
def _ranges_known(otherwise: Literal["ignore", "error"], name: str) -> Iterator[None]:
    """Raise where ranges are no numbers, or ignore those of nodes that stay as they are."""
    with warnings.catch_warnings():
        warnings.filterwarnings(otherwise, "invalid value encountered", RuntimeWarning)
        try:
            yield
        except RuntimeWarning as error:
            raise ExportError(
                f"ONNX Runtime cannot quantise {name} (an activation is infinite or not a number): "
                "use the file in single precision"
            ) from error


@contextmanager
def _quiet_tool() -> Iterator[None]:
    """Hide what the tool logs on every run and no caller can act on.

    It logs to the root, which would first be given a handler for good if it has none.
    """
    root, placeholder = logging.getLogger(), logging.NullHandler()
    root.addHandler(placeholder)
    root.addFilter(_not_by_the_tool)
    try:
        yield
    finally:
        root.removeFilter(_not_by_the_tool)
        root.removeHandler(placeholder)


def _not_by_the_tool(message: logging.LogRecord) -> bool:
    return "onnxruntime" not in Path(message.pathname).parts
