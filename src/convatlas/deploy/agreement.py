"""How far two tables of logits agree, measured by how much the images matter to them.

Numbers only: it knows neither networks nor files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["LEAST_RESPONSE", "LOGIT_TOLERANCE", "Agreement", "Floats", "softmax"]

LOGIT_TOLERANCE = 1e-3  # of the response; single precision alone reaches about 1e-4
LEAST_RESPONSE = 1e-3  # of the largest logit; below it rounding alone reaches the tolerance

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a second table of logits compares with the first.

    Attributes:
        response: How much the images matter: the largest distance of a logit of the first from
            its mean over the images, but no more than the largest logit.
        conclusive: Whether the response is more than 1e-3 of the largest logit. A network that
            ignores its images agrees with every file that ignores them too.
        absolute: Largest absolute difference of a logit.
        relative: That, divided by the response: by the largest logit, a large bias would
            hide any error.
        probability: Largest absolute difference of a probability.
        top1: Fraction of images with the same prediction.
        disagreements: Images with another prediction that is no tie: the first table itself
            has the two logits further apart than 1e-3 of the response.
    """

    response: float
    conclusive: bool
    absolute: float
    relative: float
    probability: float
    top1: float
    disagreements: int

    @classmethod
    def of(cls, first: Floats, second: Floats) -> Agreement:
        """Compare the network's logits with the file's, both ``(N, num_classes)``.

        Any NaN or infinity is an infinite difference.
        """
        predicted = second.argmax(1)
        same = first.argmax(1) == predicted
        top1 = float(same.mean())
        if not (np.isfinite(first).all() and np.isfinite(second).all()):
            inf = math.inf
            return cls(0.0, False, inf, inf, inf, top1, int((~same).sum()))
        largest = float(np.abs(first).max())
        response = min(float(np.abs(first - first.mean(0)).max()), largest)
        absolute = float(np.abs(first - second).max())
        margin = first.max(1) - first[np.arange(len(first)), predicted]
        return cls(
            response=response,
            conclusive=response > LEAST_RESPONSE * largest,
            absolute=absolute,
            relative=absolute / response if response else math.inf,
            probability=float(np.abs(softmax(first) - softmax(second)).max()),
            top1=top1,
            disagreements=int((margin > LOGIT_TOLERANCE * response).sum()),
        )

    @property
    def passed(self) -> bool:
        """Whether the images matter, no prediction is another one, and the logits are close."""
        return self.conclusive and self.disagreements == 0 and self.relative <= LOGIT_TOLERANCE


def softmax(logits: Floats) -> Floats:
    """Return the softmax over the last axis."""
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
