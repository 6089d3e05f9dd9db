"""From an exported file to one with 8-bit weights and activations, by ONNX Runtime's own tool.

Static quantisation (QDQ): the range of every activation is found once, on training images that are
prepared by the file's own record. It knows neither the network nor how good the result is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from convatlas.deploy.agreement import Floats
from convatlas.deploy.export import INPUT_NAME
from convatlas.deploy.record import METADATA_KEY, ExportRecord
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import ConvAtlasError, DataError, ExportError, OptionError
from convatlas.files import require_writable, write_file, write_text

__all__ = ["CALIBRATION_IMAGES", "QuantizedModel", "quantize_onnx"]

CALIBRATION_IMAGES = 256
"""As many training images are enough for the ranges; more only take longer."""


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
        OutputError: The folder cannot be written.
    """
    started = time.perf_counter()
    exported, path = Path(exported), Path(path)
    if path.suffix != ".onnx":
        raise OptionError(f"expected a file name ending in .onnx, got {path.name!r}: rename it")
    if not images:
        raise DataError("expected training images to find the ranges on, got none: pass some")
    classifier = OnnxClassifier(exported)
    require_writable(path)
    graph = _quantized(exported, _Reader(classifier, images, progress))
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


def _quantized(exported: Path, reader: _Reader) -> Any:
    """Return the ``onnx.ModelProto``; the tool's own files lie aside until it is there."""
    import onnx
    from onnxruntime.quantization import quant_pre_process, quantize_static

    try:
        with _quiet_tool(), TemporaryDirectory(prefix="convatlas-int8-") as folder:
            plain, small = Path(folder) / "plain.onnx", Path(folder) / "small.onnx"
            quant_pre_process(exported, plain, skip_symbolic_shape=True)
            quantize_static(plain, small, reader, **_options())
            return onnx.load(small)
    except ConvAtlasError:
        raise
    except Exception as error:  # the tool lets errors of every kind through
        reason = (str(error).strip() or "no reason given").partition("\n")[0]
        raise ExportError(
            f"ONNX Runtime cannot quantise {exported.name} ({type(error).__name__}: {reason}): "
            "use the file in single precision"
        ) from error


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
