from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.train.guard import LossGuard
from convatlas.train.meter import EpochMeter
from convatlas.train.reports import StepReport


def report(step: int, loss: float) -> StepReport:
    return StepReport(1, step, loss, 0.5, 4)


def stopped_at(losses: Iterable[float], guard: LossGuard | None = None) -> int | None:
    """Return the step at which the guard speaks up."""
    guard = guard or LossGuard()
    for step, loss in enumerate(losses, 1):
        try:
            guard.check(report(step, loss), torch.arange(4))
        except OptionError:
            return step
    return None


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), float("-inf")])
def test_a_loss_that_is_no_number_stops_at_once(loss: float) -> None:
    assert stopped_at([1.0, loss]) == 2


def test_a_loss_that_runs_away_stops_after_two_high_means() -> None:
    # Means of 50: 2, 0.1, then 30 and 30, which is above 2 and above 10 · 0.1.
    assert stopped_at([2.0] * 50 + [0.1] * 50 + [30.0] * 200) == 200


@pytest.mark.parametrize(
    "losses",
    [
        pytest.param([2.0] * 50 + [1.0] * 50 + [9.9] * 500, id="below ten times the best"),
        pytest.param([2.3] * 50 + [0.001] * 50 + [1.0] * 500, id="below the start"),
        pytest.param([2.0] * 50 + [0.1] * 50 + [50.0] * 50 + [0.1] * 50, id="one bad stretch"),
        pytest.param([1.0] * 99 + [900.0] + [1.0] * 50, id="one bad batch"),
        pytest.param([1000.0] + [7.0] * 500, id="a wild first step"),
    ],
)
def test_what_is_not_divergence_goes_on(losses: list[float]) -> None:
    assert stopped_at(losses) is None


def test_a_guard_goes_on_from_its_state() -> None:
    losses = [2.0] * 50 + [0.1] * 50 + [30.0] * 200
    for cut in (3, 50, 120, 170):
        guard = LossGuard()
        assert stopped_at(losses[:cut], guard) is None
        other = LossGuard()
        other.load_state_dict(json.loads(json.dumps(guard.state_dict())))
        assert stopped_at(losses[cut:], other) == 200 - cut


def test_the_message_names_step_rate_images_and_what_to_try() -> None:
    guard = LossGuard(lambda index: f"cat/{index}.jpg")
    with pytest.raises(OptionError) as caught:
        guard.check(report(7, float("nan")), torch.tensor([40, 2, 9]))
    message = str(caught.value)
    assert message.startswith(
        "the loss became nan at step 7 (epoch 1) with learning rate 0.5, on images "
        "40 (cat/40.jpg), 2 (cat/2.jpg), 9 (cat/9.jpg): "
    )
    assert "lower lr" in message
    assert "\n" not in message
    with pytest.raises(OptionError, match=r"on images 0, 1, 2, 3, 4, 5, 6, 7 and 24 more: "):
        LossGuard().check(report(7, float("nan")), torch.arange(32))


def test_losses_that_are_fetched_late_still_name_the_images_of_their_step() -> None:
    # Off the CPU losses are fetched every ten steps; the device itself is not used for that.
    meter = EpochMeter(torch.device("cuda"), LossGuard())
    for step in range(1, 10):
        loss = torch.tensor(float("nan") if step == 4 else 1.0)
        assert meter.add(1, step, 0.1, torch.arange(10 * step, 10 * step + 3), loss) == []
    with pytest.raises(OptionError, match=r"at step 4 .* on images 40, 41, 42: "):
        meter.fetch()
