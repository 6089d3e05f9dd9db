"""Which network a run takes: times are predicted or bounded before any is measured."""

from __future__ import annotations

from dataclasses import asdict

import pytest
import torch

from convatlas.analysis.latency import Latency
from convatlas.analysis.machine import Ceilings
from convatlas.data.source import open_source
from convatlas.data.statistics import describe_source
from convatlas.errors import BudgetError, OptionError
from convatlas.pipeline.choice_record import choice_record
from convatlas.pipeline.choosing import answer
from convatlas.pipeline.preparation import Prepared, pick, task_of
from convatlas.pipeline.settings import RunSettings
from convatlas.render.choice import training_sentence
from convatlas.render.units import seconds_text
from convatlas.search.budget import Budget
from small_digits import Quiet


@pytest.fixture(scope="module")
def digits():
    splits = open_source("digits")
    return Prepared(splits, describe_source(splits.train), describe_source(splits.validation))


@pytest.fixture
def timed(monkeypatch):
    """Every measurement takes 5 ms and is remembered."""
    asked = []

    def measure(model, size, *, in_channels):
        asked.append((sum(p.numel() for p in model.parameters()), size, in_channels))
        return Latency(5.0, 4.5, 6.5, batch=1, threads=3)

    monkeypatch.setattr("convatlas.analysis.latency.measure_latency", measure)
    return asked


def _ceilings(monkeypatch, gflops):
    found = Ceilings(gflops, 10.0)
    monkeypatch.setattr("convatlas.analysis.machine.measure_ceilings", lambda: found)


def test_the_task_knows_every_class(digits):
    task = task_of(digits)
    assert len(task.per_class) == 10
    assert sum(task.per_class) == task.train_images


def test_without_calibration_three_networks_are_measured(digits, timed, monkeypatch):
    _ceilings(monkeypatch, 1e9)
    choice = pick(RunSettings(budget=Budget(max_latency_ms=10, max_macs=10e6)), digits)
    assert len(timed) == 3
    kept = [candidate for candidate in choice.candidates if candidate.kept]
    assert [c.figures["latency_ms"].origin for c in kept] == ["measured"] * 3
    assert [asked[1:] for asked in timed] == [(8, 1)] * 3


def test_a_run_and_the_command_tell_a_measured_time_alike(digits, timed, monkeypatch):
    _ceilings(monkeypatch, 1e9)
    budget = Budget(max_latency_ms=10, max_macs=10e6)
    choices = pick(RunSettings(budget=budget), digits), answer(budget, "digits", Quiet()).choice
    ours, theirs = (choice_record(choice)["chosen"]["figures"] for choice in choices)
    assert ours == theirs
    assert ours["latency_ms"] == {
        "value": 5.0,
        "origin": "measured",
        "source": "one image of 8 px on this machine, threads: 3; 10th to 90th percentile",
        "low": 4.5,
        "high": 6.5,
    }


def test_the_training_is_timed_where_a_run_would_train(digits, monkeypatch):
    class Elsewhere:
        device = torch.device("meta")  # there is everywhere one

    trained = []

    def step(model, images, *, runs):
        trained.append((images.device, len(images), {p.device for p in model.parameters()}))
        return Latency(20.0, 19.0, 21.0, batch=len(images), threads=1)

    def of_the_processor(*_):
        raise AssertionError("the prices are those of the processor")

    monkeypatch.setattr("convatlas.train.distributed.Workers", Elsewhere)
    monkeypatch.setattr("convatlas.analysis.training_time.measure_step", step)
    monkeypatch.setattr("convatlas.analysis.calibration.load_calibration", object)
    monkeypatch.setattr("convatlas.analysis.forecast.predict_latency", of_the_processor)
    training = answer(Budget(max_macs=10e6), "digits", Quiet()).training
    assert (training.device, training.origin, training.step_ms) == ("meta", "measured", 20.0)
    # 50 billion multiply-accumulates are more than a batch of so small a network.
    assert trained == [(Elsewhere.device, training.batch_size, {Elsewhere.device})]
    assert f"{seconds_text(training.seconds)} on the meta: " in training_sentence(asdict(training))


def test_who_watches_is_told_how_many_networks_are_counted(monkeypatch):
    told = []

    class Watching(Quiet):
        def progress(self, what):
            return lambda done, total: told.append((what, done, total))

    monkeypatch.setattr("convatlas.pipeline.choosing._training", lambda *_: None)
    found = answer(Budget(family="resnet", max_memory=1e9), "digits", Watching()).choice
    kept = sum(each.kept for each in found.candidates)
    for what in ("the cost", "the memory"):
        counts = [
            (done, total) for each, done, total in told if each == f"counting {what} of networks"
        ]
        assert counts == [(done, kept) for done in range(kept + 1)]


def test_what_cannot_be_in_time_is_not_measured(digits, timed, monkeypatch):
    # 2.5 million multiply-accumulates at 1 MFLOP/s take five seconds.
    _ceilings(monkeypatch, 1e-3)
    with pytest.raises(BudgetError, match=r"cifar_resnet20: 5 ms, limit 1 ms \(max_latency_ms=5 "):
        pick(RunSettings(budget=Budget(max_latency_ms=1, max_macs=10e6)), digits)
    assert len(timed) == 1


def test_a_limit_that_is_none_measures_nothing(digits, timed):
    assert pick(RunSettings(model="cifar_resnet20"), digits).chosen.cost.latency_ms is None
    assert timed == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_budget_for_a_gpu_needs_one(digits):
    with pytest.raises(
        OptionError, match=r"found no GPU that torch can use: .*, or pass --on cpu$"
    ):
        pick(RunSettings(budget=Budget(on="cuda", max_latency_ms=1)), digits)
