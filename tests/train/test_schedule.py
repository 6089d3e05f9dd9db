from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from convatlas.train.recipe import Recipe, find_recipe
from convatlas.train.schedule import Plateau, lr_at, momentum_at

STEPS = 5


def recipe_of(epochs: int, lr: float, **schedule: Any) -> Recipe:
    changes = {f"schedule.{name}": value for name, value in schedule.items()}
    return Recipe().override({"training.epochs": epochs, "optimizer.lr": lr, **changes})


def rates_of_torch(
    make: Callable[[torch.optim.Optimizer], Any], lr: float, steps: int
) -> list[tuple[float, float]]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
    schedule = make(optimizer)
    found = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        found.append((group["lr"], group["momentum"]))
        optimizer.step()
        schedule.step()
    return found


# Six epochs of five steps, as a recipe's schedule and as torch's.
TWINS: dict[str, tuple[dict[str, Any], Callable[[torch.optim.Optimizer], Any]]] = {
    "cosine": ({"name": "cosine"}, lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30)),
    "cosine to a tenth": (
        {"name": "cosine", "final": 0.1},
        lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30, eta_min=0.03),
    ),
    "linear": (
        {"name": "linear"},
        lambda o: lr_scheduler.LinearLR(o, start_factor=1, end_factor=0, total_iters=30),
    ),
    "linear to a fifth": (
        {"name": "linear", "final": 0.2},
        lambda o: lr_scheduler.LinearLR(o, start_factor=1, end_factor=0.2, total_iters=30),
    ),
    "step": (
        {"name": "step", "factor": 0.2, "milestones": [2, 3.4]},
        lambda o: lr_scheduler.MultiStepLR(o, milestones=[10, 17], gamma=0.2),
    ),
    "exponential": (
        {"name": "exponential", "factor": 0.97, "every_epochs": 2.4},
        lambda o: lr_scheduler.StepLR(o, step_size=12, gamma=0.97),
    ),
    "constant": ({"name": "constant"}, lambda o: lr_scheduler.ConstantLR(o, factor=1)),
}


@pytest.mark.parametrize("name", list(TWINS))
def test_a_schedule_equals_torchs_step_for_step(name: str) -> None:
    values, make = TWINS[name]
    recipe = recipe_of(6, 0.3, **values)
    theirs = [rate for rate, _ in rates_of_torch(make, 0.3, 30)]
    assert [lr_at(recipe, step, STEPS) for step in range(30)] == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("rise", "epochs"), [(0.4, 6), (0.3, 6), (0.25, 1)])
def test_one_cycle_equals_torchs_in_rate_and_momentum(rise: float, epochs: int) -> None:
    recipe = recipe_of(epochs, 0.3, name="one-cycle", rise=rise, low_momentum=0.85)
    recipe = recipe.override({"optimizer.momentum": 0.95})
    steps = epochs * STEPS
    theirs = rates_of_torch(
        lambda o: lr_scheduler.OneCycleLR(o, 0.3, total_steps=steps, pct_start=rise), 0.3, steps
    )
    ours = [(lr_at(recipe, step, STEPS), momentum_at(recipe, step, STEPS)) for step in range(steps)]
    assert torch.tensor(ours) == pytest.approx(torch.tensor(theirs), abs=1e-9)


def test_one_cycle_by_hand() -> None:
    recipe = recipe_of(1, 1.0, name="one-cycle", rise=0.3)
    # Of ten steps the third, 0.3 · 10 − 1 = 2, is the top; the last is at 1 / 250,000.
    assert lr_at(recipe, 0, 10) == pytest.approx(0.04)
    assert lr_at(recipe, 1, 10) == pytest.approx((0.04 + 1) / 2)
    assert lr_at(recipe, 2, 10) == pytest.approx(1.0)
    assert lr_at(recipe, 9, 10) == pytest.approx(4e-6)
    assert {momentum_at(recipe, step, 10) for step in range(10)} == {0.9}


@pytest.mark.parametrize("name", ["cosine", "one-cycle"])
def test_a_run_of_one_step_has_a_rate(name: str) -> None:
    assert lr_at(recipe_of(1, 0.3, name=name), 0, 1) == pytest.approx(0.3)


def test_the_momentum_stays_outside_one_cycle() -> None:
    recipe = recipe_of(2, 0.3, name="cosine", low_momentum=0.5)
    assert {momentum_at(recipe, step, STEPS) for step in range(10)} == {0.9}


def test_warm_up_is_linear_and_reaches_the_peak() -> None:
    recipe = recipe_of(3, 0.4, warmup_epochs=0.5)
    assert [lr_at(recipe, step, 8) for step in range(4)] == pytest.approx([0.1, 0.2, 0.3, 0.4])
    assert lr_at(recipe, 4, 8) == 0.4  # t = 0 of the cosine
    assert lr_at(recipe, 14, 8) == pytest.approx(0.2)  # half of the 20 cosine steps
    assert 0 < lr_at(recipe, 23, 8) < 0.01


def test_drops_count_the_epochs_of_the_warm_up() -> None:
    recipe = recipe_of(8, 1.0, name="exponential", factor=0.5, every_epochs=2, warmup_epochs=3)
    assert [lr_at(recipe, step, 1) for step in range(8)] == pytest.approx(
        [1 / 3, 2 / 3, 1, 0.5, 0.25, 0.25, 0.125, 0.125]
    )


def test_the_cifar_recipe_drops_after_32000_and_48000_steps() -> None:
    recipe, steps = find_recipe("cifar-resnet"), 50_000 / 128  # 390.625
    drops = [each * steps for each in recipe.schedule.milestones]
    assert drops == [32_000, 48_000]
    rates = [lr_at(recipe, step, 391) for step in (0, 32_030, 32_031, 48_046, 63_000)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 0.001, 0.001])


def test_the_efficientnet_recipe_by_hand() -> None:
    recipe = find_recipe("efficientnet")
    # Five epochs up to .256; then .97 for every 2.4 epochs since the start: 100 / 2.4 = 41.67.
    assert lr_at(recipe, 0, 312) == pytest.approx(0.256 / (5 * 312))
    assert lr_at(recipe, 5 * 312, 312) == pytest.approx(0.256 * 0.97**2)
    assert lr_at(recipe, 100 * 312, 312) == pytest.approx(0.256 * 0.97**41)


def test_freezing_makes_two_phases_that_each_warm_up_and_decay() -> None:
    frozen = {"transfer.freeze_epochs": 2, "transfer.finetune_lr": 0.01}
    recipe = recipe_of(5, 0.1, warmup_epochs=1).override(frozen)
    alone = recipe_of(2, 0.1, warmup_epochs=1)
    after = recipe_of(3, 0.01, warmup_epochs=1)
    rates = [lr_at(recipe, step, 4) for step in range(20)]
    assert rates[:8] == [lr_at(alone, step, 4) for step in range(8)]
    assert rates[8:] == [lr_at(after, step, 4) for step in range(12)]


def test_without_a_finetune_lr_both_phases_peak_at_lr() -> None:
    recipe = recipe_of(4, 0.1, name="constant").override({"transfer.freeze_epochs": 2})
    assert {lr_at(recipe, step, 3) for step in range(12)} == {0.1}


def test_a_run_that_is_frozen_throughout_has_one_phase() -> None:
    recipe = recipe_of(4, 0.1).override({"transfer.freeze_epochs": 4})
    alone = recipe_of(4, 0.1)
    assert [lr_at(recipe, s, 3) for s in range(12)] == [lr_at(alone, s, 3) for s in range(12)]


def test_a_frozen_phase_shorter_than_the_warm_up_only_warms_up() -> None:
    recipe = recipe_of(4, 0.1, warmup_epochs=2).override({"transfer.freeze_epochs": 1})
    assert [lr_at(recipe, step, 2) for step in range(2)] == pytest.approx([0.05, 0.1])


def test_plateau_divides_by_ten_after_patience_epochs_without_a_rise() -> None:
    plateau = Plateau(patience=2)
    scales = []
    for metric in (0.5, 0.6, 0.6, 0.55, 0.7, 0.1, 0.1, 0.1, 0.1):
        plateau.step(metric)
        scales.append(plateau.scale)
    assert scales == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001])


def test_plateau_equals_torchs_with_another_factor() -> None:
    metrics = [0.1, 0.3, 0.2, 0.3, 0.25, 0.5, 0.4, 0.45, 0.5, 0.5, 0.1, 0.6, 0.2, 0.2, 0.2]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(
        optimizer, mode="max", factor=0.5, patience=2, threshold=0
    )
    ours = Plateau(patience=3, factor=0.5)  # torch acts on the epoch after its patience
    for metric in metrics:
        theirs.step(metric)
        ours.step(metric)
        assert ours.scale == optimizer.param_groups[0]["lr"]
    assert ours.scale == 0.125


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
