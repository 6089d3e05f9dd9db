"""Proof that an exported file does what the network does, on images it never saw.

Both run on the CPU in single precision. Latency is measured with one thread by default: with
more, other programs on the machine decide the number, and not for both alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from convatlas.deploy.agreement import LOGIT_TOLERANCE, Agreement, Floats, softmax
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import DataError, ExportError
from convatlas.models.anatomy import ConvNet

__all__ = ["ParityReport", "certify", "require_parity"]

PIXEL_TOLERANCE = 1e-4
_WARMUP_RUNS = 3


@dataclass(frozen=True, slots=True)
class ParityReport:
    """How an exported file compares with the network it came from.

    Attributes:
        images: Number of images compared.
        logit_response: Largest distance of a logit of the network from its mean over the
            images, but no more than the largest logit.
        conclusive: Whether that is more than 1e-3 of the largest logit; a network that gives
            every image the same logits agrees with files that are wrong.
        max_logit_difference: Largest absolute difference of a logit.
        max_relative_difference: That, divided by ``logit_response``.
        max_probability_difference: Largest absolute difference of a probability.
        top1_agreement: Fraction of images with the same prediction.
        disagreements: Images with another prediction that is no tie: the network itself
            gives the two classes logits further apart than 1e-3 of ``logit_response``.
        preprocessing_difference: Largest difference between the images and what the file's
            own record makes of their sources; None without sources.
        end_to_end_difference: Largest difference of a probability between the network on
            the images and the file on their sources; None without sources.
        torch_accuracy: Fraction of labels that the network predicts; None without labels.
        onnx_accuracy: The same for the file.
        torch_latency_ms: Median time of one image in PyTorch, in milliseconds.
        onnx_latency_ms: The same in ONNX Runtime.
        threads: Threads that both used for the latency.
        file_bytes: Size of the file.
        passed: Conclusive, no disagreement, ``max_relative_difference`` at most 1e-3; and with
            sources ``preprocessing_difference`` at most 1e-4, ``end_to_end_difference`` at
            most 1e-3.
    """

    images: int
    logit_response: float
    conclusive: bool
    max_logit_difference: float
    max_relative_difference: float
    max_probability_difference: float
    top1_agreement: float
    disagreements: int
    preprocessing_difference: float | None
    end_to_end_difference: float | None
    torch_accuracy: float | None
    onnx_accuracy: float | None
    torch_latency_ms: float
    onnx_latency_ms: float
    threads: int
    file_bytes: int
    passed: bool

    @property
    def inconclusive(self) -> bool:
        """Whether nothing was found against the file, only because the images decide nothing.

        The probabilities and the preprocessing agree as they must for ``passed``, but the network
        gives all images the same logits.
        """
        return (
            not self.conclusive
            and self.max_probability_difference <= LOGIT_TOLERANCE
            and _sources_agree(self.preprocessing_difference, self.end_to_end_difference)
        )


def certify(
    model: ConvNet,
    exported_path: str | Path,
    images: Tensor,
    labels: Sequence[int] | Tensor | None = None,
    *,
    sources: Sequence[Image.Image] | None = None,
    batch_size: int = 32,
    threads: int = 1,
    latency_runs: int = 20,
) -> ParityReport:
    """Compare ``model`` with the file exported from it.

    Args:
        model: Left as it is; a copy in evaluation mode on the CPU is compared.
        exported_path: The ONNX file.
        images: Two or more held-out images, already preprocessed, shape ``(N, C, H, W)``.
        labels: Their true classes, for the accuracy of both.
        sources: The same images before preprocessing; then the file's own record is
            checked too.
        batch_size: Images per batch.
        threads: Threads for the latency of one image.
        latency_runs: Timed runs, after three to warm up.

    Raises:
        ExportError: The file cannot be loaded, or has another number of logits.
        DataError: Fewer than two images, or not one label and one source for each.
        InputSizeError: Images that the file or the network does not take.
    """
    _check_counts(images, labels, sources)
    classifier = OnnxClassifier(exported_path)
    network = deepcopy(model).cpu().float().eval()
    images = images.detach().cpu().float()
    ours, theirs = _logits(network, classifier, images, batch_size)
    agreement = Agreement.of(ours, theirs)
    prepared, end_to_end = _from_sources(classifier, images, ours, sources, batch_size)
    timed = OnnxClassifier(exported_path, threads=threads)
    with _torch_threads(threads):
        torch_ms = _median_ms(lambda: _torch_logits(network, images[:1]), latency_runs)
    return ParityReport(
        images=len(images),
        logit_response=agreement.response,
        conclusive=agreement.conclusive,
        max_logit_difference=agreement.absolute,
        max_relative_difference=agreement.relative,
        max_probability_difference=agreement.probability,
        top1_agreement=agreement.top1,
        disagreements=agreement.disagreements,
        preprocessing_difference=prepared,
        end_to_end_difference=end_to_end,
        torch_accuracy=_accuracy(ours, labels),
        onnx_accuracy=_accuracy(theirs, labels),
        torch_latency_ms=torch_ms,
        onnx_latency_ms=_median_ms(lambda: timed.logits(images[:1]), latency_runs),
        threads=threads,
        file_bytes=Path(exported_path).stat().st_size,
        passed=agreement.passed and _sources_agree(prepared, end_to_end),
    )


def require_parity(report: ParityReport) -> None:
    """Do nothing if ``report`` passed.

    Raises:
        ExportError: It did not; the message says in what.
    """
    if report.passed:
        return
    if report.inconclusive:
        raise ExportError(
            f"the model gives {report.images} images the same logits (they differ by "
            f"{report.logit_response:.2g}), so comparing them proves nothing: train it or load "
            "weights first, or compare other images"
        )
    raise ExportError(
        f"the exported file disagrees with the model on {report.images} images: "
        f"{report.disagreements} other predictions, logits differ by up to "
        f"{report.max_relative_difference:.2g} of their response (allowed {LOGIT_TOLERANCE:g}), "
        f"preprocessing by {report.preprocessing_difference or 0:.2g} "
        f"(allowed {PIXEL_TOLERANCE:g}): export it again and do not ship this one"
    )


def _check_counts(
    images: Tensor,
    labels: Sequence[int] | Tensor | None,
    sources: Sequence[Image.Image] | None,
) -> None:
    if len(images) < 2:
        raise DataError(f"expected at least two held-out images to compare, got {len(images)}")
    for kind, given in (("label", labels), ("source", sources)):
        if given is not None and len(given) != len(images):
            raise DataError(
                f"expected one {kind} for each of {len(images)} images, got {len(given)}"
            )


def _logits(
    network: ConvNet, classifier: OnnxClassifier, images: Tensor, batch_size: int
) -> tuple[Floats, Floats]:
    ours, theirs = [], []
    for batch in torch.split(images, batch_size):
        theirs.append(classifier.logits(batch))
        ours.append(_torch_logits(network, batch))
    widths = ours[0].shape[1], theirs[0].shape[1]
    if widths[0] != widths[1]:
        raise ExportError(
            f"expected a file with the model's {widths[0]} logits, got {widths[1]}: "
            "it was exported from another model"
        )
    return np.concatenate(ours), np.concatenate(theirs)


def _torch_logits(network: ConvNet, images: Tensor) -> Floats:
    with torch.inference_mode():
        logits: npt.NDArray[np.float32] = network(images).numpy()
    return logits


def _from_sources(
    classifier: OnnxClassifier,
    images: Tensor,
    ours: Floats,
    sources: Sequence[Image.Image] | None,
    batch_size: int,
) -> tuple[float | None, float | None]:
    """Return how far the file's own way from the sources is off: pixels, and probabilities."""
    if sources is None:
        return None, None
    pixels, probabilities = [], []
    for start in range(0, len(sources), batch_size):
        chunk = slice(start, start + batch_size)
        prepared = classifier.prepare(sources[chunk])
        pixels.append(np.abs(prepared - images[chunk].numpy()).max())
        theirs = softmax(classifier.logits(prepared))
        probabilities.append(np.abs(theirs - softmax(ours[chunk])).max())
    return float(np.max(pixels)), float(np.max(probabilities))


def _sources_agree(prepared: float | None, end_to_end: float | None) -> bool:
    if prepared is None or end_to_end is None:
        return True
    return prepared <= PIXEL_TOLERANCE and end_to_end <= LOGIT_TOLERANCE


def _accuracy(logits: Floats, labels: Sequence[int] | Tensor | None) -> float | None:
    if labels is None:
        return None
    return float((logits.argmax(1) == torch.as_tensor(labels).cpu().numpy()).mean())


@contextmanager
def _torch_threads(threads: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _median_ms(run: Callable[[], object], runs: int) -> float:
    for _ in range(_WARMUP_RUNS):
        run()
    times = []
    for _ in range(max(1, runs)):
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)
