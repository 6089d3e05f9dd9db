"""Contrast (WCAG 2.2) and colour vision, computed from the palette itself."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from convatlas.render.figures import confusion_colours
from convatlas.render.palette import DARK, LIGHT, css_variables

BACKGROUNDS = ("page", "surface", "sunken", "wash")
WORDS = ("text", "muted", "accent", "good", "care", "bad")
SERIES = ("series-1", "series-2", "series-3")
# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def _rgb(colour):
    return np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255


def _linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def _luminance(rgb):
    return float(_linear(rgb) @ [0.2126, 0.7152, 0.0722])


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _lab(linear):
    to_xyz = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750]]
    to_xyz.append([0.0193339, 0.1191920, 0.9503041])
    scaled = np.array(to_xyz) @ np.clip(linear, 0, 1) / [0.95047, 1, 1.08883]
    f = np.where(scaled > 0.008856, np.cbrt(scaled), 7.787 * scaled + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_the_formula_of_contrast():
    assert _contrast(_rgb("#000000"), _rgb("#ffffff")) == pytest.approx(21)
    assert _contrast(_rgb("#767676"), _rgb("#ffffff")) == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_words_stand_out_from_every_background(palette):
    for word in WORDS:
        for background in BACKGROUNDS:
            assert _contrast(_rgb(palette[word]), _rgb(palette[background])) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_series_stand_out_from_the_page(palette):
    for series in SERIES:
        assert _contrast(_rgb(palette[series]), _rgb(palette["page"])) >= 3


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_counts_are_readable_on_every_colour_of_the_matrix(palette):
    for (_, low), (_, high) in pairwise(confusion_colours(palette)):
        for share in np.linspace(0, 1, 21):
            mixed = _rgb(low) * (1 - share) + _rgb(high) * share
            assert _contrast(_rgb(palette["text"]), mixed) >= 4.5


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_series_and_matrix_keep_apart_without_some_cones(palette, deficiency):
    seen = {
        name: _lab(np.array(DEFICIENCIES[deficiency]) @ _linear(_rgb(palette[name])))
        for name in (*SERIES, "hit-1", "miss-1")
    }
    for one, other in [*combinations(SERIES, 2), ("hit-1", "miss-1")]:
        assert np.linalg.norm(seen[one] - seen[other]) > 30


def test_the_stops_of_the_matrix_rise_from_mistakes_to_right_answers():
    stops = [stop for stop, _ in confusion_colours(LIGHT)]
    assert stops == sorted(stops)
    assert stops[0] == 0
    assert stops[-1] == 1


def test_both_palettes_name_the_same_colours():
    assert LIGHT.keys() == DARK.keys()
    assert css_variables({"page": "#fff", "text": "#000"}) == "--page: #fff; --text: #000;"
