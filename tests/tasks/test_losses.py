"""Losses against numbers worked by hand and torch's own formulas."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import DataError, OptionError, UnknownNameError
from convatlas.tasks.classify import Classification
from convatlas.tasks.losses import Targets, distillation_loss, label_loss


@dataclass(frozen=True)
class Mixed:
    images: Tensor
    labels: Tensor
    indices: Tensor
    partners: Tensor | None = None
    shares: Tensor | None = None


class Fixed(nn.Module):
    """Gives the same logits whatever it sees, and remembers how it was asked."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))
        self.was_training: bool | None = None

    def forward(self, x: Tensor) -> Tensor:
        self.was_training = self.training
        return self.logits.expand(len(x), -1)


PROBABILITIES = [0.7, 0.2, 0.1]


def logits(count: int = 1) -> Tensor:
    return torch.tensor([PROBABILITIES]).log().expand(count, 3)


def batch(partner: int, share: float) -> Mixed:
    return Mixed(
        torch.zeros(1, 1, 4, 4),
        torch.tensor([0]),
        torch.tensor([0]),
        torch.tensor([partner]),
        torch.tensor([share]),
    )


def test_a_mixed_image_counts_both_labels_by_their_shares() -> None:
    loss, _ = Classification().loss(Fixed(logits().tolist()), batch(partner=2, share=0.75))
    assert loss.item() == pytest.approx(-0.75 * math.log(0.7) - 0.25 * math.log(0.1))


def test_smoothing_of_a_mixed_image_by_hand() -> None:
    task = Classification(label_smoothing=0.3)
    loss, _ = task.loss(Fixed(logits().tolist()), batch(partner=2, share=0.75))
    # (1 − 0.3) · (0.75, 0, 0.25) + 0.1 for each class.
    target = (0.625, 0.1, 0.275)
    by_hand = -sum(t * math.log(p) for t, p in zip(target, PROBABILITIES, strict=True))
    assert loss.item() == pytest.approx(by_hand)


def test_a_share_of_one_is_the_plain_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(6, 4, generator=generator)
    labels = torch.randint(4, (6,), generator=generator)
    partners = torch.randint(4, (6,), generator=generator)
    for name in ("cross-entropy", "bce", "bce-soft"):
        plain = label_loss(name, scores, Targets(labels))
        mixed = label_loss(name, scores, Targets(labels, partners, torch.ones(6)))
        torch.testing.assert_close(mixed, plain)


def test_binary_cross_entropy_by_hand() -> None:
    # σ(0) = 1/2 costs ln 2 whatever the target; σ(2) = 0.880797.
    scores = torch.tensor([[0.0, 2.0]])
    wrong = label_loss("bce", scores, Targets(torch.tensor([0])))
    right = label_loss("bce", scores, Targets(torch.tensor([1])))
    assert wrong.item() == pytest.approx((math.log(2) - math.log(1 - 0.880797)) / 2, abs=1e-5)
    assert right.item() == pytest.approx((math.log(2) - math.log(0.880797)) / 2, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "partner", "target"),
    [
        ("bce", 2, [1.0, 0.0, 1.0]),
        ("bce-soft", 2, [0.75, 0.0, 0.25]),
        ("bce", 0, [1.0, 0.0, 0.0]),  # mixed with an image of its own class
        ("bce-soft", 0, [1.0, 0.0, 0.0]),
    ],
)
def test_binary_targets_of_a_mixed_image(name: str, partner: int, target: list[float]) -> None:
    loss, _ = Classification(loss=name).loss(Fixed(logits().tolist()), batch(partner, 0.75))
    by_torch = F.binary_cross_entropy_with_logits(logits(), torch.tensor([target]))
    torch.testing.assert_close(loss, by_torch)


def test_smoothing_of_binary_targets() -> None:
    loss = label_loss("bce", logits(), Targets(torch.tensor([0]), smoothing=0.3))
    target = torch.tensor([[0.8, 0.1, 0.1]])
    torch.testing.assert_close(loss, F.binary_cross_entropy_with_logits(logits(), target))


def test_distillation_by_hand() -> None:
    # T = 2: the teacher's logits (2 ln 3, 0) soften to (3/4, 1/4), the student's even ones stay.
    student, teacher = torch.zeros(1, 2), torch.tensor([[2 * math.log(3), 0.0]])
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert distillation_loss(student, teacher, 2.0).item() == pytest.approx(4 * divergence)
    assert distillation_loss(teacher, teacher, 2.0).item() == pytest.approx(0)


def test_gradients_keep_their_size_at_high_temperatures() -> None:
    # Hinton et al., equation 4: as T grows, the gradient tends to (z − v) / N for logits of
    # zero mean, whatever T.
    scores = torch.tensor([[0.3, -0.3]], requires_grad=True)
    teacher = torch.tensor([[0.1, -0.1]])
    distillation_loss(scores, teacher, 1000.0).backward()
    torch.testing.assert_close(scores.grad, (scores - teacher).detach() / 2, atol=1e-4, rtol=1e-3)


def test_the_teachers_share_of_the_loss() -> None:
    student, teacher = Fixed([[0.0, 0.0]]), Fixed([[2 * math.log(3), 0.0]])
    example = Mixed(torch.zeros(1, 1, 4, 4), torch.tensor([1]), torch.tensor([0]))
    task = Classification(teacher=teacher, distillation_weight=0.25, temperature=2.0)
    loss, _ = task.loss(student.train(), example)
    divergence = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert loss.item() == pytest.approx(0.75 * math.log(2) + 0.25 * 4 * divergence)


def test_the_teacher_is_asked_in_evaluation_mode_and_learns_nothing() -> None:
    student, teacher = Fixed([[0.5, 0.0]]), Fixed([[1.0, 0.0]]).train()
    example = Mixed(torch.zeros(2, 1, 4, 4), torch.tensor([1, 0]), torch.tensor([0, 1]))
    loss, _ = Classification(teacher=teacher).loss(student.train(), example)
    loss.backward()
    assert teacher.was_training is False
    assert teacher.training  # left as it came
    assert teacher.logits.grad is None
    assert student.logits.grad is not None


@pytest.mark.parametrize("name", ["cross-entropy", "bce", "bce-soft"])
@pytest.mark.parametrize(("own", "partner"), [(0, 7), (7, 0), (-1, 0)])
def test_labels_of_other_classes_are_told_in_one_line(name: str, own: int, partner: int) -> None:
    targets = Targets(torch.tensor([own]), torch.tensor([partner]), torch.tensor([0.5]))
    with pytest.raises(DataError, match="expected labels from 0 to 2, got") as caught:
        label_loss(name, logits(), targets)
    assert "\n" not in str(caught.value)


def test_bad_options_are_told_in_one_line() -> None:
    with pytest.raises(UnknownNameError, match="unknown loss 'bse'; did you mean bce"):
        Classification(loss="bse")
    with pytest.raises(OptionError, match="expected temperature > 0, got 0"):
        Classification(temperature=0)
    with pytest.raises(OptionError, match="expected 0 ≤ distillation_weight ≤ 1, got 2"):
        Classification(distillation_weight=2)
    with pytest.raises(DataError, match="expected a teacher with 3 classes, got 2"):
        distillation_loss(logits(), torch.zeros(1, 2), 1.0)
