"""Calibration against hand-worked tables, scikit-learn and SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import brier_score_loss, log_loss
from torch import Tensor

from convatlas.errors import DataError
from convatlas.tasks.calibration import (
    cross_fitted_scaling,
    expected_calibration_error,
    fit_temperature,
    measure_calibration,
    reliability_bins,
)


def sample(images: int = 800, classes: int = 5, sharpness: float = 1.0) -> tuple[Tensor, Tensor]:
    """Return logits times ``sharpness`` and labels drawn from the probabilities without it."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(images, classes, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    return logits * sharpness, labels


def test_the_reliability_table_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.85, 0.15, 0.5])
    right = torch.tensor([True, False, True, True])
    table = reliability_bins(confidence, right, bins=5)
    assert [(each.low, each.high, each.count) for each in table] == [
        (0.0, 0.2, 1),
        (0.2, 0.4, 0),
        (0.4, 0.6, 1),
        (0.6, 0.8, 0),
        (0.8, 1.0, 2),
    ]
    assert table[1].confidence is None
    assert table[1].accuracy is None
    assert table[4].confidence == pytest.approx(0.9)
    assert table[4].accuracy == 0.5


def test_the_errors_follow_from_the_table() -> None:
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]).log()
    found = measure_calibration(logits, torch.tensor([0, 1, 0]))
    # Two images at 0.9 of which one is right: gap 0.4; one at 0.6 that is right: gap 0.4.
    assert found.expected_calibration_error == pytest.approx(0.4)
    assert found.max_calibration_error == pytest.approx(0.4)
    found = measure_calibration(logits, torch.tensor([0, 0, 1]))
    assert found.expected_calibration_error == pytest.approx((2 * 0.1 + 0.6) / 3)
    assert found.max_calibration_error == pytest.approx(0.6)


@pytest.mark.parametrize("classes", [2, 5])
def test_loss_and_brier_score_agree_with_scikit_learn(classes: int) -> None:
    logits, labels = sample(classes=classes)
    probabilities = logits.double().softmax(1).numpy()
    found = measure_calibration(logits, labels)
    assert found.loss_nats == pytest.approx(log_loss(labels.numpy(), probabilities))
    one_class_each = sum(
        brier_score_loss(labels.numpy() == label, probabilities[:, label])
        for label in range(classes)
    )
    assert found.brier_score == pytest.approx(one_class_each)


def test_the_error_agrees_with_its_short_form() -> None:
    logits, labels = sample(sharpness=2)
    confidence, called = logits.softmax(1).max(1)
    short = expected_calibration_error(confidence, called == labels)
    found = measure_calibration(logits, labels)
    assert found.expected_calibration_error == pytest.approx(short, abs=1e-6)


@pytest.mark.parametrize("sharpness", [0.3, 1.0, 4.0])
def test_the_temperature_agrees_with_scipy(sharpness: float) -> None:
    logits, labels = sample(sharpness=sharpness)

    def loss(log_temperature: float) -> float:
        scaled = logits.double().numpy() / math.exp(log_temperature)
        top = scaled.max(1, keepdims=True)
        likelihoods = scaled - top - np.log(np.exp(scaled - top).sum(1, keepdims=True))
        return -likelihoods[np.arange(len(labels)), labels.numpy()].mean()

    best = minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(logits, labels) == pytest.approx(math.exp(best.x), rel=1e-5)


def test_logits_made_too_sharp_are_softened_by_as_much() -> None:
    plain, labels = sample(images=4000)
    found = fit_temperature(plain * 3, labels)
    assert found == pytest.approx(3 * fit_temperature(plain, labels), rel=1e-6)
    assert found == pytest.approx(3, rel=0.1)


def test_a_separable_set_stops_at_the_end_of_the_range() -> None:
    logits = torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 2.0]])
    right, wrong = torch.tensor([0, 1, 0, 1]), torch.tensor([1, 0, 1, 0])
    assert fit_temperature(logits, right) == pytest.approx(0.05, rel=1e-3)
    assert fit_temperature(logits, wrong) == pytest.approx(20, rel=1e-3)
    scaling = cross_fitted_scaling(logits, right)
    assert scaling is not None
    assert scaling.at_bound


def test_scaling_mends_confidence_on_images_it_was_not_fitted_on() -> None:
    logits, labels = sample(images=2000, sharpness=3)
    before = measure_calibration(logits, labels)
    scaling = cross_fitted_scaling(logits, labels)
    assert scaling is not None
    after = scaling.calibration
    assert not scaling.at_bound
    assert before.expected_calibration_error > 0.15
    assert after.expected_calibration_error < 0.05
    assert after.loss_nats < before.loss_nats
    assert sum(each.count for each in after.bins) == 2000


def test_a_half_is_not_judged_by_its_own_temperature() -> None:
    # Each half taken alone: its cross-fitted loss can only be worse than its own best one.
    logits, labels = sample(images=60, sharpness=2)
    scaling = cross_fitted_scaling(logits, labels, seed=3)
    assert scaling is not None
    order = torch.randperm(60, generator=torch.Generator().manual_seed(3))
    first, second = order[:30], order[30:]
    crossed = sum(
        measure_calibration(logits[part] / fit_temperature(logits[other], labels[other]),
                            labels[part]).loss_nats / 2
        for part, other in ((first, second), (second, first))
    )  # fmt: skip
    own = sum(
        measure_calibration(logits[part] / fit_temperature(logits[part], labels[part]),
                            labels[part]).loss_nats / 2
        for part in (first, second)
    )  # fmt: skip
    assert scaling.calibration.loss_nats == pytest.approx(crossed, rel=1e-6)
    assert scaling.calibration.loss_nats > own


def test_too_few_images_for_halves() -> None:
    assert cross_fitted_scaling(torch.zeros(1, 3), torch.tensor([0])) is None
    with pytest.raises(DataError, match="at least 1 image to fit a temperature on"):
        fit_temperature(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
