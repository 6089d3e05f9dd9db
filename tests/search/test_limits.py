"""Margins, the limit that drops a network, and what is said when nothing is left."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from convatlas.render.limits import SHOWN
from convatlas.search.budget import Budget, Cost
from convatlas.search.limits import LIMITS, Check, judged
from made_candidates import made

#  Real names, for family and smallest input are the catalogue's: 63 px for alexnet.
ALEXNET = made("alexnet", 56.5, 700_000_000, params=60_000_000, size_bytes=240_000_000)


def test_every_number_of_a_budget_is_described_once():
    numbers = {f.name for f in fields(Budget) if f.type in ("float | None", "int | None")}
    assert sorted(numbers) == sorted(limit.name for limit in LIMITS)
    of_cost = {f.name for f in fields(Cost)}
    assert {limit.figure for limit in LIMITS} == {*of_cost, "top1", ""}
    # What has a column is what is held against the limit, in the same unit.
    assert [*SHOWN] == [limit for limit in LIMITS if limit.name != "min_input"]


def test_margins_are_shares_of_the_limits():
    budget = Budget(max_params=80e6, max_size_mb=200, min_top1=50, min_input=126)
    margins = judged(ALEXNET, budget).margins
    assert margins == pytest.approx(
        {"max_params": 0.25, "max_size_mb": -0.2, "min_top1": 0.13, "min_input": 0.5}
    )


def test_a_network_on_the_limit_is_within_it():
    assert judged(ALEXNET, Budget(max_params=60e6, max_macs=700e6, min_top1=56.5)).kept
    assert not judged(ALEXNET, Budget(max_params=60e6 - 1)).kept


def test_the_limit_that_is_broken_most_drops_it():
    dropped = judged(ALEXNET, Budget(max_params=50e6, max_macs=100e6))
    assert dropped.dropped_by == "max_macs"
    assert dropped.reason == "700 M MACs, limit 100 M"


@pytest.mark.parametrize(
    ("budget", "name", "reason"),
    [
        (Budget(max_size_mb=100), "max_size_mb", "240 MB of weights, limit 100 MB"),
        (Budget(min_top1=80), "min_top1", "56.5 % top-1, limit 80 %"),
        (Budget(min_input=32), "min_input", "inputs from 63 px, limit 32 px"),
        (Budget(max_memory=1e6), "max_memory", "254 MB in inference, limit 1 MB"),
        (Budget(train_memory=2e6), "train_memory", "1.2 GB in training, limit 2 MB"),
        (Budget(max_latency_ms=3.5), "max_latency_ms", "7 ms, limit 3.5 ms"),
    ],
)
def test_every_limit_says_what_it_found(budget, name, reason):
    cost = replace(
        ALEXNET.cost, memory_bytes=254_000_000, train_bytes=1_200_000_000, latency_ms=7.0
    )
    dropped = judged(replace(ALEXNET, cost=cost), budget)
    assert (dropped.kept, dropped.dropped_by, dropped.reason) == (False, name, reason)


def test_an_accuracy_that_nobody_published_is_not_taken_for_enough():
    dropped = judged(replace(ALEXNET, top1=None), Budget(min_top1=10))
    assert (dropped.dropped_by, dropped.reason) == ("min_top1", "unknown % top-1, limit 10 %")


@pytest.mark.parametrize(
    ("check", "remedy"),
    [
        (Check("max_macs", 383_910_112, 1e6), "max_macs=384M would do"),
        (Check("max_macs", 384_000_000, 1e6), "max_macs=384M would do"),
        (Check("max_params", 61_706, 1e3), "max_params=61.8k would do"),
        (Check("max_memory", 1_234_567_890, 1e6), "max_memory=1.24GB would do"),
        (Check("max_latency_ms", 12.34, 1), "max_latency_ms=12.4 would do"),
        (Check("min_top1", 76.13, 80), "min_top1=76.1 would do"),
        (Check("min_input", 63, 32), "min_input=63 would do"),
        (Check("max_latency_ms", None, 1), "leave max_latency_ms out"),
    ],
)
def test_what_would_do_is_rounded_so_that_it_does(check, remedy):
    assert check.remedy == remedy
