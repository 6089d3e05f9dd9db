"""The rule that turns figures into verdicts, on claims made up for it."""

from __future__ import annotations

import re

import pytest
import typer

from convatlas.claims.printed import agrees, read_numbers
from convatlas.claims.records import Claim, Figure, find_claim, list_claims
from convatlas.claims.verdicts import Computed, Reading, Verdict, judge
from convatlas.cli.commands import app
from convatlas.errors import OptionError, UnknownNameError
from convatlas.models.catalogue import find_entry


def _claim(*figures, training=""):
    return Claim("made-up", ("L0",), "Title", "Statement.", figures, training)


TEN = Figure("ten", "label", "10 M")


@pytest.mark.parametrize(
    ("text", "value", "step"),
    [
        ("138,357,544", 138_357_544, 0),
        ("13.6 G", 13.6e9, 1e8),
        ("24 M", 24e6, 1e6),
        ("96 MB", 96e6, 1e6),
        ("1.9 MiB", 1.9 * 2**20, 2**20 / 10),
        ("35 k", 35e3, 1e3),
        ("1.8e18", 1.8e18, 1e17),
        ("89 %", 89, 1),
        ("0.5", 0.5, 0.1),
    ],
)
def test_numbers_are_read_with_their_precision(text, value, step):
    (number,) = read_numbers(text)
    assert (number.value, number.step) == (pytest.approx(value), pytest.approx(step))


def test_several_numbers_are_read_in_order():
    assert [n.value for n in read_numbers("7, 11, 43 → 55×55×96, 1,792")] == [
        *(7, 11, 43, 55, 55, 96, 1792)
    ]


@pytest.mark.parametrize(
    ("text", "value", "expected"),
    [
        ("13.6 G", 13.649e9, True),
        ("13.6 G", 13.651e9, False),
        ("24 M", 23.5e6, True),
        ("24 M", 23.4e6, False),
        ("152", 152, True),
        ("152", 152.01, False),
        ("1.8e18", 1.8467e18, True),
        ("1.8e18", 1.8567e18, False),
        ("89 %", 89.36, True),
        ("89 %", 89.6, False),
    ],
)
def test_a_number_agrees_when_it_rounds_to_the_printed_one(text, value, expected):
    assert agrees(*read_numbers(text), value) is expected


def test_words_allow_a_relative_difference():
    (number,) = read_numbers("60 M")
    assert agrees(number, 61.1e6, within=0.02)
    assert not agrees(number, 61.3e6, within=0.02)


@pytest.mark.parametrize(
    ("computed", "verdict"),
    [
        (Computed({"ten": 10.2e6}, []), Verdict.HOLDS),
        (Computed({"ten": 10.2e6}, [], remarks=["but"]), Verdict.REMARK),
        (Computed({"ten": 11e6}, []), Verdict.FAILS),
        (Computed({"ten": 11e6}, [], [Reading("ten", 10e6, "a", is_fair=True)]), Verdict.REMARK),
        (Computed({"ten": 11e6}, [], [Reading("ten", 10e6, "a slip")]), Verdict.FAILS),
        (Computed({"ten": 11e6}, [], [Reading("ten", 12e6, "a", is_fair=True)]), Verdict.FAILS),
        (Computed({"ten": 11e6}, [], [Reading("two", 10e6, "a", is_fair=True)]), Verdict.FAILS),
        (Computed({"ten": 10e6}, [], [Reading("ten", 10e6, "a", is_fair=True)]), Verdict.HOLDS),
    ],
)
def test_the_rule(computed, verdict):
    assert judge(_claim(TEN), computed).verdict is verdict


def test_one_figure_that_fails_fails_the_claim():
    two = Figure("two", "label", "2, 3")
    computed = Computed({"ten": 10e6, "two": (2, 4)}, [])
    outcome = judge(_claim(TEN, two), computed)
    assert outcome.verdict is Verdict.FAILS
    assert [c.agrees for c in outcome.comparisons] == [True, False]


def test_a_part_that_needs_training_is_a_remark():
    outcome = judge(_claim(TEN, training="Train it."), Computed({"ten": 10e6}, []))
    assert outcome.verdict is Verdict.REMARK
    assert outcome.remarks == ("Train it.",)


def test_a_claim_without_figures_is_open():
    outcome = judge(_claim(training="Train it."), None)
    assert (outcome.verdict, outcome.remarks) == (Verdict.OPEN, ("Train it.",))


def test_figures_must_be_computed_one_for_one():
    with pytest.raises(OptionError, match="has figures"):
        judge(_claim(TEN), None)
    with pytest.raises(OptionError, match="expected 1 numbers for ten"):
        judge(_claim(TEN), Computed({}, []))
    with pytest.raises(OptionError, match="got 2"):
        judge(_claim(TEN), Computed({"ten": (1, 2)}, []))


def test_an_unknown_claim_names_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown claim 'vgg16-parms'; did you mean vgg16"):
        find_claim("vgg16-parms")


@pytest.mark.parametrize("claim", list_claims(), ids=lambda claim: claim.id)
def test_a_record_says_something_to_compare_or_to_train(claim):
    assert claim.figures or claim.training
    assert all(figure.printed for figure in claim.figures)
    keys = [figure.key for figure in claim.figures]
    assert len(keys) == len(set(keys))


def test_commands_for_training_exist():
    commands = typer.main.get_command(app).commands
    texts = [claim.training for claim in list_claims() if "`convatlas" in claim.training]
    assert len(texts) >= 4
    for text in texts:
        ((name, command),) = re.findall(r"`convatlas (\w+) ([^`]*)`", text)
        known = {flag for parameter in commands[name].params for flag in parameter.opts}
        assert set(re.findall(r"--[a-z-]+", command)) <= known
        for name in re.findall(r"--model (\w+)", command):
            find_entry(name)
