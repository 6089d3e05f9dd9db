"""The linear probe, against classes that are separable by hand and scikit-learn used directly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from convatlas.data.sampling import stratified_split
from convatlas.errors import DataError
from convatlas.tasks.probe import fit_probe


def _blobs(classes, each, seed, distance=2.0, width=6):
    """Normal clouds whose centres lie ``distance`` apart on axes of their own."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(classes).repeat_interleave(each)
    centres = distance * torch.eye(classes, width)
    return centres[labels] + torch.randn(len(labels), width, generator=generator), labels


def test_two_points_per_class_on_a_line_are_parted_in_the_middle():
    features = torch.tensor([[-3.0], [-1.0], [1.0], [3.0]])
    labels = torch.tensor([0, 0, 1, 1])
    judged = torch.tensor([[-0.5], [0.0], [0.5]])
    probe = fit_probe(features, labels, judged, torch.tensor([0, 0, 1]))
    probabilities = probe.predictions.logits.exp()
    assert probabilities.sum(1).tolist() == pytest.approx([1.0] * 3)
    assert probabilities[1].tolist() == pytest.approx([0.5, 0.5], abs=1e-4)
    assert probe.predictions.logits.argmax(1)[[0, 2]].tolist() == [0, 1]
    assert probabilities[0, 0] == pytest.approx(probabilities[2, 1].item(), abs=1e-4)


@pytest.mark.parametrize("classes", [2, 3])
def test_it_is_the_best_of_scikit_learns_on_a_quarter(classes):
    x, y = _blobs(classes, 24, seed=0)
    judged, judged_labels = _blobs(classes, 10, seed=1)
    probe = fit_probe(x, y, judged, judged_labels, seed=3)

    def fitted(rows, strength):
        part = x.double().numpy()[rows]
        mean, std = part.mean(0), part.std(0)
        model = LogisticRegression(C=strength, max_iter=1000)
        model.fit((part - mean) / std, y.numpy()[rows])
        return lambda values: model.predict_proba((values.double().numpy() - mean) / std)

    kept, held = stratified_split(y.tolist(), 0.25, 3)
    scores = {
        strength: (fitted(kept, strength)(x[held]).argmax(1) == y[held].numpy()).mean()
        for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    }
    best = min(s for s, score in scores.items() if score == max(scores.values()))
    assert probe.strength == best
    expected = fitted(np.arange(len(y)), best)(judged)
    np.testing.assert_allclose(probe.predictions.logits.exp().numpy(), expected, atol=1e-5)
    assert torch.equal(probe.predictions.labels, judged_labels)


def test_noise_tells_no_classes_apart():
    generator = torch.Generator().manual_seed(0)
    x, judged = torch.randn(2, 400, 8, generator=generator).unbind()
    y = torch.arange(400) % 4
    accuracy = (fit_probe(x, y, judged, y).predictions.logits.argmax(1) == y).float().mean()
    assert abs(accuracy - 0.25) < 4 * (0.25 * 0.75 / 400) ** 0.5


def test_dead_and_huge_features_do_no_harm():
    x, y = _blobs(2, 20, seed=0, distance=8.0)
    x[:, 3] = 7.0
    x[:, 4] *= 1e6
    far = 1e4 * x
    probe = fit_probe(x, y, far, y)
    assert probe.predictions.logits.isfinite().all()
    assert (fit_probe(x, y, x, y).predictions.logits.argmax(1) == y).all()


@pytest.mark.parametrize(
    ("labels", "judged", "message"),
    [
        ([0, 0, 1], [0], "expected at least 2 images of class 1"),
        ([0, 0, 0], [0], r"2 or more classes .*got classes \[0\]"),
        ([0, 0, 2, 2], [0], r"each from 0 to the last, got classes \[0, 2\]"),
        ([0, 0, 1, 1], [2], r"got classes \[0, 1\], without 2, which is judged"),
    ],
)
def test_classes_that_cannot_be_learned_are_refused(labels, judged, message):
    with pytest.raises(DataError, match=message):
        fit_probe(
            torch.randn(len(labels), 2), torch.tensor(labels), torch.zeros(1, 2),
            torch.tensor(judged),
        )  # fmt: skip


def test_features_that_are_not_finite_are_refused():
    x, y = _blobs(2, 4, seed=0)
    for broken in (torch.nan, torch.inf):
        with pytest.raises(DataError, match="expected finite features"):
            fit_probe(torch.full_like(x, broken), y, x, y)
