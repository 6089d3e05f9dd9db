"""Time is predicted first, and measured only where that decides."""

from __future__ import annotations

import pytest

from convatlas.analysis.calibration import Calibration, Sample
from convatlas.analysis.forecast import predict_latency
from convatlas.analysis.machine import Ceilings, this_machine
from convatlas.analysis.work import Work
from convatlas.models.catalogue import find_entry
from convatlas.models.registry import create_model
from convatlas.search.budget import Budget
from convatlas.search.figures import Figure
from convatlas.search.forecasting import at_least, calibrated
from convatlas.search.ranking import ranked
from convatlas.search.rules import candidate_of
from convatlas.search.timing import in_time
from made_candidates import made

LIMIT = Budget(max_latency_ms=10.0)


class Stopwatch:
    """Measures what it was told, and remembers whom it was asked about."""

    def __init__(self, times):
        self.times, self.asked = times, []

    def __call__(self, candidate):
        self.asked.append(candidate.name)
        ms = self.times[candidate.name]
        return Figure(ms, "measured", "a stopwatch", low=ms - 0.5, high=ms + 0.5)


def _by_accuracy(candidates):
    return ranked(candidates, "accuracy", few=False)


def _forecast(intervals):
    """Return a forecaster: name → (low, median, high), or None for those that are left out."""

    def forecast(candidate):
        if candidate.name not in intervals:
            return None
        low, median, high = intervals[candidate.name]
        return Figure(median, "predicted", low=low, high=high)

    return forecast


def _nets(count):
    """Networks called 0, 1, …: the smaller the number, the more accurate and dear."""
    return [made(str(n), 90.0 - n, 1000 - n) for n in range(count)]


def _names(candidates):
    return [candidate.name for candidate in candidates]


def test_a_clear_prediction_needs_no_measuring():
    forecast = _forecast({"0": (12, 14, 16), "1": (4, 5, 6), "2": (8, 9, 11), "3": (9, 11, 13)})
    within, slow = in_time(_nets(4), LIMIT, _by_accuracy, forecast, None)
    assert _names(within) == ["1", "2"]
    assert sorted(_names(slow)) == ["0", "3"]
    assert {each.dropped_by for each in slow} == {"max_latency_ms"}
    assert within[0].figures["latency_ms"] == Figure(5, "predicted", low=4, high=6)
    assert within[0].margins["max_latency_ms"] == pytest.approx(0.5)


def test_only_the_first_three_and_their_replacements_are_measured():
    nets = _nets(8)
    forecast = _forecast(
        {"0": (20, 25, 30), **{str(n): (8, 11, 14) for n in (1, 2)}}
        | {str(n): (4, 5, 6) for n in range(3, 8)}
    )
    watch = Stopwatch({"1": 12.0, "2": 9.0, "3": 5.5, "4": 5.2})
    within, slow = in_time(nets, LIMIT, _by_accuracy, forecast, watch)
    # 0 is hopeless; 1 is measured and too slow, so that 4 moves up to the first three.
    assert watch.asked == ["1", "2", "3", "4"]
    within = _by_accuracy(within)
    assert _names(within) == ["2", "3", "4", "5", "6", "7"]
    assert sorted(_names(slow)) == ["0", "1"]
    origins = [each.figures["latency_ms"].origin for each in within]
    assert origins == ["measured"] * 3 + ["predicted"] * 3
    # What was measured keeps its interval and its source.
    assert within[0].figures["latency_ms"] == Figure(9.0, "measured", "a stopwatch", 8.5, 9.5)


def test_without_predictions_measuring_ends_with_three_in_time():
    times = {str(n): 20.0 if n < 2 else 5.0 for n in range(9)}
    watch = Stopwatch(times)
    within, slow = in_time(_nets(9), LIMIT, _by_accuracy, lambda _: None, watch)
    assert watch.asked == ["0", "1", "2", "3", "4"]
    assert _names(within) == ["2", "3", "4"]
    unknown = next(each for each in slow if each.name == "8")
    assert unknown.reason == "time unknown: not measured, for better ones are in time"
    # Only those that were seen to be too slow are said to break the limit.
    assert {each.name: each.dropped_by for each in slow} == {
        **dict.fromkeys("01", "max_latency_ms"),
        **dict.fromkeys("5678", "unmeasured"),
    }


def test_what_takes_too_long_at_the_least_is_not_measured():
    def forecast(candidate):
        least = 11.0 if candidate.name in "012" else 1.0
        return Figure(least, "predicted", low=least)

    watch = Stopwatch({"3": 5.0, "4": 4.0, "5": 3.0})
    within, slow = in_time(_nets(6), LIMIT, _by_accuracy, forecast, watch)
    assert watch.asked == _names(within) == ["3", "4", "5"]
    assert slow[0].reason == "at least 11 ms, limit 10 ms"


def test_whatever_a_timer_gives_counts_as_measured():
    nets = _nets(2)
    within, _ = in_time(
        nets, LIMIT, _by_accuracy, lambda _: None, lambda _: Figure(5.0, "predicted")
    )
    assert [each.figures["latency_ms"].origin for each in within] == ["measured"] * 2


def test_when_nothing_is_in_time_the_nearest_is_measured():
    forecast = _forecast({"0": (30, 40, 50), "1": (20, 25, 30)})
    watch = Stopwatch({"1": 24.0})
    within, slow = in_time(_nets(2), LIMIT, _by_accuracy, forecast, watch)
    assert not within
    assert watch.asked == ["1"]
    assert slow[-1].reason == "24 ms, limit 10 ms"
    # A prediction that was wrong by so much does not stand in the way.
    within, _ = in_time(_nets(2), LIMIT, _by_accuracy, forecast, Stopwatch({"1": 9.0}))
    assert _names(within) == ["1"]


def test_what_was_measured_before_is_not_measured_again():
    def known(candidate):
        return Figure({"0": 12.0, "1": 6.0}[candidate.name], "measured", low=5.0, high=13.0)

    watch = Stopwatch({})
    within, slow = in_time(_nets(2), LIMIT, _by_accuracy, known, watch)
    assert (_names(within), _names(slow), watch.asked) == (["1"], ["0"], [])


def test_the_fastest_are_measured_until_the_order_is_sure():
    forecast = _forecast({str(n): (n, n + 1, n + 2) for n in range(6)})
    watch = Stopwatch({"0": 9.0, "1": 2.0, "2": 3.0, "3": 4.0})

    def by_time(candidates):
        return ranked(candidates, "latency", few=False)

    within, _ = in_time(_nets(6), Budget(objective="latency"), by_time, forecast, watch)
    assert _names(by_time(within))[:3] == ["1", "2", "3"]
    assert watch.asked == ["0", "1", "2", "3"]


def test_times_that_decide_nothing_are_not_measured():
    watch = Stopwatch({})
    within, _ = in_time(_nets(3), Budget(), _by_accuracy, _forecast({"0": (1, 2, 3)}), watch)
    assert (len(within), watch.asked) == (3, [])
    assert within[0].cost.latency_ms == 2


def test_the_least_time_is_the_multiply_accumulates_at_full_speed():
    forecast = at_least(Ceilings(convolution_gflops=100.0, bandwidth_gbs=10.0))
    figure = forecast(made("x", 70.0, 1_000_000_000))
    assert (figure.value, figure.low, figure.high) == (pytest.approx(20.0), figure.value, None)


def test_the_calibration_predicts_what_predict_latency_says():
    samples = [Sample(Work("relu", 0, n, 0, n), 1e-3 * n) for n in (8, 64, 512)]
    prices = Calibration(this_machine(), Ceilings(100.0, 10.0), 0.001, tuple(samples))
    candidate = candidate_of(find_entry("lenet5"), None, Budget(), pretrained=False)
    figure = calibrated(None, prices)(candidate)
    estimate = predict_latency(create_model("lenet5"), 32, calibration=prices)
    assert (figure.low, figure.value, figure.high) == pytest.approx(
        (estimate.low_ms, estimate.median_ms, estimate.high_ms)
    )
    assert figure.origin == "predicted"
