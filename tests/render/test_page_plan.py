"""What was predicted of a training is compared with what can be compared with it."""

from __future__ import annotations

import pytest

from convatlas.render.page_plan import plan
from convatlas.render.run_folder import FinishedRun
from finished_run import plan as planned


def _found(frozen, epochs=3):
    """Return the section on a training whose frozen epochs are four times as fast."""
    speeds = [400.0 if number <= frozen else 100.0 for number in range(1, epochs + 1)]
    done = [
        {"epoch": number, "seconds": 1.0, "images_per_second": speed}
        for number, speed in enumerate(speeds, 1)
    ]
    given = dict.fromkeys(("data", "choice", "metrics", "cost", "explain", "parity"))
    return plan(
        FinishedRun(
            folder=None,
            run={"seconds": {"train": 89.5}},
            epochs=tuple(done),
            plan=planned(),
            recipe={"transfer": {"freeze_epochs": frozen}},
            **given,
        )
    )


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_frozen_epochs_say_nothing_of_a_whole_step(frozen):
    assert _found(frozen)["step_ms"] == 160.0  # 16 images at 100 per second


def test_of_frozen_epochs_alone_no_step_is_known():
    assert _found(3)["step_ms"] is None


@pytest.mark.parametrize(("epochs", "off"), [(3, -0.5), (2, None)])
def test_only_as_many_epochs_are_compared_as_were_planned(epochs, off):
    found = _found(0, epochs)
    assert (found["off"], found["seconds"]) == (off, 89.5)
