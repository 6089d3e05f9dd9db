"""What is known of networks whose predictions were judged: records for tables, pages and files.

They know neither how the figures are computed nor how they are shown.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convatlas.tasks.bootstrap import Intervals
from convatlas.tasks.calibration import Calibration, Scaling
from convatlas.tasks.metrics import Evaluation, Predictions
from convatlas.tasks.paired import PairedComparison

__all__ = ["EvaluatedNetwork", "EvaluationReport", "Pair", "Picture", "PredictionSet"]


@dataclass(frozen=True, slots=True, eq=False)
class PredictionSet:
    """The predictions of one network, with what they are about.

    Attributes:
        name: What to call the network.
        predictions: Logits, labels and indices.
        classes: Class names in the order of the logits.
        images: Words by which a person finds each image, in the order of the logits.
        data: What to call the images together.
        origin: How they were set apart from the training images, in words.
        views: What the network was shown of each image, in words.
        weights_sha256: Hash of the weights' file; empty for several networks together.
    """

    name: str
    predictions: Predictions
    classes: tuple[str, ...]
    images: tuple[str, ...]
    data: str
    origin: str
    views: str
    weights_sha256: str


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """One image that was called the wrong class.

    Attributes:
        pixels: uint8 ``(H, W, C)``.
        source: Words by which a person finds it.
        true: Its class.
        predicted: The class it was given.
        confidence: Probability of that class, 0 … 1.
    """

    pixels: NDArray[np.uint8]
    source: str
    true: str
    predicted: str
    confidence: float


@dataclass(frozen=True, slots=True, eq=False)
class EvaluatedNetwork:
    """A run or an ensemble, with all that is known of it.

    Attributes:
        found: Its predictions.
        evaluation: Figures.
        calibration: What its probabilities are worth.
        scaling: What one temperature would make of them; None for a single image.
        intervals: Bootstrap intervals of the figures.
        chose_on_these: Whether these images decided which epoch's weights were kept, which
            flatters the figures.
        pictures: Its most confident mistakes, the worst first.
    """

    found: PredictionSet
    evaluation: Evaluation
    calibration: Calibration
    scaling: Scaling | None
    intervals: Intervals
    chose_on_these: bool = False
    pictures: tuple[Picture, ...] = ()

    @property
    def name(self) -> str:
        """What to call it."""
        return self.found.name

    def as_dict(self) -> dict[str, Any]:
        """Return all of it but predictions and pictures, as JSON values."""
        found = self.found
        return {
            "name": found.name,
            "data": found.data,
            "origin": found.origin,
            "views": found.views,
            "weights_sha256": found.weights_sha256,
            "chose_on_these_images": self.chose_on_these,
            "class_names": list(found.classes),
            "evaluation": self.evaluation.as_dict(),
            "intervals": asdict(self.intervals),
            "calibration": asdict(self.calibration),
            "temperature_scaling": asdict(self.scaling) if self.scaling else None,
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Two networks on the same images.

    Attributes:
        a: Name of the first.
        b: Name of the other.
        result: The other against the first.
    """

    a: str
    b: str
    result: PairedComparison

    @property
    def verdict(self) -> str:
        """The result as one sentence."""
        return self.result.verdict(self.a, self.b)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {"a": self.a, "b": self.b, "verdict": self.verdict, **asdict(self.result)}


@dataclass(frozen=True, slots=True, eq=False)
class EvaluationReport:
    """What ``convatlas evaluate`` found.

    Attributes:
        networks: The runs in the order given, then their ensemble.
        pairs: Comparisons with the first run.
        written: Folders that the files were written to.
    """

    networks: tuple[EvaluatedNetwork, ...]
    pairs: tuple[Pair, ...]
    written: tuple[Path, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return {
            "networks": [network.as_dict() for network in self.networks],
            "comparisons": [pair.as_dict() for pair in self.pairs],
        }
