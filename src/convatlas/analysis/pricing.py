"""From a calibration to the price of any operator at any shape: a model per operator.

A model is a roofline with its terms added up (a constant, the arithmetic, and the elements
read and written, each with a non-negative cost), fitted to the samples' relative errors, and
randomised trees for what the roofline leaves: the efficiency at narrow, grouped or odd shapes.
The trees cannot extrapolate, the roofline can. Knows nothing about networks.

Sources: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009; Geurts, Ernst, Wehenkel,
"Extremely randomized trees", Machine Learning 63, 2006.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convatlas.analysis.calibration import Calibration
from convatlas.analysis.work import Work, kind_of

__all__ = ["Price", "Prices"]

_FEWEST_SAMPLES, _FEWEST_FOR_TREES = 4, 24
_TREES = 60
_LEAF = 2
# What prices an operator that the calibration does not know: moving its elements.
_MOVING = "copy"

Array = NDArray[np.float64]


class Price(NamedTuple):
    """The time of one work.

    Attributes:
        ms: Milliseconds.
        spread: Standard deviation of the logarithm of the time, as the samples scatter.
        is_guess: Whether the operator was not timed: then it costs what its sibling over
            images costs (a ``conv1d`` what a ``conv2d`` does), or what moving its elements does.
    """

    ms: float
    spread: float
    is_guess: bool


class Prices:
    """Prices works from a calibration; fits an operator's model when it is first asked for.

    Args:
        calibration: The samples.
    """

    def __init__(self, calibration: Calibration) -> None:
        self._samples: dict[str, list[tuple[Work, float]]] = {}
        for work, ms in ((sample.work, sample.ms) for sample in calibration.samples):
            self._samples.setdefault(kind_of(work), []).append((work, ms))
        self._models: dict[str, _Model] = {}

    def of(self, works: Sequence[Work]) -> list[Price]:
        """Return a price for each work."""
        kinds: dict[str, list[Work]] = {}
        for work in dict.fromkeys(works):
            kinds.setdefault(kind_of(work), []).append(work)
        known: dict[Work, Price] = {}
        for kind, members in kinds.items():
            model, is_guess = self._model(kind)
            times, spread = model.milliseconds(members), model.spread
            for work, ms in zip(members, times, strict=True):
                known[work] = Price(float(ms), spread, is_guess)
        return [known[work] for work in works]

    def _model(self, kind: str) -> tuple[_Model, bool]:
        """Return the model of a kind of work, and whether it stands in for a missing one."""
        is_guess = not self._knows(kind)
        if is_guess:
            sibling = re.sub("[13]d$", "2d", kind)
            kind = sibling if self._knows(sibling) else _MOVING
        if kind not in self._models:
            samples = self._samples.get(kind) or next(iter(self._samples.values()))
            self._models[kind] = _Model(samples)
        return self._models[kind], is_guess

    def _knows(self, kind: str) -> bool:
        return len(self._samples.get(kind, ())) >= _FEWEST_SAMPLES


class _Model:
    """The times of one operator."""

    def __init__(self, samples: Sequence[tuple[Work, float]]) -> None:
        from sklearn.ensemble import ExtraTreesRegressor
        from sklearn.linear_model import LinearRegression

        works = [work for work, _ in samples]
        times = np.array([ms for _, ms in samples])
        terms = _terms(works)
        roofline = LinearRegression(positive=True, fit_intercept=False)
        self._costs: Array = roofline.fit(terms / times[:, None], np.ones(len(times))).coef_
        self._trees: Any = None
        left = np.log(times / self._roofline(terms))
        self.spread = float(np.sqrt(np.mean(left**2)))
        if len(samples) >= _FEWEST_FOR_TREES and self.spread > 1e-6:
            self._trees = ExtraTreesRegressor(
                _TREES,
                min_samples_leaf=_LEAF,
                bootstrap=True,
                oob_score=_out_of_bag,
                random_state=0,
            )
            self._trees.fit(_features(works), left)
            self.spread = float(np.sqrt(np.mean((self._trees.oob_prediction_ - left) ** 2)))

    def milliseconds(self, works: Sequence[Work]) -> Array:
        """Return the time of each work."""
        times = self._roofline(_terms(works))
        if self._trees is not None:
            times = times * np.exp(self._trees.predict(_features(works)))
        return times

    def _roofline(self, terms: Array) -> Array:
        return np.maximum(terms @ self._costs, 1e-9)


def _out_of_bag(truth: Array, predicted: Array) -> float:
    return float(-np.mean((truth - predicted) ** 2))


def _terms(works: Sequence[Work]) -> Array:
    """Return what a roofline adds up; taps times outputs are the arithmetic of pooling."""
    rows = [(1, w.macs, w.taps * w.written, w.read, w.weights, w.written) for w in works]
    return np.array(rows, dtype=np.float64)


def _features(works: Sequence[Work]) -> Array:
    """Return what an operator's efficiency depends on: sizes as logarithms, and kinds."""
    rows = [
        (
            w.macs,
            w.read,
            w.weights,
            w.written,
            w.taps * w.written,
            w.read + w.weights + w.written,
            w.channels,
            w.filters,
            w.channels // w.groups,
            w.groups,
            w.positions,
            w.batch,
        )
        for w in works
    ]
    kinds = [
        (
            w.taps,
            w.side,
            w.stride,
            w.dilation,
            w.layout,
            w.in_place,
            w.macs / (w.read + w.weights + w.written + 1),
            *(size % step == 0 for size in (w.channels, w.filters) for step in (8, 16)),
        )
        for w in works
    ]
    return np.hstack([np.log2(np.array(rows) + 1.0), np.array(kinds, dtype=np.float64)])
