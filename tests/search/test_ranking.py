"""Orders, the Pareto set and its neighbours, worked out by hand on five made-up networks."""

from __future__ import annotations

import pytest

from convatlas.analysis.comparison import pareto_front
from convatlas.models.catalogue import list_entries
from convatlas.search.ranking import compromise, neighbours_of, pareto_names, ranked
from made_candidates import made

#  b beats c (more accurate and cheaper), d beats e (as accurate and cheaper).
A, B, C = made("a", 70.0, 100), made("b", 75.0, 200), made("c", 74.0, 300)
D, E = made("d", 80.0, 800), made("e", 80.0, 900)
FIVE = (C, E, A, D, B)


def _names(candidates):
    return [candidate.name for candidate in candidates]


def test_the_pareto_set_is_what_no_other_beats():
    assert pareto_names(FIVE) == {"a", "b", "d"}


def test_a_faster_network_joins_the_pareto_set():
    timed = [made("b", 75.0, 200, ms=9.0), made("c", 74.0, 300, ms=5.0), made("d", 80.0, 800)]
    assert pareto_names(timed) == {"b", "c", "d"}


def test_equal_networks_stand_together_and_unpublished_ones_aside():
    assert pareto_names([A, made("twin", 70.0, 100), made("unknown", None, 1)]) == {"a", "twin"}


def test_the_pareto_set_of_the_catalogue_is_that_of_the_comparison():
    entries = [e for e in list_entries() if e.dataset == "ImageNet-1k" and e.top1]
    candidates = [made(entry.name, entry.top1, entry.macs) for entry in entries]
    assert pareto_names(candidates) == {entry.name for entry in pareto_front(entries)}


def test_accuracy_ranks_by_accuracy_and_then_by_cost():
    assert _names(ranked(FIVE, "accuracy", few=False)) == ["d", "e", "b", "c", "a"]
    assert _names(ranked(FIVE, "accuracy", few=True)) == ["a", "b", "c", "d", "e"]


def test_latency_ranks_by_time_and_then_those_without_one_by_cost():
    slow_but_small = made("a", 70.0, 100, ms=9.0)
    fast = made("b", 75.0, 200, ms=4.0)
    assert _names(ranked([slow_but_small, fast], "latency", few=False)) == ["b", "a"]
    untimed = [C, made("z", 60.0, 1)]
    found = ranked([slow_but_small, *untimed, fast], "latency", few=False)
    assert _names(found) == ["b", "a", "z", "c"]


def test_balanced_takes_the_smallest_sum_of_the_two_scaled_distances():
    # The front spans 70–80 % and log 100 to log 800: b lacks half of the one and has a third
    # of the other, since log 2 / log 8 = 1/3.
    distances = compromise(FIVE)
    assert distances["a"] == pytest.approx(1.0)
    assert distances["b"] == pytest.approx(1 / 2 + 1 / 3)
    assert distances["c"] == pytest.approx(0.6 + 0.528321, abs=1e-6)  # log 3 / log 8
    assert distances["d"] == pytest.approx(1.0)
    assert ranked(FIVE, "balanced", few=True)[0].name == "b"


def test_balanced_among_one_or_none():
    assert compromise([A]) == {"a": 0.0}
    assert compromise([made("x", None, 5)]) == {"x": float("inf")}


def test_neighbours_say_what_more_and_less_accuracy_costs():
    less, more = neighbours_of(B, FIVE)
    assert (less.name, less.top1_gain, less.macs_ratio) == ("a", -5.0, 0.5)
    assert less.sentence == "-5.0 points for 0.5× the MACs"
    assert (more.name, more.sentence) == ("d", "+5.0 points for 4.0× the MACs")
    near = [made("x", 70.0, 100), made("y", 71.2, 210)]
    assert neighbours_of(near[0], near)[0].sentence == "+1.2 points for 2.1× the MACs"


def test_at_most_two_neighbours_on_each_side_and_the_nearest_ones():
    line = [made(str(n), 60.0 + n, 100 * (n + 1)) for n in range(9)]
    assert [each.name for each in neighbours_of(line[4], line)] == ["2", "3", "5", "6"]
    # 800 of 900 is less than a sixth saved.
    assert [each.name for each in neighbours_of(line[8], line)] == ["5", "6"]


def test_beside_a_beaten_network_stands_what_beats_it():
    assert [each.name for each in neighbours_of(C, FIVE)] == ["a", "b", "d"]
    assert neighbours_of(made("x", None, 5), FIVE) == ()
