"""The plan of a training: arithmetic against figures worked by hand, and real steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from convatlas.errors import OptionError
from convatlas.pipeline import planning
from convatlas.pipeline.planning import Pace, Room, fit_to_memory, make_plan, measure_pace
from convatlas.pipeline.preparation import build, pick, prepare, recipe_for
from convatlas.pipeline.rehearsal import Reserve
from convatlas.pipeline.settings import RunSettings
from convatlas.pipeline.training import make_job
from convatlas.train.recipe import find_recipe

SETTINGS = RunSettings(model="lenet5")


@pytest.fixture(scope="module")
def job():
    prepared = prepare("digits")
    chosen = pick(SETTINGS, prepared).chosen
    return make_job(chosen, prepared, recipe_for(chosen, SETTINGS, prepared.train.images))


@pytest.fixture
def slow(monkeypatch):
    """Steps of a second, and images that are judged in no time."""
    monkeypatch.setattr(planning, "measure_pace", lambda *_: Pace(1000.0, 250.0, 0.0))
    monkeypatch.setattr(planning, "free_bytes", lambda _: None)


def test_frozen_epochs_cost_less_and_each_is_judged():
    recipe = find_recipe("finetune")  # 12 epochs, 4 of them frozen, batches of 32
    pace = Pace(step_ms=2000.0, frozen_step_ms=500.0, image_ms=10.0)
    # 250 images: 8 steps; 4 · 8 · 0.5 s + 8 · 8 · 2 s + 12 · 100 · 0.01 s
    assert pace.seconds(recipe, 250, 100) == pytest.approx(16 + 128 + 12)


def test_without_limits_the_recipe_stays_as_it_is(job, slow):
    recipe, plan = make_plan(job, Room())
    assert recipe == job.recipe
    assert (plan.epochs, plan.recipe_epochs, plan.batch_size, plan.recipe_batch_size) == (
        30,
        30,
        32,
        32,
    )
    assert plan.steps == 30 * 45  # 1,437 images
    assert plan.seconds == 30 * 45
    assert (plan.reserve_seconds, plan.reserve_source, plan.reserve_share) == (0, None, None)
    assert len(plan.sentences()) == 1


def test_as_many_epochs_as_the_time_allows(job, slow):
    left = 24 + 10 * 45 + 44  # 20 s of what follows, and a fifth of them
    room = Room(time_limit=600, seconds_left=left, reserve=Reserve.with_safety(20.0, "rehearsal"))
    recipe, plan = make_plan(job, room)
    assert (recipe.training.epochs, plan.epochs, plan.recipe_epochs) == (10, 10, 30)
    assert recipe.schedule.warmup_epochs == pytest.approx(2 * 10 / 30)
    assert "10 of the recipe's 30 epochs, to end within 10 min" in plan.sentences()[1]
    assert (plan.reserve_seconds, plan.reserve_share) == (24, 0.2)
    assert plan.sentences()[2] == (
        "plan: 24.0 s are kept for what follows on the training, measured in the rehearsal, 20% on "
        "top"
    )
    _, plan = make_plan(job, replace(room, trainings=2))
    assert plan.epochs == 5


def test_the_time_that_measuring_takes_is_gone(job, slow, monkeypatch):
    seconds = iter((1000.0, 1045.0))  # before and after: an epoch's worth
    monkeypatch.setattr(planning.time, "monotonic", lambda: next(seconds, 1045.0))
    _, plan = make_plan(job, Room(time_limit=600, seconds_left=10 * 45 + 20))
    assert plan.epochs == 9


def test_a_limit_too_small_names_the_least_that_would_do(job, slow):
    room = Room(time_limit=60, seconds_left=40, reserve=Reserve.with_safety(9.5, "earlier pass"))
    with pytest.raises(OptionError) as caught:
        make_plan(job, room)
    assert "limit of 1 min 17 s or more" in str(caught.value)  # 20 s gone, 11.4 s kept, 45 s
    assert "got 1 min: raise --time-limit" in str(caught.value)


def test_the_batch_is_halved_until_it_fits_and_the_rate_with_it(job, slow, monkeypatch):
    deeper = pick(RunSettings(model="cifar_resnet20"), job.prepared).chosen  # activations count
    job = replace(job, candidate=deeper)
    _, plan = make_plan(job, Room())
    room = Room(memory_bytes=0.9 * plan.peak_bytes)
    recipe, smaller = make_plan(job, room)
    assert recipe.training.batch_size == 16
    assert recipe.optimizer.lr == pytest.approx(job.recipe.optimizer.lr / 2)
    assert smaller.peak_bytes <= smaller.memory_bytes == int(0.9 * plan.peak_bytes)
    assert "the recipe's batch of 32 does not fit" in smaller.sentences()[1]
    assert fit_to_memory(job, room) == recipe
    monkeypatch.setattr(planning, "free_bytes", lambda _: plan.peak_bytes)
    assert make_plan(job, Room()) == (recipe, smaller)  # nine tenths of what is free
    with pytest.raises(OptionError, match=r"step of 2 images of cifar_resnet20, got 1.0 kB: free"):
        make_plan(job, Room(memory_bytes=1000))


def test_real_steps_are_measured_and_leave_nothing_behind(job, tmp_path):
    frozen = job.recipe.override({"transfer.freeze_epochs": 1})
    state = torch.random.get_rng_state()
    model = build(job.candidate, 10)
    pace = measure_pace(replace(job, recipe=frozen), model, tmp_path)
    assert all(0 < ms < 10_000 for ms in (pace.step_ms, pace.frozen_step_ms, pace.image_ms))
    assert not list(tmp_path.glob("*.safetensors"))
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_training_of_a_single_step_is_measured_too(job, tmp_path):
    single = job.recipe.override(
        {"training.batch_size": 2000, "training.epochs": 1, "schedule.warmup_epochs": 0}
    )
    pace = measure_pace(replace(job, recipe=single), build(job.candidate, 10), tmp_path)
    assert pace.step_ms > 0
