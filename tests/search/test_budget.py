"""Limits that cannot be meant are refused in one line that says what to do."""

from __future__ import annotations

import pytest

from convatlas.errors import OptionError
from convatlas.search.budget import Budget

LIMITS = (
    *("max_params", "max_macs", "max_latency_ms", "max_memory", "train_memory"),
    *("max_size_mb", "min_top1", "min_input"),
)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0, "more than 0, got 0: leave it out or raise it"),
        (-1, "more than 0, got -1: leave it out or raise it"),
        (float("nan"), "a finite number, got nan: leave it out for no limit"),
        (float("inf"), "a finite number, got inf: leave it out for no limit"),
    ],
)
def test_limits_are_positive_numbers(name, value, wanted):
    with pytest.raises(OptionError, match=f"^{name} must be {wanted}$"):
        Budget(**{name: value})


def test_an_accuracy_is_in_per_cent():
    assert Budget(min_top1=100).min_top1 == 100
    with pytest.raises(OptionError, match="min_top1 is in per cent, up to 100, got 760"):
        Budget(min_top1=760)


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"family": "resnets"}, r"unknown family 'resnets'; did you mean resnet"),
        ({"objective": "fast"}, r"unknown objective 'fast': take accuracy, balanced, latency"),
        ({"export": "onx"}, r"unknown export 'onx'; did you mean onnx"),
        ({"licence": "gpl"}, r"unknown licence 'gpl': take permissive"),
        ({"on": "gpu"}, r"unknown on 'gpu'.*cpu"),
    ],
)
def test_an_unknown_word_is_answered_with_the_known_ones(wish, message):
    with pytest.raises(OptionError, match=message):
        Budget(**wish)


def test_nothing_asked_is_no_limit():
    assert Budget(family="", licence="", export="", needs_weights=False) == Budget(
        family="", licence="", export=""
    )
    assert Budget().objective == "accuracy"
