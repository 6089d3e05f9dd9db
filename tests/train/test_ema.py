from __future__ import annotations

import pytest
import torch
from torch import nn

from convatlas.train.ema import EMA


def test_the_average_follows_the_hand_worked_numbers() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    ema = EMA(model, decay=0.25)
    nn.init.constant_(model.weight, 2.0)
    ema.update()  # keeps min(0.25, 2/11)
    first = 1 * 2 / 11 + 2 * 9 / 11
    assert ema.model.weight.item() == pytest.approx(first)
    nn.init.constant_(model.weight, 4.0)
    ema.update()  # keeps min(0.25, 3/12), which is the decay itself
    assert ema.model.weight.item() == pytest.approx(first * 0.25 + 4 * 0.75)
    nn.init.constant_(model.weight, 4.0)
    ema.update()  # keeps min(0.25, 4/13)
    assert ema.model.weight.item() == pytest.approx((first * 0.25 + 3) * 0.25 + 3)


def test_statistics_are_averaged_and_counters_copied() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2))
    ema = EMA(model, decay=0.5)
    before = ema.model[1].running_mean.clone()
    model.train()(torch.randn(8, 1, 4, 4) + 5)
    ema.update()
    kept = 2 / 11
    expected = kept * before + (1 - kept) * model[1].running_mean
    torch.testing.assert_close(ema.model[1].running_mean, expected)
    assert ema.model[1].num_batches_tracked == 1


def test_the_copy_evaluates_and_does_not_learn() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2)).train()
    ema = EMA(model, decay=0.9)
    assert not any(module.training for module in ema.model.modules())
    assert not any(p.requires_grad for p in ema.model.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())
