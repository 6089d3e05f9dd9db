from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from convatlas.errors import DataError, OptionError
from convatlas.tasks.classify import Classification


@dataclass(frozen=True)
class Images:
    images: Tensor
    labels: Tensor
    indices: Tensor


def batches(sizes: tuple[int, ...] = (4, 4, 3)) -> list[Images]:
    generator = torch.Generator().manual_seed(0)
    found, start = [], 0
    for size in sizes:
        images = torch.randn(size, 1, 4, 4, generator=generator)
        labels = torch.randint(3, (size,), generator=generator)
        found.append(Images(images, labels, torch.arange(start, start + size)))
        start += size
    return found


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(), nn.Flatten(), nn.Linear(16, 3)
    )


def test_the_loss_of_even_logits_is_the_logarithm_of_the_classes() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    loss, logits = Classification(label_smoothing=0.2).loss(model, batches()[0])
    assert loss.item() == pytest.approx(math.log(3))
    assert logits.shape == (4, 3)


def test_label_smoothing_by_hand() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[0.7, 0.2, 0.1]]).log().expand(len(x), 3)

    batch = Images(torch.zeros(1, 1, 4, 4), torch.tensor([0]), torch.tensor([0]))
    loss, _ = Classification(label_smoothing=0.3).loss(Fixed(), batch)
    # The target is 0.7 + 0.1 for the true class and 0.1 for each of the two others.
    by_hand = -(0.8 * math.log(0.7) + 0.1 * math.log(0.2) + 0.1 * math.log(0.1))
    assert loss.item() == pytest.approx(by_hand)


class TwoExits(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
        self.side = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.main(x)
        return logits

    def forward_with_auxiliary(self, x: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self.main(x), (self.side(x), self.side(x))


def test_auxiliary_classifiers_count_in_training_only() -> None:
    torch.manual_seed(0)
    model, batch = TwoExits(), batches()[0]
    main = F.cross_entropy(model.main(batch.images), batch.labels)
    side = F.cross_entropy(model.side(batch.images), batch.labels)
    task = Classification(auxiliary_weight=0.25)
    torch.testing.assert_close(task.loss(model.train(), batch)[0], main + 0.25 * 2 * side)
    torch.testing.assert_close(task.loss(model.eval(), batch)[0], main)


def test_predictions_are_the_models_logits_in_evaluation_mode_in_order() -> None:
    model = net()
    given = batches()
    found = Classification().predict(model, given)
    model.eval()
    with torch.no_grad():
        expected = torch.cat([model(batch.images) for batch in given])
    torch.testing.assert_close(found.logits, expected)
    assert found.indices.tolist() == list(range(11))
    assert found.labels.tolist() == torch.cat([batch.labels for batch in given]).tolist()


def test_the_model_is_left_as_it_was_even_after_an_error() -> None:
    model = net().train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Classification().predict(model, batches())
    broken = [*batches(), Images(torch.zeros(1, 2, 4, 4), torch.zeros(1), torch.zeros(1))]
    with pytest.raises(RuntimeError):
        Classification().predict(model, broken)
    assert [module.training for module in model] == [True, False, True, True, True]
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_the_split_into_batches_does_not_matter() -> None:
    model, task = net(), Classification()
    whole = batches((11,))[0]
    parts = [
        Images(whole.images[i : i + 2], whole.labels[i : i + 2], whole.indices[i : i + 2])
        for i in range(0, 11, 2)
    ]
    one, other = task.evaluate(model, [whole]), task.evaluate(model, parts)
    assert one.confusion == other.confusion
    assert one.loss_nats == pytest.approx(other.loss_nats, rel=1e-5)


def test_evaluation_takes_no_smoothing_into_account() -> None:
    model = net()
    plain, smooth = Classification(), Classification(label_smoothing=0.5)
    assert plain.evaluate(model, batches()) == smooth.evaluate(model, batches())


def test_bad_input_is_told_in_one_line() -> None:
    with pytest.raises(OptionError, match="expected 0 ≤ label_smoothing < 1, got 1"):
        Classification(label_smoothing=1)
    with pytest.raises(DataError, match="at least 1 image to predict, got none"):
        Classification().predict(net(), [])
    wrong = Images(torch.zeros(2, 1, 4, 4), torch.tensor([0, 7]), torch.arange(2))
    with pytest.raises(DataError, match="expected labels from 0 to 2, got 0 to 7: build the model"):
        Classification().loss(net(), wrong)
    with pytest.raises(DataError, match="expected labels from 0 to 2, got 0 to 7: build the model"):
        Classification().evaluate(net(), [wrong])


def test_views_are_averaged_as_probabilities() -> None:
    model = net()
    views = torch.randn(5, 3, 1, 4, 4, generator=torch.Generator().manual_seed(1))
    batch = Images(views, torch.arange(5) % 3, torch.arange(5))
    found = Classification().predict_views(model, [batch])
    model.eval()
    with torch.no_grad():
        expected = torch.stack([model(views[:, v]).softmax(1) for v in range(3)]).mean(0)
    torch.testing.assert_close(found.logits.softmax(1), expected)
    with pytest.raises(DataError, match="expected views of shape"):
        Classification().predict_views(model, batches())
