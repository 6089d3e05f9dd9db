"""What was predicted of a training is compared with what can be compared with it."""

from __future__ import annotations

import pytest

from convatlas.render.page_plan import plan
from convatlas.render.run_folder import FinishedRun
from finished_run import plan as planned


def _found(frozen, epochs=3):
    """Return the section on a training that gets slower, after frozen epochs that are fast."""
    times = [0.25 if number <= frozen else float(number) for number in range(1, epochs + 1)]
    done = [
        {"epoch": number, "seconds": time, "images_per_second": 123 / time}
        for number, time in enumerate(times, 1)
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


@pytest.mark.parametrize(
    ("frozen", "step_ms"),
    [(0, 6000 / 24), (1, 5000 / 16), (2, 3000 / 8)],  # 8 steps an epoch
)
def test_frozen_epochs_say_nothing_of_a_whole_step(frozen, step_ms):
    assert _found(frozen)["step_ms"] == step_ms


def test_of_frozen_epochs_alone_no_step_is_known():
    assert _found(3)["step_ms"] is None


@pytest.mark.parametrize(("epochs", "off"), [(3, -0.5), (2, None)])
def test_only_as_many_epochs_are_compared_as_were_planned(epochs, off):
    found = _found(0, epochs)
    assert (found["off"], found["seconds"]) == (off, 89.5)
