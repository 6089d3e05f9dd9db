"""What fewer bits cost and gain: an exported file and its 8-bit copy on the same images.

It knows files and numbers, neither the network nor how the copy was made.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from convatlas.deploy.agreement import Agreement, Floats
from convatlas.deploy.runtime import OnnxClassifier
from convatlas.errors import DataError

__all__ = ["PrecisionReport", "compare_precision"]

_WARMUP_ROUNDS = 3
_ROUNDING = 1e-9  # of an image: 0.01 · 700 is a little more than 7


@dataclass(frozen=True, slots=True)
class PrecisionReport:
    """An 8-bit file against the file in single precision that it was made from.

    Attributes:
        images: Number of images that both were asked about.
        accuracy: Share of them that the 8-bit file has right.
        fp32_accuracy: The same for the file in single precision.
        lost: How many fewer images the 8-bit file has right; negative if it has more.
        top1_agreement: Share of images that both give the same class.
        max_probability_difference: Largest absolute difference of a probability; infinite
            where a logit is not finite.
        latency_ms: Median time of one image through the 8-bit file, in milliseconds.
        fp32_latency_ms: The same for the other, measured in turn with it.
        threads: Threads that both used for the latency.
        bytes: Size of the 8-bit file.
        fp32_bytes: Size of the other.
    """

    images: int
    accuracy: float
    fp32_accuracy: float
    lost: int
    top1_agreement: float
    max_probability_difference: float
    latency_ms: float
    fp32_latency_ms: float
    threads: int
    bytes: int
    fp32_bytes: int

    @property
    def drop(self) -> float:
        """How far the accuracy falls, as a share of the images; negative if it rises."""
        return self.lost / self.images

    def keeps_within(self, max_drop: float) -> bool:
        """Tell whether the accuracy falls by no more than ``max_drop`` and all is finite."""
        allowed = max_drop * self.images + _ROUNDING
        return self.lost <= allowed and math.isfinite(self.max_probability_difference)


def compare_precision(
    exported: str | Path,
    quantized: str | Path,
    images: npt.ArrayLike,
    labels: Sequence[int],
    *,
    batch_size: int = 32,
    threads: int = 1,
    latency_rounds: int = 20,
) -> PrecisionReport:
    """Ask both files about held-out images, and time them in turn on the first one.

    Args:
        exported: The file in single precision.
        quantized: The 8-bit file made from it.
        images: Held-out images, already preprocessed, shape ``(N, C, H, W)``.
        labels: Their true classes.
        batch_size: Images per batch.
        threads: Threads for the latency of one image.
        latency_rounds: Timed rounds, after three to warm up.

    Raises:
        ExportError: A file that cannot be loaded.
        DataError: No images, or not one label for each.
        InputSizeError: Images that the files do not take.
    """
    batch = np.asarray(images, dtype=np.float32)
    if len(batch) == 0 or len(batch) != len(labels):
        raise DataError(
            f"expected held-out images with one label each, got {len(batch)} images and "
            f"{len(labels)} labels"
        )
    paths = (Path(exported), Path(quantized))
    exact, coarse = (_logits(path, batch, batch_size) for path in paths)
    right = [int((logits.argmax(1) == np.asarray(labels)).sum()) for logits in (exact, coarse)]
    agreement = Agreement.of(exact, coarse)
    timed = [OnnxClassifier(path, threads=threads) for path in paths]
    exact_ms, coarse_ms = _median_ms(
        [partial(file.logits, batch[:1]) for file in timed], latency_rounds
    )
    return PrecisionReport(
        images=len(batch),
        accuracy=right[1] / len(batch),
        fp32_accuracy=right[0] / len(batch),
        lost=right[0] - right[1],
        top1_agreement=agreement.top1,
        max_probability_difference=agreement.probability,
        latency_ms=coarse_ms,
        fp32_latency_ms=exact_ms,
        threads=threads,
        bytes=paths[1].stat().st_size,
        fp32_bytes=paths[0].stat().st_size,
    )


def _logits(path: Path, images: Floats, batch_size: int) -> Floats:
    classifier = OnnxClassifier(path)
    starts = range(0, len(images), batch_size)
    return np.concatenate([classifier.logits(images[s : s + batch_size]) for s in starts])


def _median_ms(runs: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Return each one's median; in turn, so that a busy moment meets all of them."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(_WARMUP_ROUNDS + max(1, rounds)):
        for run, taken in zip(runs, times, strict=True):
            start = time.perf_counter()
            run()
            taken.append((time.perf_counter() - start) * 1000)
    return [statistics.median(taken[_WARMUP_ROUNDS:]) for taken in times]
