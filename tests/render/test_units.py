"""Numbers as text, against values worked out by hand."""

from __future__ import annotations

import math

import pytest

from convatlas.render import units


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1_000, "1.00 k"),
        (999_994, "999.99 k"),
        (999_996, "1.00 M"),  # not "1000.00 k"
        (25_557_032, "25.56 M"),
        (4_089_184_256, "4.09 G"),
        (1.5, "1.50"),
        (None, "–"),
    ],
)
def test_counts(value, text):
    assert units.count(value) == text


def test_counts_say_macs_or_flops():
    assert units.quantity(4_089_184_256, "MACs") == "4.09 G MACs"
    assert units.quantity(8_178_368_512, "FLOPs") == "8.18 G FLOPs"
    assert units.quantity(12, "MACs") == "12 MACs"


@pytest.mark.parametrize(
    ("value", "text"),
    [(3e8, "300 M"), (2.5e6, "2.5 M"), (100, "100"), (5_000, "5 k"), (None, "–")],
)
def test_limits_have_no_idle_zeros(value, text):
    assert units.limit(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (4_000, "4.0 kB"), (14_212_972, "14.2 MB"), (2e9, "2.0 GB")],
)
def test_bytes_are_decimal(value, text):
    assert units.bytes_text(value) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.9778, "97.8 %"),
        (1, "100 %"),
        (0, "0 %"),
        (0.9999, "> 99.9 %"),  # one mistake in ten thousand is not none
        (0.0001, "< 0.1 %"),
        (0.9994, "99.9 %"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_only_all_is_100_percent(share, text):
    assert units.percent(share) == text


def test_intervals():
    assert units.interval((0.957, 0.989)) == "95.7–98.9 %"
    assert units.interval(None) == "–"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.0123, "12.3 ms"),
        (0.412, "412 ms"),
        (0.9996, "1.00 s"),
        (3.25, "3.25 s"),
        (59.96, "1 min"),
        (75, "1 min 15 s"),
        (3_599.7, "1 h"),
        (7_500, "2 h 5 min"),
    ],
)
def test_durations(seconds, text):
    assert units.seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (12.345, "12.3 ms"),
        (4.07, "4.07 ms"),
        (0.0412, "41 µs"),
        (0.0997, "100 µs"),
        (1_500, "1.50 s"),
        (None, "–"),
    ],
)
def test_latencies(milliseconds, text):
    assert units.latency(milliseconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.4e-7, "2.4 × 10⁻⁷"),
        (0, "0"),
        (0.31, "0.31"),
        (9.96e-8, "1.0 × 10⁻⁷"),
        (math.inf, "infinite"),
        (math.nan, "–"),
    ],
)
def test_tiny_differences(value, text):
    assert units.scientific(value) == text


def test_sizes_and_plurals():
    assert units.pixels(224) == "224 px"
    assert units.pixels((480, 640)) == "480 × 640 px"
    assert units.plural(1, "class", "classes") == "1 class"
    assert units.plural(1797, "image") == "1,797 images"
    assert units.whole(25557032) == "25,557,032"
