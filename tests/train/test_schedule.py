from __future__ import annotations

import pytest
import torch

from convatlas.train.recipe import Recipe
from convatlas.train.schedule import Plateau, lr_at


def test_cosine_equals_torch_step_for_step() -> None:
    recipe = Recipe(epochs=6, lr=0.3)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=6 * 5)
    for step in range(30):
        assert lr_at(recipe, step, 5) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)
        optimizer.step()
        theirs.step()


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    recipe = Recipe(epochs=3, lr=0.4, warmup_epochs=0.5)
    assert [lr_at(recipe, step, 8) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert lr_at(recipe, 4, 8) == 0.4  # t = 0 of the cosine
    assert lr_at(recipe, 14, 8) == pytest.approx(0.2)  # half of the 20 cosine steps
    assert 0 < lr_at(recipe, 23, 8) < 0.01


def test_constant_stays() -> None:
    recipe = Recipe(epochs=3, lr=0.4, schedule="constant")
    assert {lr_at(recipe, step, 4) for step in range(12)} == {0.4}


def test_freezing_makes_two_phases_that_each_warm_up_and_decay() -> None:
    recipe = Recipe(epochs=5, lr=0.1, finetune_lr=0.01, freeze_epochs=2, warmup_epochs=1)
    alone = Recipe(epochs=2, lr=0.1, warmup_epochs=1)
    after = Recipe(epochs=3, lr=0.01, warmup_epochs=1)
    rates = [lr_at(recipe, step, 4) for step in range(20)]
    assert rates[:8] == [lr_at(alone, step, 4) for step in range(8)]
    assert rates[8:] == [lr_at(after, step, 4) for step in range(12)]


def test_without_a_finetune_lr_both_phases_peak_at_lr() -> None:
    recipe = Recipe(epochs=4, lr=0.1, freeze_epochs=2, schedule="constant")
    assert {lr_at(recipe, step, 3) for step in range(12)} == {0.1}


def test_a_frozen_phase_shorter_than_the_warm_up_only_warms_up() -> None:
    recipe = Recipe(epochs=4, lr=0.1, freeze_epochs=1, warmup_epochs=2)
    assert [lr_at(recipe, step, 2) for step in range(2)] == pytest.approx([0.05, 0.1])


def test_plateau_divides_by_ten_after_patience_epochs_without_a_rise() -> None:
    plateau = Plateau(patience=2)
    scales = []
    for metric in (0.5, 0.6, 0.6, 0.55, 0.7, 0.1, 0.1, 0.1, 0.1):
        plateau.step(metric)
        scales.append(plateau.scale)
    assert scales == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_plateau_goes_on_from_its_state() -> None:
    metrics = (0.5, 0.4, 0.6, 0.6, 0.6, 0.6)
    whole, first = Plateau(2), Plateau(2)
    for metric in metrics:
        whole.step(metric)
    for cut in range(len(metrics)):
        second = Plateau(2)
        first = Plateau(2)
        for metric in metrics[:cut]:
            first.step(metric)
        second.load_state_dict(first.state_dict())
        for metric in metrics[cut:]:
            second.step(metric)
        assert second.state_dict() == whole.state_dict()
