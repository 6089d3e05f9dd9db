"""Which network a run takes: times are predicted or bounded before any is measured."""

from __future__ import annotations

import pytest
import torch

from convatlas.analysis.machine import Ceilings
from convatlas.data.source import open_source
from convatlas.data.statistics import describe_source
from convatlas.errors import BudgetError, OptionError
from convatlas.pipeline import preparation
from convatlas.pipeline.preparation import Prepared, pick, task_of
from convatlas.pipeline.settings import RunSettings
from convatlas.search.budget import Budget


@pytest.fixture(scope="module")
def digits():
    splits = open_source("digits")
    return Prepared(splits, describe_source(splits.train), describe_source(splits.validation))


@pytest.fixture
def timed(monkeypatch):
    """Every measurement takes 5 ms and is remembered."""
    asked = []

    class Timed:
        median_ms = 5.0

    def measure(model, size, *, in_channels):
        asked.append((sum(p.numel() for p in model.parameters()), size, in_channels))
        return Timed

    monkeypatch.setattr(preparation, "measure_latency", measure)
    return asked


def _ceilings(monkeypatch, gflops):
    monkeypatch.setattr(preparation, "measure_ceilings", lambda: Ceilings(gflops, 10.0))


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
    with pytest.raises(OptionError, match="found no GPU that torch can use"):
        pick(RunSettings(budget=Budget(on="cuda", max_latency_ms=1)), digits)
