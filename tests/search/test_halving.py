"""Successive halving by hand: who races how long, who goes on, who ties with whom."""

from __future__ import annotations

import pytest

from convatlas.errors import OptionError
from convatlas.search.halving import (
    Racer,
    Rung,
    Stint,
    judged,
    promoted,
    reservations,
    rungs,
    verdict,
)
from convatlas.tasks.metrics import wilson_interval


def stint(epochs, right, images=100):
    return Stint(epochs, right / images, wilson_interval(right, images), images, float(epochs))


def racer(name, *right, macs=1_000_000, failure=""):
    """A network that had so many of 100 images right after 1, 3, 9 … epochs."""
    stints = tuple(stint(3**i, each) for i, each in enumerate(right))
    return Racer(
        name=name,
        weights=None,
        input_size=8,
        params=1000,
        macs=macs,
        stints=stints,
        failure=failure,
    )


def pairs(found):
    return [(rung.networks, rung.epochs) for rung in found]


def test_nine_networks_with_factor_three_are_nine_three_and_one():
    assert rungs(9, 3, 1) == (Rung(9, 1), Rung(3, 3), Rung(1, 9))


def test_the_rungs_are_those_of_the_paper():
    # Li et al. 2018, table 1, bracket s = 4: n = 81, η = 3, r = 1.
    assert pairs(rungs(81, 3, 1)) == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]


def test_what_does_not_divide_is_rounded_down():
    assert pairs(rungs(20, 3, 2)) == [(20, 2), (6, 6), (2, 18)]
    assert pairs(rungs(7, 2, 1)) == [(7, 1), (3, 2), (1, 4)]
    assert pairs(rungs(2, 3, 4)) == [(2, 4)]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((0, 3, 1), "networks of 1 or more in a race, got 0"),
        ((9, 1, 1), "factor of 2 or more in a race, got 1"),
        ((9, 3, 0), "first rung of 1 epoch or more, got 0"),
    ],
)
def test_impossible_races_are_refused(asked, message):
    with pytest.raises(OptionError, match=message):
        rungs(*asked)


def test_a_race_of_nine_worked_by_hand():
    first = dict(zip("abcdefghi", (50, 62, 55, 61, 48, 70, 30, 69, 58), strict=True))
    field = [racer(name, right) for name, right in first.items()]
    second = promoted(field, 3)
    assert [each.name for each in second] == ["f", "h", "b"]
    after = {"f": (70, 80), "h": (69, 85), "b": (62, 84)}
    third = promoted([racer(name, *right) for name, right in after.items()], 1)
    assert [each.name for each in third] == ["h"]


def test_equals_go_on_by_their_cost_and_then_by_name():
    field = [racer("b", 60), racer("a", 60), racer("c", 60, macs=500)]
    assert [each.name for each in promoted(field, 2)] == ["c", "a"]


def test_a_network_that_failed_does_not_go_on():
    field = [racer("a", 90, failure="the loss is not finite"), racer("b", 20)]
    assert [each.name for each in promoted(field, 2)] == ["b"]


def test_the_further_comes_first_whatever_its_earlier_figures():
    field = [racer("a", 99), racer("b", 60, 70), racer("c", 50, 80, 85), racer("d", failure="no")]
    assert [each.name for each in judged(field)] == ["c", "b", "a", "d"]


def test_a_tie_is_within_the_winners_interval_where_both_raced():
    # 90 of 100: Wilson's interval is 82.6 to 94.5 %.
    field = [
        racer("winner", 70, 90, 95, macs=9_000_000),
        racer("close", 65, 83, macs=4_000_000),
        racer("far", 64, 82, macs=1_000_000),
    ]
    found = judged(field)
    assert {each.name: each.tied for each in found} == {"winner": True, "close": True, "far": False}
    recommended, sentence = verdict(found)
    assert recommended == "close"
    assert sentence == (
        "winner and close tie, all within the interval of winner, 82.6–94.5 % of 100 images after "
        "3 epochs: close is the cheapest of them with 4 M MACs."
    )


def test_without_a_tie_the_winner_is_taken_whatever_it_costs():
    found = judged([racer("winner", 70, 90, macs=9_000_000), racer("far", 64, 82)])
    assert not any(each.tied for each in found)
    recommended, sentence = verdict(found)
    assert recommended == "winner"
    assert sentence.startswith("winner won: no rival came within its interval, 82.6–94.5 %")


def test_whoever_was_dropped_before_the_final_ties_with_nobody_but_may_be_unlucky():
    # After 1 epoch: 70 of 100 is 60.4 to 78.1 %, 50 of 100 is 40.4 to 59.6 %.
    field = [racer("a", 70, 90), racer("b", 50, 60), racer("c", 45), racer("d", 40)]
    found = {each.name: each for each in judged(field)}
    assert not found["c"].tied
    assert [name for name, each in found.items() if each.close_call] == ["c"]
    notes = reservations(judged(field), 0.1)
    assert any("Chance may have decided that c did not go on" in note for note in notes)


def test_one_network_races_alone():
    assert verdict(judged([racer("a", 90)]))[1] == (
        "a raced alone: 82.6–94.5 % of 100 images after 1 epoch."
    )
    alone = judged([racer("a", 90), racer("b", failure="too small an image")])
    assert verdict(alone)[1].startswith("a is the only one that could be trained: 82.6–94.5 %")
    assert "b could not be trained: too small an image" in reservations(alone, 0.1)
    assert "picked" not in " ".join(reservations(alone, 0.1))  # nobody else could be


def test_a_winner_that_failed_in_its_last_rung_is_not_recommended():
    field = [racer("a", 70, 90, failure="the loss is not finite"), racer("b", 60, 70)]
    found = judged(field)
    assert [each.name for each in found] == ["b", "a"]
    assert verdict(found)[0] == "b"


def test_a_race_in_which_nobody_learnt_anything_says_so():
    found = judged([racer("a", 15), racer("b", 12)])  # 15 of 100 is 9.3 to 23.3 %
    assert "No network is surely better" in " ".join(reservations(found, 0.1))
    assert "No network is surely better" in " ".join(reservations(found, 0.5))
    assert "No network is surely better" not in " ".join(reservations(found, 0.09))
    assert "100 images that its figure is of, which flatters it" in reservations(found, 0.1)[0]
