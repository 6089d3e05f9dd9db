"""A training that is ended by the clock keeps what it has, and can go on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from convatlas.train.checkpoint import RunFolder
from convatlas.train.loop import fit
from convatlas.train.session import Session
from small_training import RECIPES, STEPS, Batches, Held, Sign, net

RECIPE = RECIPES["momentum and averaging"]  # 4 epochs of 3 steps


class Clock:
    """Says after a number of steps that the time is up."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def __call__(self) -> bool:
        self.left -= 1
        return self.left <= 0


def train(folder: Path, recipe=RECIPE, **session):
    model = net()
    run = RunFolder(folder)
    history = fit(model, Sign(), Batches(), Held(), recipe, run=run, session=Session(**session))
    return model, run, history


@pytest.mark.parametrize(("steps", "epochs"), [(1, 0), (4, 1), (6, 2)])
def test_the_averaged_weights_of_that_step_are_kept(tmp_path, steps, epochs):
    model, run, history = train(
        tmp_path, RECIPE.override({"training.keep": "last"}), out_of_time=Clock(steps)
    )
    last = run.load_last()
    assert (
        (last.metadata["epochs_done"], last.metadata["step"])
        == divmod(steps, STEPS)
        == (epochs, steps % 3)
    )
    assert len(history.epochs) == epochs
    assert not model.training
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, last.tensors[f"ema.{name}"])


def test_the_best_epoch_before_is_kept_where_the_recipe_says_so(tmp_path):
    model, run, _ = train(tmp_path, out_of_time=Clock(4))
    best = run.load_best()
    assert best.metadata["epochs_done"] == 1
    assert all(
        torch.equal(tensor, best.tensors[name]) for name, tensor in model.state_dict().items()
    )


def test_with_more_time_it_goes_on_to_the_same_end(tmp_path):
    train(tmp_path / "short", out_of_time=Clock(5))
    train(tmp_path / "short", resume=True)
    straight = train(tmp_path / "straight")[1].load_last().tensors
    resumed = RunFolder(tmp_path / "short").load_last().tensors
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())


def test_a_folder_that_is_emptied_takes_a_new_run(tmp_path):
    _, run, _ = train(tmp_path)
    run.remove()
    assert not run.has_run()
    assert list(tmp_path.iterdir()) == []
    train(tmp_path)
