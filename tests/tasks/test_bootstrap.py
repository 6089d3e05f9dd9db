"""Intervals against Wilson's, a plain loop with scikit-learn, and the normal approximation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, log_loss

from convatlas.errors import OptionError
from convatlas.tasks import bootstrap
from convatlas.tasks.bootstrap import bootstrap_intervals
from convatlas.tasks.calibration import expected_calibration_error
from convatlas.tasks.metrics import Predictions, evaluate_predictions, wilson_interval


def predictions(images: int = 400, classes: int = 7, seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 2
    return Predictions(logits, labels, torch.arange(images))


def test_the_interval_of_the_accuracy_is_near_wilsons() -> None:
    given = predictions()
    right = int((given.logits.argmax(1) == given.labels).sum())
    found = bootstrap_intervals(given).accuracy
    assert found == pytest.approx(wilson_interval(right, 400), abs=0.01)


def test_every_interval_agrees_with_a_plain_loop() -> None:
    given = predictions(images=150)
    logits, labels = given.logits.double(), given.labels
    probabilities = logits.softmax(1)
    generator = np.random.default_rng(5)
    loops: dict[str, list[float]] = {}
    for _ in range(600):
        drawn = torch.from_numpy(generator.integers(150, size=150))
        shown, true = probabilities[drawn], labels[drawn]
        confidence, called = shown.max(1)
        figures = {
            "accuracy": (called == true).double().mean().item(),
            "top5_accuracy": (shown.topk(5).indices == true[:, None]).any(1).double().mean().item(),
            "macro_f1": float(f1_score(true, called, average="macro")),
            "expected_calibration_error": expected_calibration_error(confidence, called == true),
            "loss_nats": float(log_loss(true, shown, labels=list(range(7)))),
            "brier_score": (shown - torch.eye(7)[true]).square().sum(1).mean().item(),
        }
        for name, value in figures.items():
            loops.setdefault(name, []).append(value)
    found = bootstrap_intervals(given)
    for name, values in loops.items():
        low, high = np.percentile(values, (2.5, 97.5))
        width = high - low
        assert getattr(found, name) == pytest.approx((low, high), abs=0.15 * width), name


def test_the_loss_interval_is_near_the_normal_one() -> None:
    given = predictions(images=2000)
    losses = torch.nn.functional.cross_entropy(given.logits, given.labels, reduction="none")
    half = 1.96 * losses.std().item() / 2000**0.5
    low, high = bootstrap_intervals(given).loss_nats
    mean = losses.mean().item()
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=half / 8)


def test_one_seed_gives_one_answer_however_memory_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    given = predictions(images=50)
    whole = bootstrap_intervals(given, resamples=200, seed=1)
    monkeypatch.setattr(bootstrap, "_LARGEST_PART", 50 * 7)
    parts = bootstrap_intervals(given, resamples=200, seed=1)
    assert parts.accuracy == pytest.approx(whole.accuracy, abs=1e-12)
    assert parts.loss_nats == pytest.approx(whole.loss_nats, abs=1e-12)
    assert parts.macro_f1 == pytest.approx(whole.macro_f1, abs=1e-12)
    assert bootstrap_intervals(given, resamples=200, seed=2) != whole


def test_rare_classes_do_not_push_the_mean_f1_below_itself() -> None:
    # Two images of each of 40 classes, all right: a draw misses some classes altogether.
    labels = torch.arange(40).repeat(2)
    given = Predictions(torch.eye(40)[labels] * 9, labels, torch.arange(80))
    assert evaluate_predictions(given).macro_f1 == 1
    assert bootstrap_intervals(given).macro_f1 == (1, 1)


def test_classes_that_nobody_shows_or_predicts_do_not_count() -> None:
    given = Predictions(
        torch.eye(5)[torch.tensor([0, 1, 1])] * 9, torch.tensor([0, 1, 0]), torch.arange(3)
    )
    expected = f1_score([0, 1, 0], [0, 1, 1], average="macro")
    assert evaluate_predictions(given).macro_f1 == pytest.approx(expected)


def test_fewer_than_six_classes_have_no_top5() -> None:
    assert bootstrap_intervals(predictions(classes=5), resamples=100).top5_accuracy is None


def test_too_few_draws_are_refused() -> None:
    with pytest.raises(OptionError, match="at least 100 draws, got 10"):
        bootstrap_intervals(predictions(), resamples=10)
