from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array
from sklearn import metrics as sklearn_metrics
from torch import Tensor

from convatlas.errors import DataError
from convatlas.tasks.calibration import expected_calibration_error
from convatlas.tasks.metrics import (
    Evaluation,
    Predictions,
    evaluate_predictions,
    wilson_interval,
)


def predictions(images: int = 500, classes: int = 7, seed: int = 0) -> Predictions:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (images,), generator=generator)
    logits = torch.randn(images, classes, generator=generator)
    logits[torch.arange(images), labels] += 1
    return Predictions(logits, labels, torch.arange(images) + 1000)


def confident(rows: list[list[float]]) -> Tensor:
    """Logits whose softmax is ``rows``."""
    return torch.tensor(rows, dtype=torch.float32).log()


@pytest.mark.parametrize("classes", [6, 7, 20])
def test_every_number_agrees_with_scikit_learn(classes: int) -> None:
    given = predictions(classes=classes)
    found = evaluate_predictions(given)
    true, probable = given.labels.numpy(), given.logits.double().softmax(1).numpy()
    called = probable.argmax(1)
    assert found.images == 500
    assert found.accuracy == pytest.approx(sklearn_metrics.accuracy_score(true, called))
    assert found.headline == found.accuracy
    assert found.loss_nats == pytest.approx(sklearn_metrics.log_loss(true, probable))
    top5 = sklearn_metrics.top_k_accuracy_score(true, probable, k=5)
    assert found.top5_accuracy == pytest.approx(top5)
    matrix = sklearn_metrics.confusion_matrix(true, called)
    assert np.array_equal(found.confusion, matrix)
    sparse = coo_array(matrix)
    cells = zip(sparse.row, sparse.col, sparse.data, strict=True)
    assert found.as_dict()["confusion_cells"] == [[int(part) for part in cell] for cell in cells]
    columns = sklearn_metrics.precision_recall_fscore_support(true, called)
    for scores, row in zip(found.classes, zip(*columns, strict=True), strict=True):
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(row)
    assert [scores.label for scores in found.classes] == list(range(classes))
    macro = sklearn_metrics.f1_score(true, called, average="macro")
    assert found.macro_f1 == pytest.approx(macro)


def test_classes_that_never_occur_or_are_never_called_score_zero_as_in_scikit_learn() -> None:
    logits = confident([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.6, 0.2, 0.2]])
    labels = torch.tensor([0, 1, 1])
    found = evaluate_predictions(Predictions(logits, labels, torch.arange(3)))
    columns = sklearn_metrics.precision_recall_fscore_support(
        [0, 1, 1], [0, 0, 0], labels=[0, 1, 2], zero_division=0
    )
    for scores, row in zip(found.classes, zip(*columns, strict=True), strict=True):
        assert (scores.precision, scores.recall, scores.f1, scores.support) == pytest.approx(row)


def test_top5_needs_six_classes() -> None:
    assert evaluate_predictions(predictions(classes=5)).top5_accuracy is None
    assert evaluate_predictions(predictions(classes=6)).top5_accuracy is not None


def test_wilson_interval_by_hand() -> None:
    # 8 of 10, z² = 3.841459: centre (0.8 + 0.192073) / 1.384146 = 0.716738,
    # half-width 1.959964 · √(0.016 + 0.00960365) / 1.384146 = 0.226576.
    assert wilson_interval(8, 10) == pytest.approx((0.490162, 0.943314), abs=1e-5)
    low, high = wilson_interval(0, 10)
    assert low == 0
    assert high == pytest.approx(3.841459 / 13.841459, abs=1e-6)  # z² / (n + z²)
    assert wilson_interval(10, 10) == pytest.approx((10 / 13.841459, 1.0), abs=1e-6)


def test_wilson_interval_covers_about_95_percent() -> None:
    share, count = 0.9, 60
    covered = 0.0
    for right in range(count + 1):
        low, high = wilson_interval(right, count)
        if low <= share <= high:
            chance = math.comb(count, right) * share**right * (1 - share) ** (count - right)
            covered += chance
    assert 0.93 < covered < 0.98


def test_calibration_error_by_hand() -> None:
    confidence = torch.tensor([0.95, 0.95, 0.55, 0.51])
    right = torch.tensor([True, False, True, True])
    # Of ten bins two are used: (0.9, 1] |1.0 − 1.9| and (0.5, 0.6] |2 − 1.06|.
    expected = (0.9 + 0.94) / 4
    assert expected_calibration_error(confidence, right, bins=10) == pytest.approx(expected)


def test_calibration_error_agrees_with_a_loop_over_bins() -> None:
    found = predictions(images=2000, classes=4)
    probability, called = found.logits.softmax(1).max(1)
    right = called == found.labels
    total = 0.0
    for number in range(15):
        inside = (probability > number / 15) & (probability <= (number + 1) / 15)
        if inside.any():
            gap = right[inside].float().mean() - probability[inside].mean()
            total += inside.float().mean().item() * abs(gap.item())
    assert expected_calibration_error(probability, right) == pytest.approx(total, abs=1e-6)
    assert evaluate_predictions(found).expected_calibration_error == pytest.approx(total, abs=1e-6)


def test_a_perfectly_sure_and_right_classifier_has_no_calibration_error() -> None:
    logits = torch.eye(3) * 1000
    found = evaluate_predictions(Predictions(logits, torch.arange(3), torch.arange(3)))
    assert found.expected_calibration_error == 0
    assert found.mistakes == ()
    assert found.accuracy == 1


def test_mistakes_are_the_most_confident_ones_worst_first() -> None:
    logits = confident([[0.6, 0.4], [0.9, 0.1], [0.2, 0.8], [0.3, 0.7]])
    given = Predictions(logits, torch.tensor([1, 1, 0, 1]), torch.tensor([40, 30, 20, 10]))
    found = evaluate_predictions(given)
    rows = [(m.index, m.true, m.predicted) for m in found.mistakes]
    assert rows == [(30, 1, 0), (20, 0, 1), (40, 1, 0)]
    assert [m.confidence for m in found.mistakes] == pytest.approx([0.9, 0.8, 0.6])
    assert evaluate_predictions(given, max_mistakes=1).mistakes == found.mistakes[:1]


def test_it_becomes_json() -> None:
    found = evaluate_predictions(predictions(images=20))
    document = json.loads(json.dumps(found.as_dict()))
    assert document["accuracy_interval"] == list(found.accuracy_interval)
    assert document["classes"][0].keys() == {"label", "precision", "recall", "f1", "support"}
    names = {*Evaluation.__slots__, "confusion_cells"} - {"confusion"}
    assert document.keys() == names


def test_the_order_of_the_images_does_not_matter() -> None:
    given = predictions()
    order = torch.randperm(500, generator=torch.Generator().manual_seed(1))
    shuffled = Predictions(given.logits[order], given.labels[order], given.indices[order])
    one, other = evaluate_predictions(given), evaluate_predictions(shuffled)
    assert one.confusion == other.confusion
    assert one.mistakes == other.mistakes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "at least 1 image"),
        ([0, 3], "labels from 0 to 2, got 0 to 3"),
        ([-1, 0], "got -1 to 0"),
    ],
)
def test_bad_labels_are_told_in_one_line(labels: list[int], message: str) -> None:
    count = len(labels)
    given = Predictions(
        torch.zeros(count, 3), torch.tensor(labels, dtype=torch.int64), torch.arange(count)
    )
    with pytest.raises(DataError, match=message) as caught:
        evaluate_predictions(given)
    assert "\n" not in str(caught.value)


def test_a_thousand_classes_are_told_in_the_cells_that_are_not_zero() -> None:
    labels = torch.arange(2000) % 1000
    logits = torch.eye(1000)[labels]
    logits[0] = torch.eye(1000)[7]
    record = evaluate_predictions(Predictions(logits, labels, torch.arange(2000))).as_dict()
    assert "confusion" not in record
    assert record["confusion_cells"][:3] == [[0, 0, 1], [0, 7, 1], [1, 1, 2]]
    assert len(record["confusion_cells"]) == 1001
