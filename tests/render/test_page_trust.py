"""What a run's figures are worth: verdicts at their limits, and chance worked out exactly."""

from __future__ import annotations

from math import comb

import pytest

from convatlas.render.page_trust import baseline, chance_error, mean_confidence, trust
from convatlas.render.run_folder import FinishedRun
from finished_run import calibration, evaluation, parity


def _run(found=None, **files):
    metrics = {"evaluation": found, "calibration": files.pop("calibration", None)}
    given = dict.fromkeys(("data", "choice", "cost", "explain", "parity", "plan", "recipe"))
    return FinishedRun(
        folder=None,
        epochs=(),
        metrics=metrics if found else None,
        **{"run": {}, **given, **files},
    )


def _judged(right, images, interval, supports):
    """Return an evaluation whose confusions nobody asks for."""
    classes = [{"label": n, "support": support} for n, support in enumerate(supports)]
    return {
        "images": images,
        "accuracy": right / images,
        "accuracy_interval": interval,
        "classes": classes,
    }


def _verdict(run, question):
    (check,) = [each for each in trust(run)["checks"] if question in each.question]
    return check


def test_the_baseline_is_the_commonest_held_out_class():
    assert baseline(_run(_judged(60, 100, [0.5, 0.69], [20, 50, 30]))) == ("1", 0.5)


@pytest.mark.parametrize(
    ("right", "interval", "verdict"),
    [(60, [0.51, 0.69], "good"), (55, [0.45, 0.64], "care"), (50, [0.4, 0.6], "bad")],
)
def test_better_than_guessing_is_told_from_luck(right, interval, verdict):
    run = _run(_judged(right, 100, interval, [50, 50]))
    assert _verdict(run, "guessing").verdict == verdict


@pytest.mark.parametrize(
    ("interval", "fewest", "verdict", "words"),
    [
        ([0.90, 0.95], 200, "good", "is 5.0 points wide."),
        ([0.90, 0.95], 9, "care", "Of “1” there are only 9"),
        ([0.90, 0.95], 1, "care", "Of “1” there is only 1:"),
        ([0.80, 0.90], 200, "care", "about 1,600 held-out images would narrow it to 5"),
        ([0.70, 0.95], 200, "bad", "is 25.0 points wide; about 10,000"),
    ],
)
def test_the_width_of_the_interval_says_whether_images_suffice(interval, fewest, verdict, words):
    """Half the width takes four times the images: 400 of them, 10 points wide, need 1,600."""
    run = _run(_judged(370, 400, interval, [400 - fewest, fewest]))
    check = _verdict(run, "Enough")
    assert check.verdict == verdict
    assert words in check.reason


@pytest.mark.parametrize(
    ("recipe", "verdict", "answer"),
    [
        ({"training": {"keep": "last", "stop_after": 0}}, "good", "used for measuring alone"),
        ({"training": {"keep": "best"}}, "care", "they decided which epoch was kept"),
        (
            {"training": {"stop_after": 9}, "schedule": {"name": "plateau"}},
            "care",
            "they decided when to stop and when to learn more slowly",
        ),
    ],
)
def test_images_that_decided_something_flatter(recipe, verdict, answer):
    run = _run(_judged(9, 10, [0.6, 0.98], [5, 5]), recipe=recipe)
    check = _verdict(run, "decided nothing")
    assert (check.verdict, check.answer) == (verdict, answer)


@pytest.mark.parametrize(
    ("settings", "decided"), [({"early_stop": 5}, []), ({"early_stop": 0}, ["when to stop"])]
)
def test_images_set_apart_from_the_training_may_tell_when_to_stop(settings, decided):
    stopped = {"training": {"keep": "last", "stop_after": 5}}
    assert _run(recipe=stopped, run={"settings": settings}).decided == decided


def _bins(*rows):
    bins = [{"count": n, "confidence": p, "accuracy": a} for n, p, a in rows]
    total = sum(n for n, _, _ in rows)
    error = sum(n * abs(p - a) for n, p, a in rows if n) / total
    return {"expected_calibration_error": error, "bins": bins}


@pytest.mark.parametrize(
    ("rows", "accuracy", "verdict", "words"),
    [
        ([(1000, 0.90, 0.95)], 0.95, "good", "5.0 points on average, too low"),
        ([(1000, 0.90, 0.80)], 0.80, "care", "10.0 points on average, too high"),
        ([(500, 0.95, 0.85), (500, 0.65, 0.75)], 0.80, "care", "10.0 points on average (ECE)"),
        ([(10, 0.70, 0.60), (0, None, None)], 0.60, "good", "10.0 points on average, too high"),
    ],
)
def test_confidence_is_held_against_accuracy_and_chance(rows, accuracy, verdict, words):
    """The mean error of ten answers with 70 % is √(0.42 / 10π) = 11.6 %, so 10 % is nothing."""
    judged = _judged(round(1000 * accuracy), 1000, [0.5, 0.99], [500, 500])
    check = _verdict(_run(judged, calibration=_bins(*rows)), "Confidence")
    assert check.verdict == verdict
    assert words in check.answer


def test_the_error_by_chance_is_the_mean_error_of_a_binomial():
    n, p = 200, 0.8
    exact = sum(comb(n, k) * p**k * (1 - p) ** (n - k) * abs(k / n - p) for k in range(n + 1))
    bins = [{"count": n, "confidence": p}]
    assert chance_error(bins) == pytest.approx(exact, rel=0.01)
    unequal = [{"count": n, "confidence": p}, {"count": 600, "confidence": 1.0}]
    assert chance_error(unequal) == pytest.approx(exact / 4, rel=0.01)
    assert chance_error([{"count": 0, "confidence": None}]) == 0


def test_bins_count_by_their_images():
    assert mean_confidence(calibration()["bins"]) == pytest.approx((10 * 0.7 + 20 * 0.95) / 30)


def test_the_worst_check_is_the_verdict():
    good = _judged(960, 1000, [0.946, 0.971], [500, 500])
    last = {"training": {"keep": "last"}}
    run = _run(good, recipe=last, parity=parity(), calibration=_bins((1000, 0.95, 0.96)))
    found = trust(run)
    assert (found["verdict"], found["hold"], len(found["checks"])) == ("good", 5, 5)
    assert found["headline"] == "Its figures can be relied on, for images like these"
    flattered = _run(good, recipe={"training": {"keep": "best"}}, parity=parity())
    assert trust(flattered)["headline"] == "With care"
    broken = _run(good, recipe=last, parity=parity(passed=False))
    assert trust(broken)["headline"] == "No, not yet"


def test_without_files_there_is_nothing_to_check():
    assert trust(_run()) is None
    only_parity = trust(_run(parity=parity()))
    assert [check.question for check in only_parity["checks"]] == ["Exported file agrees"]
    assert (only_parity["verdict"], only_parity["hold"]) == ("care", 1)  # no figure to rely on
    whole = trust(_run(evaluation(), parity=parity()))
    assert len(whole["checks"]) == 4  # nobody says what the images decided
