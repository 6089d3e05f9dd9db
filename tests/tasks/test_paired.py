"""Paired comparison against SciPy's binomial test and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from convatlas.errors import DataError, OptionError
from convatlas.tasks.ensembles import ensemble, mean_of_probabilities
from convatlas.tasks.metrics import Predictions
from convatlas.tasks.paired import compare_predictions, mcnemar_p_value


def told(right: list[bool]) -> Predictions:
    """Return predictions of two classes that are right where ``right`` says."""
    hits = torch.tensor(right)
    logits = torch.stack([hits.float(), 1 - hits.float()], dim=1)
    labels = torch.zeros(len(hits), dtype=torch.int64)
    return Predictions(logits, labels, torch.arange(len(hits)))


def pair(both: int, only_a: int, only_b: int, neither: int) -> tuple[Predictions, Predictions]:
    a = [True] * both + [True] * only_a + [False] * only_b + [False] * neither
    b = [True] * both + [False] * only_a + [True] * only_b + [False] * neither
    return told(a), told(b)


@pytest.mark.parametrize(
    ("only_a", "only_b"), [(0, 0), (0, 1), (3, 3), (1, 9), (40, 22), (700, 610), (0, 3000)]
)
def test_mcnemar_agrees_with_the_binomial_test(only_a: int, only_b: int) -> None:
    tosses = only_a + only_b
    expected = binomtest(only_a, tosses, 0.5).pvalue if tosses else 1.0
    assert mcnemar_p_value(only_a, only_b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    # One head or none, or as many tails, in ten tosses: 2 · (1 + 10) / 1024.
    assert mcnemar_p_value(1, 9) == 22 / 1024


def test_counts_and_difference() -> None:
    found = compare_predictions(*pair(both=80, only_a=2, only_b=12, neither=6))
    assert (found.both_right, found.only_a_right) == (80, 2)
    assert (found.only_b_right, found.both_wrong) == (12, 6)
    assert found.difference == pytest.approx(0.1)
    assert found.is_significant


def test_the_interval_is_that_of_paired_draws() -> None:
    a, b = pair(both=120, only_a=15, only_b=35, neither=30)
    gain = (b.logits.argmax(1) == 0).numpy().astype(int) - (a.logits.argmax(1) == 0).numpy()
    generator = np.random.default_rng(9)
    draws = [gain[generator.integers(200, size=200)].mean() for _ in range(4000)]
    found = compare_predictions(a, b, resamples=20_000)
    assert found.difference_interval == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.01)


def test_pairs_are_told_apart_where_single_intervals_overlap() -> None:
    # 70 % against 76 % of 200 images: each alone is known to about ±6 points.
    found = compare_predictions(*pair(both=138, only_a=2, only_b=14, neither=46))
    assert found.p_value == pytest.approx(binomtest(2, 16, 0.5).pvalue)
    assert found.is_significant


def test_verdicts() -> None:
    better = compare_predictions(*pair(both=900, only_a=10, only_b=40, neither=50))
    text = better.verdict("old", "new")
    assert text.startswith("new is better than old by 3.0 points (95 %: ")
    assert text.endswith("p < 0.001.")
    worse = compare_predictions(*pair(both=900, only_a=40, only_b=10, neither=50))
    span = worse.verdict("old", "new").partition("95 %: ")[2].partition(")")[0]
    low, high = map(float, span.split(" to "))
    assert 0 < low < 3 < high
    assert worse.verdict("old", "new").startswith("old is better than new by 3.0 points")
    open_case = compare_predictions(*pair(both=90, only_a=4, only_b=5, neither=1))
    text = open_case.verdict()
    assert text.startswith("A and B cannot be told apart: B is ahead by 1.0 points (95 %: −")
    same = compare_predictions(*pair(both=9, only_a=0, only_b=0, neither=1))
    expected = "A and B cannot be told apart: they are level (95 %: 0.0 to 0.0), p = 1."
    assert same.verdict() == expected


def test_other_images_cannot_be_compared() -> None:
    a, b = pair(both=4, only_a=1, only_b=1, neither=0)
    moved = Predictions(b.logits, b.labels, b.indices + 1)
    with pytest.raises(DataError, match="the same images in the same order"):
        compare_predictions(a, moved)
    with pytest.raises(DataError, match="the same images, got 6 and 2"):
        compare_predictions(a, told([True, False]))
    wide = Predictions(torch.zeros(6, 3), b.labels, b.indices)
    with pytest.raises(DataError, match="the same classes, got 2 and 3"):
        compare_predictions(a, wide)
    with pytest.raises(OptionError, match="at least 100 draws, got 5"):
        compare_predictions(a, b, resamples=5)
    nobody = Predictions(torch.zeros(0, 2), b.labels[:0], b.indices[:0])
    with pytest.raises(DataError, match="at least 1 image"):
        compare_predictions(nobody, nobody)


def test_an_ensemble_averages_probabilities_not_logits() -> None:
    labels, indices = torch.tensor([0]), torch.tensor([0])
    parts = [
        Predictions(torch.tensor([row]).log(), labels, indices)
        for row in ([0.9, 0.05, 0.05], [0.1, 0.8, 0.1])
    ]
    found = ensemble(parts).logits.softmax(1)
    torch.testing.assert_close(found, torch.tensor([[0.5, 0.425, 0.075]]))
    with pytest.raises(DataError, match="at least 1 set"):
        ensemble([])


def test_the_mean_of_very_sure_views_does_not_overflow() -> None:
    views = torch.tensor([[[2000.0, 0.0], [0.0, 2000.0]]])
    torch.testing.assert_close(mean_of_probabilities(views).softmax(1), torch.tensor([[0.5, 0.5]]))
