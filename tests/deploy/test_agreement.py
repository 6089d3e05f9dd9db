"""Comparing logits: numbers worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from convatlas.deploy.agreement import Agreement, softmax


def table(*rows: tuple[float, ...]) -> np.ndarray:
    return np.array(rows, dtype=np.float32)


def test_worked_by_hand() -> None:
    # The means are 3 and 0.5, so the response is 1; the second image changes its prediction,
    # although the first table has the two logits 1 apart.
    found = Agreement.of(table((4, 0), (2, 1)), table((4, 0.25), (1.5, 1.75)))
    assert found.response == 1
    assert found.absolute == found.relative == 0.75
    assert found.top1 == 0.5
    assert found.disagreements == 1
    assert not found.passed


def test_equal_tables_pass() -> None:
    logits = table((4, 0), (2, 1))
    found = Agreement.of(logits, logits)
    assert found == Agreement(1.0, True, 0.0, 0.0, 0.0, 1.0, 0)
    assert found.passed


def test_the_response_is_no_more_than_the_largest_logit() -> None:
    # One image in four at 3, the others at -3: 4.5 from the mean of -1.5.
    logits = table((3, 0), (-3, 0), (-3, 0), (-3, 0))
    assert Agreement.of(logits, logits).response == 3


def test_a_tie_is_no_disagreement() -> None:
    found = Agreement.of(table((2, 2), (-2, 0)), table((2, 2.001), (-2, 0)))
    assert found.top1 == 0.5
    assert found.disagreements == 0
    assert found.passed


def test_a_large_bias_hides_no_error() -> None:
    # The images change a logit of 1000 by 2; an error of 0.5 is a quarter of that.
    first = table((1002, 0), (998, 0))
    found = Agreement.of(first, first + np.float32(0.5))
    assert found.conclusive
    assert found.relative == pytest.approx(0.25)
    assert not found.passed


def test_images_that_change_nothing_are_inconclusive() -> None:
    logits = table((5, 1), (5, 1))
    found = Agreement.of(logits, logits)
    assert (found.response, found.absolute) == (0, 0)
    assert not found.conclusive
    assert not found.passed


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_what_is_not_finite_never_passes(broken: float) -> None:
    fine, bad = table((4, 0), (0, 4)), table((4, 0), (0, broken))
    for first, second in ((fine, bad), (bad, fine), (bad, bad)):
        found = Agreement.of(first, second)
        assert found.absolute == math.inf
        assert not found.passed


def test_softmax() -> None:
    logits = table((0, math.log(3)), (1000, 1000))
    np.testing.assert_allclose(softmax(logits), [[0.25, 0.75], [0.5, 0.5]], rtol=1e-6)
